"""A data set on the device, and its batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from flagstone import ops, random
from flagstone.backend import Backend
from flagstone.capturing import sweep
from flagstone.errors import ShapeError
from flagstone.nn.examples import Examples
from flagstone.tensors import Tensor

DTypeName = str
Rows = Tensor | tuple[Tensor, Tensor, Tensor | None, Tensor] | None
"""A batch as a step takes it: numbers of examples, the examples themselves with their numbers,
``None`` for all."""


class DeviceData:
    """Inputs, targets and weights of all examples, where the layer is.

    Args:
        x: (n, ...), any real dtype; integers stay as they came and become floats batch by batch.
        y: (n, ...) targets as the objective wants them.
        weight: (n,) with mean 1, or ``None`` where all count the same.
        backend: where to.
        dtype: of the layer, to which floating inputs and weights are converted once.

    Raises:
        ShapeError: there is not one target or weight for each example.
    """

    def __init__(self, x: Any, y: Any, weight: Any, backend: Backend, dtype: DTypeName) -> None:
        self.n = examples_in(x, y, weight)
        self.dtype = dtype
        self.backend = backend
        self.x = Tensor(backend.asarray(_floats_as(x, dtype)), backend)
        self.y = Tensor(backend.asarray(_floats_as(y, dtype)), backend)
        self.weight = (
            None if weight is None else Tensor(backend.asarray(weight.astype(dtype)), backend)
        )
        self.total_weight = total_of(x, weight)
        self._host_weight = weight

    def steps(
        self, step: Callable[..., Any], first: int, size: int, key: tuple[int, int],
        tables: tuple[Tensor, ...], scale: Callable[[int], Tensor], count: int | None = None,
    ) -> Iterator[int]:  # fmt: skip
        """Call ``step(batch, *rows, scale(examples))`` for the batches of an epoch.

        Args:
            step: takes what :meth:`batch` takes, and a row of every table.
            first: the number of the batch to begin with.
            size: examples of a batch; the last one may be smaller.
            key: seed and epoch, which give the order.
            tables: what differs from step to step, on the device.
            scale: examples of a batch -> the last argument.
            count: how many batches the epoch has; ``None`` for all, a smaller last one included.

        Yields:
            The number of the batch that comes next, after each step or after several.
        """
        full, left = divmod(self.n, size)
        if count is not None and count <= full:
            full, left = count, 0
        if size == self.n:
            yield from sweep(step, (None, *tables), first, 1, scale(size))
            return
        order = self.order(*key).array
        rows = Tensor(self.backend.xp.reshape(order[: full * size], (full, size)), self.backend)
        yield from sweep(step, (rows, *tables), first, full, scale(size))
        if left and first <= full:
            row = [Tensor(t.array[full, ...], t.backend) for t in tables]
            step(Tensor(order[full * size :], self.backend), *row, scale(left))
            yield full + 1

    def batch(self, rows: Rows) -> tuple[Tensor, Tensor, Tensor | None]:
        """The examples of those numbers, in their order; ``None`` is all of them as they lie."""
        examples, y, weight = self.examples(rows)
        return examples.tensor(), y, weight

    def examples(self, rows: Rows) -> tuple[Examples, Tensor, Tensor | None]:
        """The same, but for the inputs, which are yet to be picked and converted."""
        assert not isinstance(rows, tuple)
        y, weight = self.y, self.weight
        if rows is not None:
            y = ops.take(y, rows)
            weight = None if weight is None else ops.take(weight, rows)
        return Examples(self.x, self.dtype, rows), y, weight

    def numbers(self, rows: Rows) -> Tensor | None:
        """Which examples a batch has; ``None`` for all as they lie."""
        assert not isinstance(rows, tuple)
        return rows

    def weight_of(self, examples: int, key: tuple[int, int]) -> float:
        """The sum of the weights of the first so many examples of an epoch.

        Args:
            examples: how many; all if there are no more.
            key: seed and epoch, which give the order.
        """
        if examples >= self.n:
            return self.total_weight
        if self._host_weight is None:
            return float(examples)
        return float(self._host_weight[order_of(self.n, *key)[:examples]].sum(dtype=np.float64))

    def slice(self, start: int, stop: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Examples ``start`` to ``stop``, as views."""
        part = slice(start, stop)
        weight = None if self.weight is None else self.weight[part]
        return self.as_input(self.x[part]), self.y[part], weight

    def as_input(self, x: Tensor) -> Tensor:
        """``x`` in the layer's dtype."""
        if x.dtype_name == self.dtype:
            return x
        out: Tensor = ops.astype(x, dtype=self.dtype)
        return out

    def order(self, seed: int, epoch: int) -> Tensor:
        """The numbers 0 .. n-1 in the epoch's order, int64, on the device."""
        return Tensor(self.backend.asarray(order_of(self.n, seed, epoch)), self.backend)


def examples_in(x: Any, y: Any, weight: Any) -> int:
    """How many examples these are.

    Raises:
        ShapeError: there is not one target or weight for each.
    """
    for what, other in (("targets", y), ("weights", weight)):
        if other is not None and other.shape[:1] != x.shape[:1]:
            raise ShapeError(f"expected {len(x)} {what}, one for each example; got {len(other)}")
    return int(x.shape[0])


def total_of(x: Any, weight: Any) -> float:
    """The sum of the examples' weights."""
    return float(len(x) if weight is None else weight.sum(dtype=np.float64))


def order_of(n: int, seed: int, epoch: int) -> Any:
    """The numbers 0 .. n-1 in the epoch's order, int64."""
    words = random.bits(random.key(seed, "shuffle"), (0, epoch), 0, -(-n // 4))
    return random.permutation(words[:n])


def _floats_as(a: Any, dtype: DTypeName) -> Any:
    return np.ascontiguousarray(a, dtype if a.dtype.kind == "f" else None)
