"""Epochs of one step each, as those of small tables are: what they need is prepared for many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from flagstone.capturing import sweep
from flagstone.schedules import Schedule
from flagstone.tensors import Tensor
from flagstone.training.device_data import DeviceData

AHEAD = 64
"""Epochs that are prepared together."""


def prepares(data: Any, schedule: Schedule) -> bool:
    """Whether epochs can be prepared: a step is done when it is asked for, and not before, and
    rates do not follow from losses."""
    is_plain = type(data) is DeviceData and data.backend.is_immediate
    return is_plain and type(schedule).observe is Schedule.observe


class WholeBatches:
    """The steps of epochs that take all examples at once, as they lie.

    Args:
        step: ``step(None, rate, counter, scale)``.
        data: all examples.
        scale: number of examples -> the last argument.
        rate: number of the epoch, from 0 -> its learning rate.
        epochs: of the whole training.
    """

    def __init__(
        self, step: Callable[..., Any], data: DeviceData, scale: Callable[[int], Tensor],
        rate: Callable[[int], float], epochs: int,
    ) -> None:  # fmt: skip
        self._step, self._scale, self._rate, self._epochs = step, scale(data.n), rate, epochs
        self._backend, self._dtype = data.backend, data.dtype
        self._first = self._next = -1
        self._rates: list[float] = []
        self._steps: Iterator[int] = iter(())

    def step(self, epoch: int) -> float:
        """Do the step of an epoch; its learning rate."""
        if epoch != self._next or epoch - self._first == len(self._rates):
            self._prepare(epoch)
        next(self._steps)
        self._next = epoch + 1
        return self._rates[epoch - self._first]

    def _prepare(self, first: int) -> None:
        epochs = range(first, min(first + AHEAD, self._epochs))
        self._first, self._rates = first, [self._rate(epoch) for epoch in epochs]
        tables = [
            Tensor(self._backend.asarray(a), self._backend)
            for a in (
                np.array(self._rates, self._dtype),
                np.array([[0, epoch] for epoch in epochs], np.uint64),
            )
        ]
        self._steps = sweep(self._step, (None, *tables), 0, len(epochs), self._scale)
