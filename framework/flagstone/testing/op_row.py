"""What the op table says of one op."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Sample:
    """Arguments for one call.

    Args:
        arrays: an array, a number or ``None`` for each array argument.
        static: the other arguments, by name.
    """

    def __init__(self, *arrays: Any, **static: Any) -> None:
        self.arrays = arrays
        self.static = static

    def __repr__(self) -> str:
        shown = [
            f"{x.dtype}{list(x.shape)}" if isinstance(x, np.ndarray) else repr(x)
            for x in self.arrays
        ]
        return ", ".join([*shown, *(f"{name}={value!r}" for name, value in self.static.items())])


class Refusal(Sample):
    """Arguments that must be refused.

    Args:
        error: the class of what is raised.
        message: a regular expression that is found in the message, which is one line.
        arrays: as in :class:`Sample`; an array becomes a tensor, anything else stays as it is.
        static: as in :class:`Sample`.
    """

    def __init__(self, error: type[Exception], message: str, *arrays: Any, **static: Any) -> None:
        super().__init__(*arrays, **static)
        self.error = error
        self.message = message


@dataclass(frozen=True)
class Raw:
    """An argument of a :class:`Refusal` that is passed as it is, such as an array."""

    value: Any


class Draw:
    """Random arrays of the dtype that is being checked, from a seed."""

    def __init__(self, seed: int, dtype: str) -> None:
        self.rng = np.random.default_rng(seed)
        self.dtype = dtype

    def __call__(self, *shape: int) -> Array:
        """Normal values."""
        return np.asarray(self.rng.standard_normal(shape), self.dtype)

    def positive(self, *shape: int) -> Array:
        """Values in [0.2, 3)."""
        return np.asarray(self.rng.uniform(0.2, 3.0, shape), self.dtype)

    def whole(self, *shape: int, high: int = 3) -> Array:
        """Whole numbers from -high to high, so that ties and zeros occur."""
        return np.asarray(self.rng.integers(-high, high, shape, endpoint=True), self.dtype)

    def below(self, high: int, *shape: int, dtype: str = "int64") -> Array:
        """Integers in [0, high)."""
        return np.asarray(self.rng.integers(0, high, shape), dtype)

    def truth(self, *shape: int) -> Array:
        """Truth values."""
        return np.asarray(self.rng.integers(0, 2, shape), bool)


def _tolerances() -> Mapping[str, float]:
    return {"float32": 2e-5, "float64": 1e-11}


@dataclass(frozen=True)
class OpRow:
    """One op: how to call it, with what, and what must come out.

    Attributes:
        name: of the op in ``ALL_OPS``, or of the public function in ``flagstone.ops``.
        call: what is checked; it takes a sample's tensors and static arguments.
        samples: many arguments from a :class:`Draw`: several shapes, broadcasting, one element,
            none; at none of them does the op have a kink.
        reference: the same function of NumPy arrays, floating ones in float64, written
            independently. For an op that writes to its arguments: their new values, in order.
        differentiable: positions of the arguments that gradients reach.
        value_samples: further samples, of which gradients are not checked: ties, kinks, infinities.
        refusals: arguments that must be refused.
        dtypes: the floating dtypes to check.
        tolerance: per dtype, relative and absolute.
        order: up to which order derivatives are checked; 2 unless ``first_only`` says why not.
        first_only: why gradients of gradients are not checked.
        never_empty: why no sample is empty.
        never_one: why no sample has one element only.
        left_out_by: an argument of shape () whose NaN makes the op change nothing, bit for bit.
    """

    name: str
    call: Callable[..., Any]
    samples: Callable[[Draw], Iterable[Sample]]
    reference: Callable[..., Any]
    differentiable: tuple[int, ...] = ()
    value_samples: Callable[[Draw], Iterable[Sample]] = lambda _: ()
    refusals: tuple[Refusal, ...] = ()
    dtypes: tuple[str, ...] = ("float32", "float64")
    tolerance: Mapping[str, float] = field(default_factory=_tolerances)
    order: int = 2
    first_only: str = ""
    never_empty: str = ""
    never_one: str = ""
    left_out_by: str = ""
