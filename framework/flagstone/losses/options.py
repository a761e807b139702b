"""A loss's options: what each may be, and the classes that hold them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from flagstone.errors import InputError
from flagstone.losses.reduction import REDUCTIONS
from flagstone.named import is_number
from flagstone.tensors import Tensor

RULE = "rule"
"""The key under which a field of a loss's class names its rule."""


@dataclass(frozen=True)
class Rule:
    """What an option may be.

    Attributes:
        text: the same in words, for "expected ...".
        holds: whether a value is allowed.
    """

    text: str
    holds: Callable[[Any], bool]


def _number(text: str, holds: Callable[[float], bool]) -> Rule:
    return Rule(text, lambda v: is_number(v) and math.isfinite(v) and holds(v))


REDUCTION = Rule("'mean', 'sum' or 'none'", lambda v: isinstance(v, str) and v in REDUCTIONS)
TRUTH = Rule("True or False", lambda v: isinstance(v, bool))
NUMBER = _number("a finite number", lambda v: True)
POSITIVE = _number("a finite number > 0", lambda v: v > 0)
NOT_NEGATIVE = _number("a finite number >= 0", lambda v: v >= 0)
AT_LEAST_ONE = _number("a finite number >= 1", lambda v: v >= 1)
FRACTION = _number("a number in [0, 1]", lambda v: 0 <= v <= 1)
INSIDE = _number("a number in (0, 1)", lambda v: 0 < v < 1)
COSINE = _number("a number in [-1, 1]", lambda v: -1 <= v <= 1)
ONE_OR_TWO = _number("1 or 2", lambda v: v in (1, 2))
INDEX = Rule(
    "an integer or None",
    lambda v: v is None or (is_number(v) and isinstance(v, int)),
)
FRACTION_OR_NONE = Rule("a number in [0, 1] or None", lambda v: v is None or FRACTION.holds(v))
TENSOR_OR_NONE = Rule("a Tensor or None", lambda v: v is None or isinstance(v, Tensor))
FACTOR = Rule(
    "a Tensor, a finite number >= 0 or None",
    lambda v: TENSOR_OR_NONE.holds(v) or NOT_NEGATIVE.holds(v),
)


def expect(name: str, rule: Rule, **options: Any) -> None:
    """Every option given follows the rule; ``name`` is of the loss.

    Raises:
        InputError: one does not.
    """
    for option_name, value in options.items():
        if not rule.holds(value):
            raise InputError(f"{name}: {option_name} expected {rule.text}; got {value!r}")


def number(name: str, rule: Rule, **option: Any) -> float:
    """The one option given, which follows the rule, as a Python float.

    Raises:
        InputError: it does not follow it.
    """
    expect(name, rule, **option)
    (value,) = option.values()
    return float(value)


@dataclass(frozen=True, eq=False)
class Configured:
    """A loss's function with its options, which are the fields.

    Args:
        reduction: ``"mean"`` over the examples, their ``"sum"``, or ``"none"``.

    Raises:
        InputError: an option's value is not allowed.
    """

    function: ClassVar[Callable[..., Tensor]]

    reduction: str = field(default="mean", metadata={RULE: REDUCTION})

    def __post_init__(self) -> None:
        for f in fields(self):
            if RULE in f.metadata:
                expect(type(self).__name__, f.metadata[RULE], **{f.name: getattr(self, f.name)})

    def of(self, *tensors: Tensor, sample_weight: Tensor | None) -> Tensor:
        """The function's value for these tensors and the options."""
        options = {f.name: getattr(self, f.name) for f in fields(self)}
        return type(self).function(*tensors, sample_weight=sample_weight, **options)


@dataclass(frozen=True, eq=False)
class Loss(Configured):
    """A loss of predictions and targets, called with both."""

    def __call__(self, x: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        return self.of(x, target, sample_weight=sample_weight)
