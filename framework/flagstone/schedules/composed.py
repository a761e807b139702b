"""Schedules made of schedules: one after another, or multiplied."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping
from typing import Any

from flagstone.named import make
from flagstone.schedules.base import Schedule, is_count, require, require_state

Parts = tuple[Schedule | str, ...]


class _Composed(Schedule):
    """Parts that are asked and told; their states are kept in order."""

    name = ""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        holds = isinstance(parts, (tuple, list)) and len(parts) > 0
        holds = holds and all(isinstance(p, (Schedule, str)) for p in parts)
        require(self.name, "parts", parts, holds, "a tuple of schedules, or of their text")
        self.parts: list[Schedule] = [make("schedule", part) for part in parts]

    def state_dict(self) -> dict[str, Any]:
        states = {str(i): part.state_dict() for i, part in enumerate(self.parts)}
        return {i: state for i, state in states.items() if state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        require_state(self.name, state, dict.fromkeys(map(str, range(len(self.parts)))))
        for i, part in enumerate(self.parts):
            part.load_state_dict(state.get(str(i), {}))


class Sequential(_Composed):
    """One schedule after another, each as if training began with it and ended with it
    (PyTorch's SequentialLR).

    Args:
        parts: schedules, or their text.
        at: the epochs, numbered from 0, at whose start the second part begins, the third, ...

    Example:
        >>> Sequential(("linear(start=0.1, end=1.0)", "cosine"), at=(5,))
    """

    name = "sequential"

    def __init__(self, parts: Parts, at: tuple[int, ...]) -> None:
        super().__init__(parts)
        holds = isinstance(at, (tuple, list)) and all(is_count(a) for a in at)
        holds = holds and list(at) == sorted(set(at)) and len(at) == len(self.parts) - 1
        expected = f"a tuple of {len(self.parts) - 1} rising positive epochs, one fewer than parts"
        require(self.name, "at", at, holds, expected)
        self.at = tuple(at)

    def after_warmup(self, step: int, steps: int, steps_per_epoch: int) -> float:
        starts = [0, *(epoch * steps_per_epoch for epoch in self.at), max(steps, step + 1)]
        i = bisect.bisect_right(starts, step, hi=len(self.parts)) - 1
        end = min(starts[i + 1], max(steps, step + 1))
        return self.parts[i].factor(step - starts[i], end - starts[i], steps_per_epoch)

    def observe(self, loss: float, epoch: int) -> None:
        i = bisect.bisect_right(self.at, epoch - 1)  # the part that epoch was of
        self.parts[i].observe(loss, epoch - (0, *self.at)[i])


class Product(_Composed):
    """The product of several schedules' factors (PyTorch's ChainedScheduler).

    Args:
        parts: schedules, or their text.
    """

    name = "product"

    def after_warmup(self, step: int, steps: int, steps_per_epoch: int) -> float:
        return math.prod(part.factor(step, steps, steps_per_epoch) for part in self.parts)

    def observe(self, loss: float, epoch: int) -> None:
        for part in self.parts:
            part.observe(loss, epoch)
