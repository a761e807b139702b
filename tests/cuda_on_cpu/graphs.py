"""CUDA graphs on the simulated card: work that is noted once and done again and again.

A graph knows addresses, and so do these: of memory that somebody let go of, whatever lies there now
is read and written, as on a card. While a capture goes on, its work is done as usual, for the
simulator cannot know otherwise what comes out of it; at its end, every array that was there before
has its old values again.
"""

from __future__ import annotations

import contextlib
import ctypes
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from flagstone.backend import OpLike, OpTable
from flagstone.recording import owner
from flagstone_cupy import launch
from flagstone_cupy.kernel import Kernel

ALIGNMENT = 512  # as CuPy's memory has it; kernels look at it
Work = Callable[[], None]


class Pool:
    """Memory that is used again once no array lies in it, the last freed first.

    Attributes:
        born: address -> the capture that was going on when the array there was made.
    """

    def __init__(self) -> None:
        self.born: dict[int, object] = {}
        self._blocks: list[np.ndarray] = []  # all of them: memory never goes while the pool is
        self._free: dict[int, list[int]] = {}

    def empty(self, shape: Sequence[int], dtype: Any, capture: object) -> np.ndarray:
        size = _size(shape, dtype)
        free = self._free.setdefault(size, [])
        if not free:
            self._blocks.append(np.empty(size + ALIGNMENT, np.uint8))
            free.append(_aligned(self._blocks[-1].ctypes.data))
        address = free.pop()
        memory: Any = (ctypes.c_char * size).from_address(address)
        weakref.finalize(memory, free.append, address)
        self.born[address] = capture
        return np.ndarray(shape, dtype, buffer=memory)


class Capture:
    """What a graph does, in order; ``launches`` are the kernels among it."""

    def __init__(self) -> None:
        self.work: list[Work] = []
        self.launches: list[launch.Launch] = []
        self._before: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def writes(self, a: np.ndarray, pool: Pool) -> None:
        """``a`` is about to be written to."""
        base = owner(a)
        base = base if isinstance(base, np.ndarray) else np.frombuffer(base, np.uint8)
        address = base.ctypes.data
        if pool.born.get(address) is not self and address not in self._before:
            self._before[address] = base, base.copy()

    def undo(self) -> None:
        """Give what was there before its values back."""
        for base, values in self._before.values():
            base[...] = values


class Graphs:
    """What a simulated card knows of graphs.

    Attributes:
        pool: where arrays are made now; ``None`` for ordinary memory.
        capture: what is being captured.
        refused: names of ops that a capture refuses where their generic form is called, as CuPy
            refuses libraries.
        rooms: all that were made and not closed.
        captured: how many graphs were made.
    """

    def __init__(self) -> None:
        self.pool: Pool | None = None
        self.capture: Capture | None = None
        self.refused: set[str] = set()
        self.rooms: list[Room] = []
        self.captured = 0

    def empty(self, shape: Sequence[int], dtype: Any) -> np.ndarray:
        if self.pool is not None:
            return self.pool.empty(shape, dtype, self.capture)
        raw = np.empty(_size(shape, dtype) + ALIGNMENT, np.uint8)
        first = _aligned(raw.ctypes.data) - raw.ctypes.data
        return np.ndarray(shape, dtype, buffer=raw[first:].data)

    def like(self, a: np.ndarray) -> np.ndarray:
        """An array of that shape, dtype and order of axes."""
        order = sorted(range(a.ndim), key=lambda axis: -abs(a.strides[axis]))
        made = self.empty([a.shape[axis] for axis in order], a.dtype)
        return made.transpose(np.argsort(order)) if order else made

    def note(self, work: Callable[..., None], writes: Sequence[Any], *taken: Any) -> None:
        """Add work to the graph that is being captured, if one is, and do it."""
        if self.capture is not None:
            assert self.pool is not None
            for a in writes:
                self.capture.writes(a, self.pool)
            frozen = [_frozen(x) for x in taken]
            self.capture.work.append(lambda: work(*frozen))
        work(*taken)

    def launched(
        self, run: Callable[..., None], kernel: Kernel, grid: Any, block: Any, shared: int,
        arguments: Sequence[Any],
    ) -> None:  # fmt: skip
        """A kernel is launched."""
        pairs = list(zip(kernel.parameters, arguments, strict=True))
        writes = [a for p, a in pairs if p.is_pointer and not p.is_const and a is not launch.NULL]
        if self.capture is not None:
            self.capture.launches.append(
                launch.Launch(kernel, grid, block, shared, tuple(arguments))
            )
        values = [None if p.is_pointer else np.array(a) for p, a in pairs]  # numbers, structs

        def work(*taken: Any) -> None:
            given = [a if v is None else v for a, v in zip(taken, values, strict=True)]
            run(kernel, grid, block, shared, given)

        self.note(work, writes, *[a if p.is_pointer else None for p, a in pairs])

    def generic(self, op: Any) -> Callable[..., Any]:
        """An op's generic form, which NumPy does instead of CuPy."""

        def form(xp: Any, *arrays: Any, **static: Any) -> Any:
            if self.capture is not None and op.name in self.refused:
                raise NotImplementedError("calling a library is not supported")
            written = [a for a, name in zip(arrays, op.arrays, strict=False) if name in op.mutates]
            if written:
                self.note(lambda *taken: op.generic(xp, *taken, **static), written, *arrays)
                return ()  # as what writes to its arguments does
            made = op.generic(xp, *arrays, **static)
            results = [self._own(a, arrays) for a in (made if type(made) is tuple else (made,))]

            def work(*taken: Any) -> None:
                again = op.generic(xp, *taken[len(results) :], **static)
                again = again if type(again) is tuple else (again,)
                for to, a in zip(taken[: len(results)], again, strict=True):
                    to[...] = a

            if not all(_shares(a, arrays) for a in results):
                self.note(work, results, *results, *arrays)
            return tuple(results) if type(made) is tuple else results[0]

        return form

    def _own(self, result: Any, arrays: Sequence[Any]) -> np.ndarray:
        """A view as it is, anything else in the card's memory."""
        result = np.asarray(result)
        if _shares(result, arrays):
            return result
        made = self.like(result)
        made[...] = result
        return made


class Room:
    """See :class:`flagstone_cupy.graph.Room`."""

    def __init__(self, graphs: Graphs) -> None:
        self._graphs, self._pool = graphs, Pool()
        self.captures: list[Capture] = []
        graphs.rooms.append(self)

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        self._graphs.pool = self._pool
        try:
            yield
        finally:
            self._graphs.pool = None

    def capture(self, work: Callable[[], Any]) -> Capture:
        capture = self._graphs.capture = Capture()
        try:
            with self.working():
                work()
        finally:
            self._graphs.capture = None
            capture.undo()
        self.captures.append(capture)
        self._graphs.captured += 1
        return capture

    def launch(self, graph: Capture) -> None:
        for work in graph.work:
            work()

    def like(self, a: np.ndarray) -> np.ndarray:
        return self._graphs.like(a)

    def copy(self, to: np.ndarray, a: np.ndarray) -> None:
        to[...] = a

    def close(self) -> None:
        self._graphs.rooms.remove(self)


class Table(OpTable):
    """Kernels of a backend whose generic forms are noted by graphs."""

    def __init__(self, backend: Any, graphs: Callable[[], Graphs]) -> None:
        super().__init__(backend)
        self._graphs = graphs

    def __missing__(self, op: OpLike) -> Callable[..., Any]:
        shown = _Shown(op, lambda *given, **static: self._graphs().generic(op)(*given, **static))
        bound = self[op] = super().__missing__(shown)
        return bound


class _Shown:
    """An op with another generic form."""

    def __init__(self, op: OpLike, generic: Callable[..., Any]) -> None:
        self.name, self.generic = op.name, generic
        self.arrays, self.mutates = getattr(op, "arrays", ()), getattr(op, "mutates", ())


def _frozen(a: Any) -> Any:
    """Memory as a graph knows it: an address, whatever becomes of the array."""
    if not isinstance(a, np.ndarray):
        return a
    ends = [(n - 1) * s for n, s in zip(a.shape, a.strides, strict=True)] if a.size else []
    below = sum(e for e in ends if e < 0)  # of what is stored backwards
    extent = sum(abs(e) for e in ends) + (a.itemsize if a.size else 0)
    memory = (ctypes.c_char * extent).from_address(a.ctypes.data + below)
    return np.ndarray(a.shape, a.dtype, buffer=memory, offset=-below, strides=a.strides)


def _shares(a: Any, arrays: Sequence[Any]) -> bool:
    return any(np.may_share_memory(a, b) for b in arrays if isinstance(b, np.ndarray))


def _size(shape: Sequence[int], dtype: Any) -> int:
    return -(-max(1, int(np.prod(shape)) * np.dtype(dtype).itemsize) // ALIGNMENT) * ALIGNMENT


def _aligned(address: int) -> int:
    return -(-address // ALIGNMENT) * ALIGNMENT
