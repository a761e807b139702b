"""The suite of checks: every registered augmentation passes, and broken ones are told why not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from flagstone import ops
from flagstone.augment import Augmentation
from flagstone.errors import ConfigurationError
from flagstone.tensors import Tensor
from flagstone.testing import AugmentationSuite, run_suite, suites

globals().update(suites("augmentation"))


class Seen(Augmentation):
    """Reads the device."""

    def images(self, x: Tensor, words: Sequence[Tensor]) -> Tensor:
        return x * float(ops.max(x).item())


class Global(Augmentation):
    """Draws from NumPy's global generator."""

    def images(self, x: Tensor, words: Sequence[Tensor]) -> Tensor:
        return x * float(np.random.random() + 1.0)


class Neighbours(Augmentation):
    """Looks at the other examples."""

    def images(self, x: Tensor, words: Sequence[Tensor]) -> Tensor:
        return x - ops.mean(x, axis=0, keepdims=True)


class Whole(Augmentation):
    """Gives integers."""

    def images(self, x: Tensor, words: Sequence[Tensor]) -> Tensor:
        return ops.astype(x, "int64")


class Writes(Augmentation):
    """Writes into the batch."""

    def images(self, x: Tensor, words: Sequence[Tensor]) -> Tensor:
        ops.assign(x, x * 2.0)
        return x


@dataclass(frozen=True)
class Unchecked(Augmentation):
    """Takes anything for an option."""

    p: float = 1.0

    def images(self, x: Tensor, words: Sequence[Tensor]) -> Tensor:
        return x


class NoRepr(Augmentation):
    """Shows its address."""

    def images(self, x: Tensor, words: Sequence[Tensor]) -> Tensor:
        return x


class Sound(Augmentation):
    """Nothing is wrong with it."""

    def __init__(self, by: float = 1.0) -> None:
        if not isinstance(by, (int, float)):
            raise ConfigurationError(f"augmentation sound: by expected a number; got {by!r}")
        self.by = by

    def images(self, x: Tensor, words: Sequence[Tensor]) -> Tensor:
        return x + self.by

    def __repr__(self) -> str:
        return f"Sound(by={self.by})"


for broken in (Seen, Global, Neighbours, Whole, Writes):
    broken.__repr__ = lambda self: type(self).__name__  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("made", "point", "message"),
    [
        (Seen, "capture_safe", "expected a step in which the host reads no value"),
        (Global, "determinism", "draws from the global generator of numpy.random"),
        (Neighbours, "example_independence", "of a smaller batch: expected"),
        (Whole, "pictures", r"images as it was given, float32 \(1, 9, 8, 3\); got int64"),
        (Writes, "purity", "the batch afterwards: expected"),
        (Unchecked, "error_messages", "expected FlagstoneError; nothing was raised"),
        (NoRepr, "pictures", "expected a repr that shows its options"),
        (Sound, "", ""),
    ],
)
def test_what_is_wrong_is_told(made: Any, point: str, message: str) -> None:
    class Planned(AugmentationSuite):
        name = "planted"
        target = made

    failed = {o.point: o.reason for o in run_suite(Planned) if o.status == "failed"}
    if point:
        assert re.search(message, failed[point]), failed
    else:
        assert failed == {}
