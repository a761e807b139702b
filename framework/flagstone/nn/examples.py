"""A batch that nobody has made yet, for a network whose first layer standardises.

Where a backend claims the form ``standardized`` of ``flagstone/fusion.py``, a trainer hands such a
network :class:`Examples` instead of a tensor, and ``Standardize`` makes of the data what it would
have made of the batch, in one op, with the same bits. Layers bear marks, as those of
``nn/fused.py`` do: one whose ``forward`` is another function bears none and is given a tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from flagstone import ops
from flagstone.nn.layer import Layer
from flagstone.tensors import Tensor

F = TypeVar("F", bound=Callable[..., Any])
FORM = "standardized"


@dataclass(frozen=True)
class Examples:
    """Examples of a data set, by number, and where their pixels are read.

    Attributes:
        x: of all examples, any real dtype.
        dtype: of the layer.
        numbers: int64 (n,), which examples; ``None`` for all as they lie.
        places: rows and columns as :func:`flagstone.ops.standardized` takes them.
    """

    x: Tensor
    dtype: str
    numbers: Tensor | None = None
    places: tuple[Tensor | None, Tensor | None] = (None, None)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the batch, before pixels are read elsewhere."""
        n = self.x.shape[0] if self.numbers is None else self.numbers.shape[0]
        return (n, *self.x.shape[1:])

    def tensor(self) -> Tensor:
        """The batch in the layer's dtype, its pixels as they lie."""
        x = self.x if self.numbers is None else ops.take(self.x, self.numbers)
        out: Tensor = x if x.dtype_name == self.dtype else ops.astype(x, dtype=self.dtype)
        return out

    def standardized(self, mean: Tensor, inverse_scale: Tensor) -> Tensor:
        """``(batch - mean) * inverse_scale``."""
        out: Tensor = ops.standardized(self.x, mean, inverse_scale, self.numbers, *self.places)
        return out


def standardizes(forward: F) -> F:
    """Mark a ``forward(x)`` that takes :class:`Examples` too."""
    forward.standardizes = True  # type: ignore[attr-defined]  # a function takes attributes
    return forward


def chains(forward: F) -> F:
    """Mark a ``forward(x)`` that gives its input to the first of ``layers``, as it is."""
    forward.chains = True  # type: ignore[attr-defined]  # a function takes attributes
    return forward


def claims(x: Tensor, dtype: str) -> bool:
    """Whether the backend of ``x`` claims the form for data of its dtype."""
    return FORM in x.backend.kernels and ("int" in x.dtype_name or x.dtype_name == dtype)


def takes_examples(layer: Layer, given: Examples) -> bool:
    """Whether a layer may be called with the examples."""
    if not claims(given.x, given.dtype):
        return False
    while getattr(layer.forward, "chains", False) and getattr(layer, "layers", ()):
        layer = layer.layers[0]  # type: ignore[attr-defined]  # of what is marked
    return getattr(layer.forward, "standardizes", False)
