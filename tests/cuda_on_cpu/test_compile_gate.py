"""Every kernel compiles for every architecture that it claims, within budget, without spills."""

from __future__ import annotations

import importlib.util

import pytest

from flagstone_cupy import budget
from flagstone_cupy.kernel import Kernel

PAIRS = sorted({(k.source, a) for k in budget.packaged() for a in k.architectures})


@pytest.fixture(scope="module", autouse=True)
def _needs_nvrtc() -> None:
    if importlib.util.find_spec("cuda") is None:
        pytest.skip("compile gate: NVRTC is not installed (nvidia-cuda-nvrtc, cuda-bindings)")


@pytest.mark.parametrize(("source", "architecture"), PAIRS)
def test_kernels_keep_to_their_budget(source: str, architecture: str) -> None:
    allowed = budget.budget()
    for name, taken in budget.measured(source, architecture).items():
        registers, shared = allowed[name]
        assert taken.spills == 0, f"{name} spills {taken.spills} bytes on sm_{architecture}"
        assert taken.local == 0, f"{name} has {taken.local} bytes of stack on sm_{architecture}"
        assert taken.registers <= registers, f"{name} on sm_{architecture}"
        assert taken.shared <= shared, f"{name} on sm_{architecture}"


def test_the_budget_is_of_the_kernels_that_there_are() -> None:
    assert list(budget.budget()) == sorted(map(str, budget.packaged()))


def test_the_budget_is_not_wider_than_needed() -> None:
    """NVRTC's versions differ by a few registers; a budget of twice the need would hold nothing."""
    needed = budget.needed(budget.measured(source, a) for source, a in PAIRS)
    loose = {
        name: (allowed, needed[name])
        for name, allowed in budget.budget().items()
        if allowed[0] > needed[name][0] + 16 or allowed[1] > needed[name][1]
    }
    assert loose == {}


def test_a_kernel_that_spills_is_noticed(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    source = (
        "__global__ void __launch_bounds__(1024) hungry(const float* x, float* y, int n) {\n"
        "    float kept[100];\n"
        "    for (int i = 0; i < 100; i++) kept[i] = x[i * n];\n"
        "    for (int j = 0; j < n; j++)\n"
        "        for (int i = 0; i < 100; i++) y[i] = kept[i] * kept[(i * j) % 100];\n"
        "}\n"
    )
    path = f"{tmp_path}/hungry.cu"
    with open(path, "w") as file:
        file.write(source)
    kernel = Kernel(path, "hungry")
    monkeypatch.setattr(budget, "packaged", lambda: [kernel])
    taken = budget.measured(path, "80")[str(kernel)]
    assert taken.local > 0
