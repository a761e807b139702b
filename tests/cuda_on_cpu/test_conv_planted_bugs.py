"""Mistakes planted in the products' sources, each of which a small product on the CPU must find.

A changed source is compiled with the one kernel that the product launches. It is caught by a wrong
result, by what the simulation reports, or by bank conflicts; the unchanged source passes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from flagstone_cupy import launch
from flagstone_cupy.kernels import conv, products, tiles
from flagstone_cupy.signature import local_sources

RNG = np.random.default_rng(23)
HOW: Any = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1}


def forward(dtype: str) -> bool:
    """Whether a 3x3 convolution of several blocks comes out right, without bank conflicts."""
    x = RNG.standard_normal((2, 9, 8, 40)).astype(dtype)
    w = (RNG.standard_normal((72, 3, 3, 40)) / 19).astype(dtype)
    y = conv.conv(x, w, **HOW)
    padded = np.pad(x.astype("float64"), ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = np.zeros(y.shape)
    for r in range(3):
        for s in range(3):
            expected += padded[:, r : r + 9, s : s + 8] @ w[:, r, s].astype("float64").T
    return _close(y, expected, 2e-3 if dtype == "float16" else 1e-5)


def input_grad(dtype: str) -> bool:
    """Whether a strided input gradient comes out right: the product's phases."""
    g = RNG.standard_normal((2, 5, 4, 24)).astype(dtype)
    w = (RNG.standard_normal((24, 3, 3, 40)) / 15).astype(dtype)
    dx = conv.conv_input_grad(g, w, size=(9, 8), **{**HOW, "stride": (2, 2)})
    expected = np.zeros((2, 11, 10, 40))
    for r in range(3):
        for s in range(3):
            expected[:, r : r + 9 : 2, s : s + 7 : 2] += g @ w[:, r, s].astype("float64")
    return _close(dx, expected[:, 1:-1, 1:-1], 2e-3 if dtype == "float16" else 1e-5)


def weight_grad(dtype: str) -> bool:
    """Whether a weight gradient of several splits comes out right."""
    x = RNG.standard_normal((9, 9, 8, 16)).astype(dtype)
    g = RNG.standard_normal((9, 9, 8, 72)).astype(dtype)
    dw = conv.conv_weight_grad(g, x, kernel=(3, 3), **HOW)
    padded = np.pad(x.astype("float64"), ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = np.zeros(dw.shape)
    for r in range(3):
        for s in range(3):
            seen = padded[:, r : r + 9, s : s + 8].reshape(-1, 16)
            expected[:, r, s] = g.reshape(-1, 72).astype("float64").T @ seen
    return _close(dw, expected, 2e-3 if dtype == "float16" else 1e-5)


def _close(got: Any, expected: Any, allowed: float) -> bool:
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.linalg.norm(got.astype("float64") - expected)
    return bool(difference <= allowed * np.linalg.norm(expected))


# what is wrong, file, text, what stands for it, product, dtype
BUGS: list[tuple[str, str, str, str, Callable[[str], bool], str]] = [
    ("no barrier after the copies have landed", "tensor.cuh",
     "            __syncthreads();  // this step", "            // this step", forward, "float16"),
    ("waits for one group of copies too few", "tensor.cuh",
     "cp_async_wait<STAGES - 2>()", "cp_async_wait<STAGES - 1>()", forward, "float16"),
    ("copies to the stage that is being read", "tensor.cuh",
     "copy(shared + next * STAGE, shared + next * STAGE + A::BYTES)",
     "copy(shared + now * STAGE, shared + now * STAGE + A::BYTES)", forward, "float16"),
    ("the twist differs between copy and read", "tensor.cuh",
     "cp_async_16(to + place(line(pass), threadIdx.x % CHUNKS)",
     "cp_async_16(to + (line(pass) * CHUNKS + threadIdx.x % CHUNKS) * 16", forward, "float16"),
    ("no twist: right, but with bank conflicts", "tensor.cuh",
     "((c ^ twist) << 4)", "(c << 4)", forward, "float16"),
    ("fragments of b exchanged", "tensor.cuh",
     "b0 = b[j / 2][j % 2 * 2], b1 = b[j / 2][j % 2 * 2 + 1]",
     "b1 = b[j / 2][j % 2 * 2], b0 = b[j / 2][j % 2 * 2 + 1]", forward, "float16"),
    ("transposed fragments of a exchanged", "tensor.cuh",
     "half * 16 + lane % 8 + lane / 16 * 8,\n", "half * 16 + lane % 16,\n", weight_grad, "float16"),
    ("lanes exchange the wrong halves", "tensor.cuh",
     "odd ? s[0] : s[2], 1)", "odd ? s[2] : s[0], 1)", forward, "float16"),
    ("rows beyond the last are written", "conv_tensor.cu",
     "if (row < count && column < p.columns)\n", "if (column < p.columns)\n", forward, "float16"),
    ("the upper edge of the image is not looked at", "window.cuh",
     "inside &= static_cast<unsigned>(at[a] + tap[a]) < static_cast<unsigned>(p.axis[a].size);",
     "inside &= at[a] + tap[a] >= 0;", forward, "float16"),
    ("a split takes rows of the next", "conv_tensor.cu",
     "min(rows.count(), row + p.steps * Field::DEPTH)", "rows.count()", weight_grad, "float16"),
    ("an index beyond the sum's is added", "conv_tensor.cu",
     "left.fetch(rows, cursor, index, depth);\n            right.fetch(rows, cursor, index, depth)",
     "left.fetch(rows, cursor, 0, depth);\n            right.fetch(rows, cursor, 0, depth)",
     forward, "float16"),
    ("no barrier between steps", "simt.cuh",
     "                put(next, next + DEPTH * A);\n                __syncthreads();",
     "                put(next, next + DEPTH * A);", forward, "float32"),
    ("one buffer for both steps", "simt.cuh",
     "S* next = shared + (step + 1) % 2 * BUFFER;", "S* next = shared + step % 2 * BUFFER;",
     forward, "float32"),
    ("columns beyond the last are read", "operands.cuh",
     "inside && first + i * Stage::LINES < rows.p.columns", "inside", forward, "float32"),
    ("a phase starts at the first tap", "window.cuh",
     "place += of(a).weight_first +", "place +=", input_grad, "float32"),
    ("a phase's rows are written one after another", "window.cuh",
     "of(a).out_first + position[a] * p.axis[a].out_step", "position[a]", input_grad, "float32"),
    ("slices are added up to the last but one", "slices.cu",
     "s < splits", "s < splits - 1", weight_grad, "float32"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _no_plan_is_kept() -> None:
    """Tests change the tables that plans are made by."""
    products._gathering.cache_clear()
    products._weighing.cache_clear()


@pytest.fixture
def found(
    card: Any, simulator: Any, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, str, Callable[[str], bool], str], str]:
    """``found(file, text, product, dtype)``: how a product goes wrong with that text for a file."""

    def run(file: str, text: str, product: Callable[[str], bool], dtype: str) -> str:
        monkeypatch.setattr(tiles, "ENOUGH", 1)  # the largest tile
        with launch.recording() as seen:
            assert product(dtype), "the unchanged source is wrong"
        for kernel in {s.kernel for s in seen}:
            if file in local_sources(kernel.source):
                library = simulator.Library(kernel.source, {file: text}, [kernel])
                card.libraries[kernel.source] = library
        try:
            if not product(dtype):
                return "a wrong result"
        except simulator.SimulationError as error:
            return str(error)
        libraries = card.libraries.values()
        conflicts = sum(library.statistics()["bank_conflicts"] for library in libraries)
        return f"{conflicts} bank conflicts" if conflicts else ""

    return run


@pytest.mark.parametrize(("file", "old", "new", "product", "dtype"), [
    pytest.param(*bug[1:], id=bug[0]) for bug in BUGS
])  # fmt: skip
def test_a_planted_bug_is_found(
    found: Any, file: str, old: str, new: str, product: Callable[[str], bool], dtype: str
) -> None:
    source = local_sources(file)[file]
    assert source.count(old) >= 1
    assert found(file, source.replace(old, new, 1), product, dtype)


@pytest.mark.parametrize("product", [forward, input_grad, weight_grad])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_unchanged_sources_pass(found: Any, product: Callable[[str], bool], dtype: str) -> None:
    file = "window.cuh"
    assert not found(file, local_sources(file)[file] + "// unchanged\n", product, dtype)
