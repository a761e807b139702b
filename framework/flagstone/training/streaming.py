"""Data that stay on the host, because the device has no room for them, and go there in batches.

A batch is gathered into one of two buffers while the device computes with the other. What a
backend does with them is its :class:`Staging`; by default a batch is sent when it is asked for.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from flagstone.backend import Backend, Staging
from flagstone.nn.examples import Examples
from flagstone.tensors import Tensor
from flagstone.training.device_data import DeviceData, Rows, examples_in, order_of, total_of

SHARE = 2
"""Data stay on the device if they take no more than its free memory divided by this; the rest is
for what a step makes."""


def placed(
    x: Any, y: Any, weight: Any, backend: Backend, dtype: str, batch_size: int | None
) -> DeviceData:
    """The data where they belong: on the device if it has room for them, else on the host.

    Args:
        x, y, weight, backend, dtype: as for :class:`DeviceData`.
        batch_size: examples of a step; ``None``, or all of them, need all data on the device.

    Warns:
        RuntimeWarning: they stay on the host, which takes time in every step.
    """
    size = sum(a.size * _kept_as(a, dtype).itemsize for a in (x, y, weight) if a is not None)
    free = backend.memory().free
    at_once = batch_size is None or batch_size >= len(x)
    if at_once or free is None or size <= free // SHARE:
        return DeviceData(x, y, weight, backend, dtype)
    warnings.warn(
        f"the data, {size / 2**20:.0f} MiB, take more than 1/{SHARE} of the {free / 2**20:.0f} MiB "
        f"that are free on {backend.device}; they stay on the host and go there batch by batch",
        RuntimeWarning,
        stacklevel=2,
    )
    return StreamedData(x, y, weight, backend, dtype)


class StreamedData(DeviceData):
    """Inputs, targets and weights of all examples, on the host.

    Args:
        x, y, weight, backend, dtype: as for :class:`DeviceData`; the arrays may be memory-mapped.
    """

    def __init__(self, x: Any, y: Any, weight: Any, backend: Backend, dtype: str) -> None:
        self.n = examples_in(x, y, weight)
        self.backend, self.dtype = backend, dtype
        self.total_weight = total_of(x, weight)
        self._host_weight = weight
        self._arrays = [a for a in (x, y, weight) if a is not None]
        self._dtypes = [_kept_as(a, dtype) for a in self._arrays]
        self._staging: dict[int, Staging] = {}  # by the examples of a batch

    def examples(self, rows: Rows) -> tuple[Examples, Tensor, Tensor | None]:
        """A batch as :meth:`steps` hands it to the step."""
        assert isinstance(rows, tuple)
        x, y, weight, _ = rows
        return Examples(x, self.dtype), y, weight

    def numbers(self, rows: Rows) -> Tensor | None:
        """Which examples a batch has."""
        assert isinstance(rows, tuple)
        return rows[3]

    def slice(self, start: int, stop: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Examples ``start`` to ``stop``, sent to the device."""
        x, y, *weight = (
            Tensor(self.backend.asarray(np.ascontiguousarray(a[start:stop], kept)), self.backend)
            for a, kept in zip(self._arrays, self._dtypes, strict=True)
        )
        return self.as_input(x), y, weight[0] if weight else None

    def steps(
        self, step: Callable[..., Any], first: int, size: int, key: tuple[int, int],
        tables: tuple[Tensor, ...], scale: Callable[[int], Tensor], count: int | None = None,
    ) -> Iterator[int]:  # fmt: skip
        """See :meth:`DeviceData.steps`."""
        order = order_of(self.n, *key)
        batches = [order[start : start + size] for start in range(0, self.n, size)][:count]
        number = first
        for arrays in self._staged(batches[first:], size):
            x, y, *weight, examples = (Tensor(a, self.backend) for a in arrays)
            row = [Tensor(t.array[number, ...], t.backend) for t in tables]
            batch = (x, y, weight[0] if weight else None, examples)
            step(batch, *row, scale(len(batches[number])))
            number += 1
            yield number

    def _staged(self, batches: Sequence[Any], size: int) -> Iterator[list[Any]]:
        """The batches as arrays on the device, each good until the next is asked for."""
        if size not in self._staging:
            kinds = [
                ((size, *a.shape[1:]), kept.name)
                for a, kept in zip(self._arrays, self._dtypes, strict=True)
            ]
            kinds.append(((size,), "int64"))  # their numbers
            self._staging = {size: self.backend.staging(kinds)}
        staging = self._staging[size]

        def send(i: int) -> None:
            rows = batches[i]
            *buffers, numbers = staging.host(i % 2)
            for buffer, a in zip(buffers, self._arrays, strict=True):
                buffer[: len(rows)] = a[rows]
            numbers[: len(rows)] = rows
            staging.send(i % 2, len(batches[i]))

        if batches:
            send(0)
        for i in range(len(batches)):
            yield staging.take(i % 2)
            staging.release(i % 2)
            if i + 1 < len(batches):
                send(i + 1)  # while the device is busy with batch i


def _kept_as(a: Any, dtype: str) -> np.dtype[Any]:
    """What an array is on the device: floats in the layer's dtype, integers as they came."""
    return np.dtype(dtype) if a.dtype.kind == "f" else a.dtype
