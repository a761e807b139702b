"""Memory and a stream that belong to graphs, and capturing on them.

Checked for CuPy 14.2: a stream captures in relaxed mode unless told otherwise, so memory may be
allocated meanwhile; cuBLAS, cuSOLVER, cuSPARSE and cuRAND raise ``NotImplementedError``; a pool
that is dropped with free blocks in it does not give them back, so they are freed first.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import cupy

from flagstone_cupy.runner import out_of_memory

Array = Any


class HostTransferError(RuntimeError):
    """A graph would copy from an address on the host, where something else lies later."""


class CupyRoom:
    """A memory pool and a stream of one card, for graphs that are launched one after another."""

    def __init__(self, card: Any) -> None:
        self._card = card
        with card:
            self._pool = cupy.cuda.MemoryPool()
            self._stream = cupy.cuda.Stream(non_blocking=True)

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """See :class:`flagstone_cupy.graph.Room`."""
        with self._card:
            outer = cupy.cuda.get_current_stream()
            self._stream.wait_event(outer.record())
            try:
                with cupy.cuda.using_allocator(self._allocate), self._stream:
                    yield
            finally:
                outer.wait_event(self._stream.record())

    def capture(self, work: Callable[[], Any]) -> Any:
        """A ``cupy.cuda.Graph`` of what ``work`` launches."""
        stream = self._stream
        with (
            self._card, cupy.cuda.using_allocator(self._pool.malloc), _nothing_from_the_host(),
            stream,
        ):  # fmt: skip
            stream.begin_capture()
            try:
                work()
            except BaseException:
                with contextlib.suppress(cupy.cuda.runtime.CUDARuntimeError):
                    stream.end_capture()  # it says that the capture is invalid; work said why
                raise
            return stream.end_capture()

    def launch(self, graph: Any) -> None:
        """Start a graph on the current stream."""
        graph.launch(cupy.cuda.get_current_stream())

    def like(self, a: Array) -> Array:
        """A new array; within :meth:`working`, in the room."""
        return cupy.empty_like(a)

    def copy(self, to: Array, a: Array) -> None:
        """Copy values, on the current stream."""
        if a.flags.c_contiguous and to.flags.c_contiguous:
            to.data.copy_from_device_async(a.data, a.nbytes, cupy.cuda.get_current_stream())
        else:
            to[...] = a

    def bytes(self) -> int:
        """How much of the card's memory it holds."""
        return int(self._pool.total_bytes())

    def close(self) -> None:
        """Give the memory back; graphs and arrays are gone."""
        with contextlib.suppress(cupy.cuda.runtime.CUDARuntimeError), self._card:  # CUDA may end
            self._pool.free_all_blocks()

    def _allocate(self, size: int) -> Any:
        try:
            return self._pool.malloc(size)
        except cupy.cuda.memory.OutOfMemoryError:
            cupy.get_default_memory_pool().free_all_blocks()
        try:
            return self._pool.malloc(size)
        except cupy.cuda.memory.OutOfMemoryError as error:
            raise out_of_memory(error) from None


@contextlib.contextmanager
def _nothing_from_the_host() -> Iterator[None]:
    """Within it, this thread cannot send an array, which goes through pinned memory."""
    here = threading.get_ident()
    ordinary = cupy.get_default_pinned_memory_pool().malloc

    def allocate(size: int) -> Any:
        if threading.get_ident() != here:
            return ordinary(size)
        raise HostTransferError("an array of the host")

    cupy.cuda.set_pinned_memory_allocator(allocate)
    try:
        yield
    finally:
        cupy.cuda.set_pinned_memory_allocator(ordinary)
