"""Batches on their way to a card: two pinned buffers, and a stream that copies beside the work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cupy
import cupyx

from flagstone.backend import Backend, Staging


class CupyStaging(Staging):
    """Copies of one place go on while the card computes with the other.

    A place's memory on the host is written to when its last copy has ended, and its memory on the
    card when the work that was asked for before :meth:`release` has.
    """

    def __init__(self, backend: Backend, kinds: Sequence[tuple[tuple[int, ...], str]]) -> None:
        self._backend = backend
        self._buffers = [
            [cupyx.empty_pinned(shape, dtype) for shape, dtype in kinds] for _ in range(2)
        ]
        self._device = [[cupy.empty(shape, dtype) for shape, dtype in kinds] for _ in range(2)]
        self._counts = [0, 0]
        self._stream = cupy.cuda.Stream(non_blocking=True)
        now = cupy.cuda.get_current_stream().record()  # the memory may be of work before
        self._sent, self._released = [now, now], [now, now]

    def host(self, place: int) -> Sequence[Any]:
        self._sent[place].synchronize()
        return self._buffers[place]

    def send(self, place: int, count: int) -> None:
        self._counts[place] = count
        self._stream.wait_event(self._released[place])
        for to, a in zip(self._device[place], self._buffers[place], strict=True):
            to[:count].set(a[:count], stream=self._stream)
        self._sent[place] = self._stream.record()

    def take(self, place: int) -> list[Any]:
        cupy.cuda.get_current_stream().wait_event(self._sent[place])
        return [a[: self._counts[place]] for a in self._device[place]]

    def release(self, place: int) -> None:
        self._released[place] = cupy.cuda.get_current_stream().record()
