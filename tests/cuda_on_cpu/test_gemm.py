"""Matrix products against NumPy's in float64: layouts, batches, ragged sizes, types."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flagstone_cupy import launch
from flagstone_cupy.kernels import gemm
from flagstone_cupy.signature import BFLOAT16

RNG = np.random.default_rng(5)
KINDS = {
    "float32": ("exact", "float32", 1e-6),
    "float64": ("exact", "float64", 2e-15),
    "tf32": ("tf32", "float32", 6e-4),
    "float16": ("exact", "float16", 5e-4),
    "bfloat16": ("exact", "bfloat16", 4e-3),
}
PAIRS = {  # shapes of a and b; T: given as the transposed view of an array
    "plain": ((70, 40), (40, 72)),
    "plain, odd": ((67, 37), (37, 41)),
    "b transposed": ((70, 40), "T", (40, 72)),
    "b transposed, odd": ((67, 37), "T", (37, 41)),
    "a transposed": ("T", (72, 40), (40, 64)),
    "a transposed, odd": ("T", (67, 37), (37, 41)),
    "both transposed": ("T", (24, 40), "T", (40, 48)),
    "long": ((8, 1304), (1304, 16)),
    "long, a transposed": ("T", (16, 1304), (1304, 8)),
    "one row": ((1, 40), (40, 24)),
    "one column": ((24, 40), (40, 1)),
    "one of each": ((1, 1), (1, 1)),
    "batches": ((3, 2, 17, 24), (3, 2, 24, 16)),
    "batches, b transposed": ((3, 2, 17, 24), "T", (3, 2, 24, 16)),
    "batches, a transposed": ("T", (3, 16, 24), (3, 24, 8)),
    "one b": ((3, 2, 17, 24), (24, 16)),
    "one a": ((24, 40), (5, 40, 16)),
    "one a, transposed": ("T", (24, 40), (5, 40, 16)),
    "broadcast both ways": ((3, 1, 8, 40), (1, 4, 40, 16)),
    "no rows": ((0, 4), (4, 3)),
    "no inner length": ((3, 0), (0, 4)),
    "no inner length, a transposed": ("T", (3, 0), (0, 4)),
}


def cast(a: Any, dtype: str) -> Any:
    if dtype != "bfloat16":
        return a.astype(dtype)
    bits = a.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16).view(BFLOAT16)


def value(a: Any) -> Any:
    if a.dtype == BFLOAT16:
        return (
            (np.ascontiguousarray(a).view(np.uint16).astype(np.uint32) << 16)
            .view(np.float32)
            .astype(np.float64)
        )
    return a.astype(np.float64)


def arrays(parts: Any, dtype: str) -> list[Any]:
    made, transposed = [], False
    for part in parts:
        if part == "T":
            transposed = True
            continue
        *lead, m, n = part
        stored = (*lead, n, m) if transposed else part
        a = cast(RNG.standard_normal(stored), dtype)
        made.append(a.swapaxes(-1, -2) if transposed else a)
        transposed = False
    return made


def close(got: Any, expected: Any, allowed: float) -> bool:
    assert got.shape == expected.shape
    return bool(np.linalg.norm(value(got) - expected) <= allowed * np.linalg.norm(expected))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PAIRS)
def test_batched_matmul(card: Any, name: str, kind: str) -> None:
    card.seeds = (0, 1)
    precision, dtype, allowed = KINDS[kind]
    a, b = arrays(PAIRS[name], dtype)
    y = gemm.batched_matmul(a, b, precision=precision)
    assert close(y, value(a) @ value(b), allowed)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lead", [(33,), (2, 3, 5), ()])
def test_linear_and_its_weight_gradient(card: Any, lead: tuple[int, ...], kind: str) -> None:
    precision, dtype, allowed = KINDS[kind]
    x = cast(RNG.standard_normal((*lead, 40)), dtype)
    w = cast(RNG.standard_normal((24, 40)), dtype)
    b = cast(RNG.standard_normal(24), dtype)
    expected = value(x) @ value(w).T + value(b)
    assert close(gemm.linear(x, w, b, precision=precision), expected, allowed)
    y = gemm.linear(x, w, b, precision=precision, activation="relu")
    assert close(y, np.maximum(expected, 0), allowed)
    assert close(gemm.linear(x, w, precision=precision), expected - value(b), 2 * allowed)
    g = cast(RNG.standard_normal((*lead, 24)), dtype)
    rows = value(g).reshape(-1, 24).T @ value(x).reshape(-1, 40)
    assert close(gemm.linear_weight_grad(g, x, precision=precision), rows, allowed)


@pytest.mark.parametrize("name", ["plain", "b transposed", "a transposed"])
def test_transposed_views_are_read_as_they_are(card: Any, name: str) -> None:
    a, b = arrays(PAIRS[name], "float32")
    with launch.recording() as seen:
        gemm.batched_matmul(a, b)
    bases = {id(part if part.base is None else part.base) for part in (a, b)}
    read = [v for s in seen for v in s.arguments[:2] if isinstance(v, np.ndarray)]
    assert bases <= {id(v if v.base is None else v.base) for v in read}


def test_a_long_sum_is_split_and_always_alike(card: Any) -> None:
    a, b = arrays(((8, 4000), (4000, 16)), "float32")
    with launch.recording() as seen:
        y = gemm.batched_matmul(a, b)
    assert [s.kernel.name for s in seen] == ["conv_input_grad", "add_slices"]
    assert seen[0].grid[0] > 4
    assert close(y, value(a) @ value(b), 1e-6)
    np.testing.assert_array_equal(y, gemm.batched_matmul(a, b))
