"""Learned vectors for numbered things."""

from __future__ import annotations

from functools import partial
from typing import Any

from flagstone import ops
from flagstone.errors import InputError
from flagstone.nn.checks import integer, positive
from flagstone.nn.init import Initializer, normal, resolve
from flagstone.nn.layer import Layer, require_tensor
from flagstone.nn.parameter import Parameter
from flagstone.tensors import Tensor


class Embedding(Layer):
    """A table of vectors, of which the input's numbers pick rows.

    Args:
        num_embeddings: how many rows.
        embedding_dim: how long a row is.
        padding_idx: a row that starts at 0 and no gradient reaches; negative ones count from the
            end.
        init: of the weight, a name or a function; by default PyTorch's, standard normal.

    Shapes: (...) integers -> (..., embedding_dim); ``weight`` (num_embeddings, embedding_dim).

    Raises:
        InputError: an argument is out of range, or, where the backend itself finds out (NumPy
            does), a number of the input.
        DTypeError: the input is not of integers.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        init: str | Initializer | None = None,
    ) -> None:
        positive("Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        start = resolve(init, normal())
        if padding_idx is not None:
            integer("Embedding", padding_idx=padding_idx)
            if not -num_embeddings <= padding_idx < num_embeddings:
                raise InputError(
                    f"Embedding: padding_idx expected a row from {-num_embeddings} to "
                    f"{num_embeddings - 1}; got {padding_idx}"
                )
            padding_idx = int(padding_idx) % num_embeddings
            start = partial(_with_a_row_of_zeros, start, padding_idx)
        self.padding_idx = padding_idx
        self.weight = Parameter((num_embeddings, embedding_dim), start)

    def forward(self, index: Tensor) -> Tensor:
        require_tensor("Embedding", index)
        return ops.embedding(index, self.weight, self.padding_idx)

    def describe(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}{padding}"


def _with_a_row_of_zeros(start: Initializer, row: int, shape: tuple[int, ...], key: Any) -> Any:
    values = start(shape, key)
    values[row] = 0.0
    return values
