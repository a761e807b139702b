"""Normalising with numbers that are given."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from flagstone.errors import InputError
from flagstone.nn.norm import Standardize
from flagstone.nn.parameter import Buffer


class Normalize(Standardize):
    """``(x - mean) / std`` for each channel, or feature, with numbers that are given.

    torchvision's transform as a layer: it is saved with the rest and holds for prediction too. With
    numbers measured on the training data it is :class:`Standardize`, which estimators add
    themselves unless ``standardize=False``.

    Args:
        mean: one number for each channel, in the input's units.
        std: one positive number for each channel.

    Raises:
        InputError: they are not as many finite numbers, or one of ``std`` is not positive.
    """

    def __init__(self, mean: Any, std: Any) -> None:
        means, deviations = _numbers("mean", mean), _numbers("std", std)
        if len(means) != len(deviations) or not all(s > 0 for s in deviations):
            raise InputError(
                "Normalize: std expected a positive number for each of mean; "
                f"got mean={mean!r}, std={std!r}"
            )
        shape = (len(means),)
        self.mean = Buffer(shape, partial(_given, means))
        self.inverse_scale = Buffer(shape, partial(_given, tuple(1.0 / s for s in deviations)))


def _numbers(name: str, given: Any) -> tuple[float, ...]:
    try:
        numbers = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        numbers = np.empty(())
    if numbers.ndim != 1 or not numbers.size or not np.isfinite(numbers).all():
        raise InputError(
            f"Normalize: {name} expected a finite number for each channel, such as "
            f"(0.5, 0.5, 0.5); got {given!r}"
        )
    return tuple(numbers.tolist())


def _given(values: tuple[float, ...], shape: tuple[int, ...], key: Any) -> Any:
    return np.array(values, np.float64).reshape(shape)
