"""Every option of every loss is looked at, by its class and by its function alike."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import losses
from flagstone.errors import FlagstoneError, InputError

N = 4
CLASSES = [getattr(losses, attribute) for _, attribute, _ in losses.REGISTERED]
NUMBERS = fs.tensor(np.full((N, 3), 0.5))
LABELS = fs.tensor(np.ones(N, np.int64))
OF_LABELS = ("CrossEntropyLoss", "FocalLoss", "MultiMarginLoss")


class Anything:
    def __repr__(self) -> str:
        return "anything"


def arguments(made: type[Any]) -> list[fs.Tensor]:
    if made.__name__ == "TripletMarginLoss":
        return [NUMBERS] * 3
    if made.__name__ == "CosineEmbeddingLoss":
        return [NUMBERS, NUMBERS, LABELS]
    return [NUMBERS, LABELS if made.__name__ in OF_LABELS else NUMBERS]


@pytest.mark.parametrize(
    ("made", "option"), [(c, f.name) for c in CLASSES for f in dataclasses.fields(c)]
)
def test_a_loss_refuses_what_an_option_cannot_be(made: type[Any], option: str) -> None:
    values: list[Any] = [Anything(), "nonsense", [1], math.nan, math.inf, np.zeros(3)]
    for value in values:
        told = rf"{option} expected .*; got {re.escape(repr(value))}"
        with pytest.raises(InputError, match=rf"{made.__name__}: {told}"):
            made(**{option: value})
        with pytest.raises(FlagstoneError, match=option):
            made.function(*arguments(made), **{option: value})
    made()(*arguments(made))
