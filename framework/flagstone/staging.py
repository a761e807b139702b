"""How batches of a data set that lies on the host get to a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Staging:
    """Two places, 0 and 1, through which batches of arrays go to a device.

    Here a batch is sent when it is taken. A device that can copy while it computes overrides all
    four methods; they are called in turn for each place: ``host``, ``send``, ``take``, ``release``.
    """

    def __init__(self, backend: Any, kinds: Sequence[tuple[tuple[int, ...], str]]) -> None:
        import numpy as np

        self._backend = backend
        self._buffers = [[np.empty(shape, dtype) for shape, dtype in kinds] for _ in range(2)]
        self._counts = [0, 0]

    def host(self, place: int) -> Sequence[Any]:
        """The place's arrays on the host, to be written to; waits until they are not read."""
        return self._buffers[place]

    def send(self, place: int, count: int) -> None:
        """Begin to copy the first ``count`` rows to the device, once it has released the place."""
        self._counts[place] = count

    def take(self, place: int) -> list[Any]:
        """The arrays on the device; what is asked of it from now on finds the rows in them."""
        count = self._counts[place]
        return [self._backend.asarray(a[:count].copy()) for a in self._buffers[place]]

    def release(self, place: int) -> None:
        """What was asked of the device so far is the last that reads the place."""
