"""A data set on the device, and its batches."""

from __future__ import annotations

from typing import Any

import numpy as np

from flagstone import ops, random
from flagstone.backend import Backend
from flagstone.errors import ShapeError
from flagstone.tensors import Tensor

DTypeName = str


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
        self.n = int(x.shape[0])
        for what, other in (("targets", y), ("weights", weight)):
            if other is not None and other.shape[:1] != x.shape[:1]:
                raise ShapeError(
                    f"expected {self.n} {what}, one for each example; got {len(other)}"
                )
        self.dtype = dtype
        self.backend = backend
        self.x = Tensor(backend.asarray(_floats_as(x, dtype)), backend)
        self.y = Tensor(backend.asarray(_floats_as(y, dtype)), backend)
        self.weight = (
            None if weight is None else Tensor(backend.asarray(weight.astype(dtype)), backend)
        )
        self.total_weight = float(self.n if weight is None else weight.sum(dtype=np.float64))

    def batch(self, rows: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """The examples of those numbers, in their order; ``None`` is all of them as they lie."""
        x, y, weight = self.x, self.y, self.weight
        if rows is not None:
            x, y = ops.take(x, rows), ops.take(y, rows)
            weight = None if weight is None else ops.take(weight, rows)
        return self.as_input(x), y, weight

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
        words = random.bits(random.key(seed, "shuffle"), (0, epoch), 0, -(-self.n // 4))
        return Tensor(self.backend.asarray(random.permutation(words[: self.n])), self.backend)


def _floats_as(a: Any, dtype: DTypeName) -> Any:
    return np.ascontiguousarray(a, dtype if a.dtype.kind == "f" else None)
