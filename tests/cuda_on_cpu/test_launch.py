"""What a launch checks before anything runs, and how arguments are packed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flagstone.errors import DeviceMismatchError, DTypeError, InputError, UnavailableError
from flagstone_cupy import launch as module
from flagstone_cupy.kernel import REGISTRY, Kernel, struct
from flagstone_cupy.launch import Launch, contiguous, launch, recording, table

SOURCE = """
struct Many { int a[2]; double b; unsigned char c; };
__global__ void pack(const float* x, double* y, int i, long long l, unsigned long long u, float f,
                     bool b, Many many) {
    y[0] = x ? x[0] : -1;
    y[1] = i; y[2] = static_cast<double>(l); y[3] = u == 0xFFFFFFFFFFFFFFFFull;
    y[4] = f; y[5] = b; y[6] = many.a[1]; y[7] = many.b; y[8] = many.c;
}
"""
ONE = ((1, 1, 1), (1, 1, 1), 0)


@pytest.fixture
def pack(tmp_path: Path) -> Any:
    (tmp_path / "pack.cu").write_text(SOURCE)
    kernel = Kernel(str(tmp_path / "pack.cu"), "pack")
    yield kernel
    del REGISTRY[str(kernel)]


def arguments(kernel: Kernel, **changes: Any) -> list[Any]:
    many = struct(kernel.source, "Many", (3, 4), 0.5, 200)
    given = {
        "x": np.ones(1, "float32"), "y": np.zeros(9), "i": -7, "l": 2**40, "u": 2**64 - 1,
        "f": 0.25, "b": True, "many": many, **changes,
    }  # fmt: skip
    return list(given.values())


def test_every_kind_of_argument_arrives(card: Any, pack: Kernel) -> None:
    given = arguments(pack)
    launch(pack, *ONE, given)
    np.testing.assert_array_equal(given[1], [1, -7, 2**40, 1, 0.25, 1, 4, 0.5, 200])
    given[0] = None
    launch(pack, *ONE, given)
    assert given[1][0] == -1


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"x": np.ones(1)}, DTypeError, "x expected float32; got float64"),
        ({"y": np.zeros((9, 9)).T[:1]}, InputError, "y expected a contiguous array; got strides"),
        ({"x": [1.0]}, DeviceMismatchError, "x expected an array of the device; got builtins.list"),
        ({"i": 2**31}, InputError, "i expected a value of int32; got 2147483648"),
        ({"i": 1.5}, DTypeError, "i expected an integer; got 1.5"),
        ({"u": -1}, InputError, "u expected a value of uint64; got -1"),
        ({"many": np.zeros(1)}, DTypeError, "many expected a struct of .*; got float64"),
        ({"more": 1}, InputError, "expected 8 arguments; got 9"),
    ],
)
def test_wrong_arguments_are_refused(
    card: Any, pack: Kernel, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        launch(pack, *ONE, arguments(pack, **changes))
    assert not card.launched


@pytest.mark.parametrize(
    ("grid", "block", "shared", "message"),
    [
        ((1, 65536, 1), (1, 1, 1), 0, "expected a grid of at most"),
        ((2**31, 1, 1), (1, 1, 1), 0, "expected a grid of at most"),
        ((1, 1, 1), (32, 33, 1), 0, "expected 1 to 1024 threads a block"),
        ((1, 1, 1), (0, 1, 1), 0, "expected 1 to 1024 threads a block"),
        ((1, 1, 1), (1, 1, 1), 2**20, "expected at most 232448 shared bytes"),
    ],
)
def test_geometry_beyond_a_card_is_refused(
    card: Any, pack: Kernel, grid: Any, block: Any, shared: int, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        launch(pack, grid, block, shared, arguments(pack))


def test_a_grid_without_blocks_starts_nothing(card: Any, pack: Kernel) -> None:
    launch(pack, (0, 1, 1), (1, 1, 1), 0, [])
    assert not card.launched


def test_without_a_card_it_says_so(pack: Kernel) -> None:
    before = module.install(None)
    try:
        with pytest.raises(UnavailableError, match="no card is open"):
            launch(pack, *ONE, arguments(pack))
    finally:
        module.install(before)


def test_launches_are_recorded(card: Any, pack: Kernel) -> None:
    with recording() as outer:
        launch(pack, *ONE, arguments(pack))
        with recording() as inner:
            launch(pack, *ONE, arguments(pack, i=5))
    assert [type(seen) for seen in outer] == [Launch]
    assert inner[0].arguments[2] == 5
    launch(pack, *ONE, arguments(pack))
    assert len(outer) == len(inner) == 1


def test_contiguous_copies_only_what_is_not(card: Any) -> None:
    x = np.arange(6.0).reshape(2, 3)
    assert contiguous(x) is x
    copy = contiguous(x.T)
    assert copy.flags.c_contiguous
    np.testing.assert_array_equal(copy, x.T)


@pytest.mark.parametrize(
    ("rows", "columns", "grid", "block"),
    [
        (10, 1, (1, 1, 1), (1, 256, 1)),
        (10, 3, (1, 1, 1), (4, 64, 1)),
        (1000, 300, (2, 1000, 1), (256, 1, 1)),
        (10**6, 200, (1, 65535, 1), (256, 1, 1)),
        (0, 5, (1, 0, 1), (8, 32, 1)),
    ],
)
def test_a_table_of_threads(rows: int, columns: int, grid: Any, block: Any) -> None:
    assert table(rows, columns) == (grid, block)


# What the simulation reports


def run(card: Any, tmp_path: Path, body: str, *, threads: int = 64) -> None:
    path = tmp_path / "wrong.cu"
    path.write_text(f"__global__ void wrong(float* x, int n) {{\n{body}\n}}\n")
    kernel = Kernel(str(path), "wrong")
    try:
        launch(kernel, (1, 1, 1), (threads, 1, 1), 0, (np.zeros(threads, "float32"), threads))
    finally:
        del REGISTRY[str(kernel)]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("x[n + threadIdx.x * 9999] = 1;", "an access outside every buffer"),
        ("x[-1] = 1;", "a write beside a buffer"),
        ("if (threadIdx.x < 9) __syncthreads(); else __syncwarp();", "never reach"),
        ("if (threadIdx.x & 1) x[0] += __shfl_sync(~0u, 1.0f, 0);", "different collectives"),
        ("if (threadIdx.x & 1) __syncwarp(); else __ballot_sync(~0u, 1);", "different collectives"),
        ("__shfl_sync(1u << (threadIdx.x + 1) % 32, 1, 0);", "whose mask leaves it out"),
        ("x[0] = threadIdx.x;", "the result depends on the order of threads"),
        ("char much[1 << 20]; much[threadIdx.x] = 1; x[0] = much[n];", "outside every buffer"),
    ],
)
def test_what_must_not_happen_is_reported(
    card: Any, simulator: Any, tmp_path: Path, body: str, message: str
) -> None:
    with pytest.raises(simulator.SimulationError, match=message):
        run(card, tmp_path, body)


def test_float_atomics_do_not_compile(card: Any, simulator: Any, tmp_path: Path) -> None:
    with pytest.raises(simulator.BuildError, match="atomicAdd"):
        run(card, tmp_path, "atomicAdd(x, 1.0f);")


def test_shared_memory_holds_nan_at_first(card: Any, tmp_path: Path) -> None:
    read = "const float here = s[threadIdx.x]; if (here == here) x[-1] = 1;"
    run(card, tmp_path, f"__shared__ float s[64]; if (n < 0) s[threadIdx.x] = 1; {read}")
