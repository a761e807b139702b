"""The one way to start a kernel: arguments checked and packed by what the source declares.

A *runner* does the rest: on a card CuPy's (``runner.py``), in the tests one that runs the same
source on the CPU, so that how kernels are launched is tested too. ``recording`` shows launches.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from flagstone.errors import DeviceMismatchError, DTypeError, InputError, UnavailableError
from flagstone_cupy.kernel import Kernel

Array = Any
Sizes = Sequence[int]
THREADS = 256  # of a block, where a kernel has no reason for another number; common.cuh has both
EACH = 4  # values that a thread of an elementwise kernel takes
MOST_THREADS = 1024
MOST_SHARED = 227 << 10  # bytes a block; sm_75 has 64 KiB and sm_86, 89 and 120 have 99
NULL = np.uint64(0)  # the pointer
MOST_BLOCKS = (2**31 - 1, 65535, 65535)


class Runner(Protocol):
    """What runs kernels and makes the arrays that they write."""

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """An array of this device, not filled, in row-major order."""

    def is_here(self, a: Array) -> bool:
        """Whether ``a`` is an array of this device."""

    def copy(self, to: Array, a: Array) -> None:
        """Write the values of ``a`` to an array of any layout and dtype."""

    def run(
        self, kernel: Kernel, grid: Sizes, block: Sizes, shared: int, arguments: list[Any]
    ) -> None:
        """Start the kernel; ``arguments`` are arrays, and NumPy scalars and structs."""


@dataclass(frozen=True, slots=True)
class Launch:
    """A launch as it was asked for; ``arguments`` as the runner gets them."""

    kernel: Kernel
    grid: tuple[int, ...]
    block: tuple[int, ...]
    shared: int
    arguments: tuple[Any, ...]


_runner: Runner | None = None
_recorder: Callable[[Launch], None] | None = None


def install(runner: Runner | None) -> Runner | None:
    """Make ``runner`` serve this process; the one that did is returned."""
    global _runner
    before, _runner = _runner, runner
    return before


def runner() -> Runner:
    """The runner that serves this process.

    Raises:
        UnavailableError: the CuPy backend was not opened.
    """
    if _runner is None:
        raise UnavailableError("no card is open; open one with flagstone.backend.open_backend")
    return _runner


@contextlib.contextmanager
def recording() -> Iterator[list[Launch]]:
    """Within it, the list that this yields grows by every launch."""
    global _recorder
    seen: list[Launch] = []
    before, _recorder = _recorder, seen.append
    try:
        yield seen
    finally:
        _recorder = before


def launch(
    kernel: Kernel, grid: Sizes, block: Sizes, shared: int, arguments: Sequence[Any]
) -> None:
    """Start ``kernel`` on the device's current stream.

    Args:
        kernel: what to start.
        grid: blocks along x, y and z; a grid with no block starts nothing.
        block: threads along x, y and z.
        shared: bytes of dynamic shared memory a block.
        arguments: one for each parameter: for a pointer a contiguous array of its dtype, or
            ``None`` for a null pointer; a number; what :func:`flagstone_cupy.kernel.struct` makes.

    Raises:
        InputError: too many or too few arguments, an array that is not contiguous, a number out
            of range, or a grid or a block larger than a card allows.
        DTypeError: an argument is of another dtype than the parameter.
        DeviceMismatchError: an array lies elsewhere.
    """
    if 0 in grid:
        return
    here = runner()
    if len(arguments) != len(kernel.parameters):
        raise InputError(
            f"{kernel}: expected {len(kernel.parameters)} arguments; got {len(arguments)}"
        )
    _check_geometry(kernel, grid, block, shared)
    packed = [
        _pointer(kernel, i, value, here) if p.is_pointer else _by_value(kernel, i, value)
        for i, (p, value) in enumerate(zip(kernel.parameters, arguments, strict=True))
    ]
    if _recorder is not None:
        _recorder(Launch(kernel, tuple(grid), tuple(block), shared, tuple(packed)))
    here.run(kernel, grid, block, shared, packed)


def over(kernel: Kernel, n: int, *arguments: Any, each: int = EACH) -> None:
    """Start an elementwise ``kernel`` with one thread for ``each`` of ``n`` values."""
    launch(kernel, (-(-n // (THREADS * each)), 1, 1), (THREADS, 1, 1), 0, arguments)


def table(rows: int, columns: int) -> tuple[Sizes, Sizes]:
    """A grid and a block of threads along y for rows and along x for columns, of ``THREADS`` each.

    Every column has its thread; rows may have to take turns, a grid's height apart.
    """
    wide = 1
    while wide < min(columns, THREADS):
        wide *= 2
    high = THREADS // wide
    blocks = min(-(-rows // high), MOST_BLOCKS[1])
    return (-(-columns // wide), blocks, 1), (wide, high, 1)


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """An array of the device to write results to; what it holds is not defined."""
    return runner().empty(shape, dtype)


def contiguous(a: Array) -> Array:
    """``a`` in row-major order: itself if it is, else a copy."""
    if a.flags.c_contiguous:
        return a
    return converted(a, a.dtype)


def converted(a: Array, dtype: Any) -> Array:
    """A copy of ``a`` in row-major order, of that dtype."""
    to = empty(a.shape, dtype)
    copy(to, a)
    return to


def copy(to: Array, a: Array) -> None:
    """Write the values of ``a`` to an array of any layout and dtype."""
    runner().copy(to, a)


def _check_geometry(kernel: Kernel, grid: Sizes, block: Sizes, shared: int) -> None:
    x, y, z = block
    if not 0 < x * y * z <= MOST_THREADS or len(grid) != 3:
        raise InputError(f"{kernel}: expected 1 to {MOST_THREADS} threads a block; got {block}")
    if any(not 0 < n <= most for n, most in zip(grid, MOST_BLOCKS, strict=True)):
        raise InputError(f"{kernel}: expected a grid of at most {MOST_BLOCKS} blocks; got {grid}")
    if not 0 <= shared <= MOST_SHARED:
        raise InputError(f"{kernel}: expected at most {MOST_SHARED} shared bytes; got {shared}")


def _pointer(kernel: Kernel, i: int, value: Any, here: Runner) -> Any:
    if value is None:
        return NULL
    if not here.is_here(value):
        raise DeviceMismatchError(
            f"{kernel}: {kernel.parameters[i].name} expected an array of the device; "
            f"got {type(value).__module__}.{type(value).__name__}"
        )
    if value.dtype != kernel.dtypes[i]:
        raise DTypeError(
            f"{kernel}: {kernel.parameters[i].name} expected {kernel.dtypes[i]}; got {value.dtype}"
        )
    if not value.flags.c_contiguous:
        raise InputError(
            f"{kernel}: {kernel.parameters[i].name} expected a contiguous array; got strides "
            f"{value.strides} for shape {value.shape}"
        )
    return value


def _by_value(kernel: Kernel, i: int, value: Any) -> Any:
    dtype = kernel.dtypes[i]
    if dtype.names is not None:
        if getattr(value, "dtype", None) != dtype:
            raise DTypeError(
                f"{kernel}: {kernel.parameters[i].name} expected a struct of {dtype}; got "
                f"{getattr(value, 'dtype', type(value).__name__)}"
            )
        return value
    if dtype.kind in "iu" and not isinstance(value, (int, np.integer)):
        raise DTypeError(
            f"{kernel}: {kernel.parameters[i].name} expected an integer; got {value!r}"
        )
    try:
        return dtype.type(value)
    except OverflowError:
        raise InputError(
            f"{kernel}: {kernel.parameters[i].name} expected a value of {dtype}; got {value}"
        ) from None
