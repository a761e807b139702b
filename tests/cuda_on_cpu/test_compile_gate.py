"""Every kernel compiles for every architecture that it claims, within budget, without spills."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from flagstone_cupy import budget
from flagstone_cupy.kernel import ARCHITECTURES, REGISTRY, Kernel

SOURCES = sorted({k.source for k in budget.packaged()})
SLACK = 16  # registers that a budget may be above the need, for NVRTC's next version

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("cuda") is None,
    reason="compile gate: NVRTC is not installed (nvidia-cuda-nvrtc, cuda-bindings)",
)


@pytest.mark.parametrize("source", SOURCES)
def test_kernels_keep_to_their_budget(source: str) -> None:
    allowed = budget.budget()
    taken = {a: budget.measured(source, a) for a in ARCHITECTURES}
    assert complaints(taken) == []
    for name, (registers, shared) in budget.needed(taken.values()).items():
        most, most_shared = allowed[name]
        assert registers <= most, f"{name} takes {registers} registers, and may take {most}"
        assert most <= registers + SLACK, f"{name} may take {most} registers, and takes {registers}"
        assert shared == most_shared, f"{name} takes {shared} shared bytes; budget {most_shared}"


def test_the_budget_is_of_the_kernels_that_there_are() -> None:
    assert list(budget.budget()) == sorted(map(str, budget.packaged()))


def test_a_kernel_that_spills_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "hungry.cu"
    path.write_text(
        "__global__ void __launch_bounds__(1024) hungry(const float* x, float* y, int n) {\n"
        "    float kept[100];\n"
        "    for (int i = 0; i < 100; i++) kept[i] = x[i * n];\n"
        "    for (int j = 0; j < n; j++)\n"
        "        for (int i = 0; i < 100; i++) y[i] = kept[i] * kept[(i * j) % 100];\n"
        "}\n"
    )
    kernel = Kernel(str(path), "hungry")
    del REGISTRY[str(kernel)]
    monkeypatch.setattr(budget, "packaged", lambda: [kernel])
    taken = {"80": budget.measured(str(path), "80")}
    assert complaints(taken) == [f"{kernel} has 400 bytes of stack on sm_80"]


def complaints(taken: dict[str, dict[str, budget.Resources]]) -> list[str]:
    """What has no room in registers."""
    found = []
    for architecture, kernels in taken.items():
        for name, r in kernels.items():
            if r.spills:
                found.append(f"{name} spills {r.spills} bytes on sm_{architecture}")
            elif r.local:
                found.append(f"{name} has {r.local} bytes of stack on sm_{architecture}")
    return found
