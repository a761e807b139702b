"""Epochs of one step each, as those of small tables are: what they need is prepared for many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from flagstone.capturing import sweep
from flagstone.schedules import Schedule
from flagstone.tensors import Tensor
from flagstone.training.device_data import DeviceData
from flagstone.training.sums import Sums

AHEAD = 256
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

    def run(
        self, epoch: int, begin: Callable[[int, int, int], None], sums: Sums,
        is_over: Callable[[], object],
    ) -> tuple[list[float], list[tuple[Any, Any]]]:  # fmt: skip
        """Do the steps of the epochs that are prepared, from ``epoch`` on, for nobody looks on.

        Args:
            epoch: the first, from 0.
            begin: called with each before its step, and with the number of all, and of their steps.
            sums: what steps add to, 0 before and after.
            is_over: whether to end after the present one.

        Returns:
            The learning rates of the epochs that were done, and what they added up, in what
            :meth:`Sums.means` takes.
        """
        if epoch != self._next or epoch - self._first == len(self._rates):
            self._prepare(epoch)
        place, count = epoch - self._first, len(self._rates)
        tables: list[tuple[Any, Any]] = []
        for i in range(place, count):
            begin(self._first + i, self._epochs, 1)
            next(self._steps)
            tables = tables or sums.tables(count - place)  # the first step makes the sums
            for table, array in tables:
                table[i - place, ...] = array
                array[...] = 0
            if is_over():
                break
        self._next = self._first + i + 1
        return self._rates[place : i + 1], tables

    def _prepare(self, first: int) -> None:
        epochs = range(first, min(first + AHEAD, self._epochs))
        self._first, self._rates = first, [self._rate(epoch) for epoch in epochs]
        tables = [
            Tensor(self._backend.asarray(a), self._backend)
            for a in (
                np.array(self._rates, self._dtype),
                np.stack([np.zeros(len(epochs), np.uint64), np.asarray(epochs, np.uint64)], 1),
            )
        ]
        self._steps = sweep(self._step, (None, *tables), 0, len(epochs), self._scale)
