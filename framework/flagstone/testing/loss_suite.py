"""The checks of a loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from flagstone.testing.op_row import Draw
from flagstone.testing.suite import Suite


@dataclass(frozen=True)
class LossSample:
    """Arguments of a loss, and its options.

    Attributes:
        draw: makes the arguments, the prediction first: NumPy arrays with n examples each.
        options: of the loss.
        differentiable: which arguments gradients reach.
    """

    draw: Callable[[Draw], tuple[Any, ...]]
    options: Mapping[str, Any] = field(default_factory=dict)
    differentiable: tuple[int, ...] = (0,)


class LossSuite(Suite):
    """The checks of a loss.

    Attributes:
        samples: what to call it with; by default predictions and targets of one shape, or classes.
    """

    kind: ClassVar[str] = "loss"
    samples: Sequence[LossSample] = ()
