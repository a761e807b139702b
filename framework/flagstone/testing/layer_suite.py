"""The checks of a layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from flagstone.nn import Layer
from flagstone.testing.suite import Suite


@dataclass(frozen=True, init=False)
class LayerSample:
    """A layer and what to call it with.

    Args:
        make: makes the layer, without values.
        shapes: of its inputs, the first axis of examples.
        output: the shape of its output, where it is to be checked.
        below: the inputs are integers in [0, below); 0 for normal numbers.
    """

    make: Callable[[], Layer]
    shapes: tuple[tuple[int, ...], ...]
    output: tuple[int, ...] | None
    below: int

    def __init__(
        self,
        make: Callable[[], Layer],
        *shapes: tuple[int, ...],
        output: tuple[int, ...] | None = None,
        below: int = 0,
    ) -> None:
        for name, value in (("make", make), ("shapes", shapes), ("output", output)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "below", below)


class LayerSuite(Suite):
    """The checks of a layer.

    Attributes:
        samples: what to check; by default what suits a layer that is made without arguments, or
            with sizes only.
    """

    kind: ClassVar[str] = "layer"
    samples: Sequence[LayerSample] = ()
