"""Choosing the validation rows, the same on every machine and every backend."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt

from flagstone import random
from flagstone.errors import ConfigurationError, InputError, ShapeError

Indices = npt.NDArray[np.int64]

WORDS_PER_BLOCK = 4


def split(
    n: int, fraction: float, *, seed: int, stratify: npt.ArrayLike | None = None
) -> tuple[Indices, Indices]:
    """Training and validation indices of ``n`` rows, each in increasing order.

    ``ceil(n * fraction)`` rows are drawn for validation, ``fraction`` being the decimal number
    that it is written as. The order of drawing is a permutation from the stream
    ``key(seed, "split", "")``.

    With ``stratify``, an array of ``n`` labels, every class is drawn in proportion (largest
    remainders get the rows that are left over) and keeps at least one row for training, so a
    class with one row stays there whole. If the classes are so small that too few rows can be
    spared, validation gets those that can.

    Raises:
        ConfigurationError: ``fraction`` is not between 0 and 1.
        ShapeError: ``stratify`` does not have ``n`` entries.
        InputError: one side would be empty.
    """
    if not 0 < fraction < 1:
        raise ConfigurationError(
            f"split: fraction must lie between 0 and 1, both excluded; got {fraction}"
        )
    if n < 2:
        raise InputError(f"split: at least 2 rows are needed for two sides; got {n}")
    size = math.ceil(Decimal(repr(float(fraction))) * n)
    if size >= n:
        raise InputError(
            f"split: fraction {fraction} of {n} rows leaves none for training; "
            f"choose a smaller fraction"
        )
    order = _permutation(n, seed)
    chosen = order[:size] if stratify is None else _stratified(order, np.asarray(stratify), size)
    if not len(chosen):
        raise InputError(
            "split: no class has two rows, so none can be spared for validation; "
            "split without stratify or bring more rows"
        )
    validation = np.zeros(n, dtype=bool)
    validation[chosen] = True
    return np.flatnonzero(~validation), np.flatnonzero(validation)


def _permutation(n: int, seed: int) -> Indices:
    words = random.bits(random.key(seed, "split", ""), (0, 0), 0, -(-n // WORDS_PER_BLOCK))
    return np.asarray(random.permutation(words[:n]), dtype=np.int64)


def _stratified(order: Indices, labels: npt.NDArray[Any], size: int) -> Indices:
    if labels.shape != order.shape:
        raise ShapeError(
            f"split: stratify must have one label for each of the {len(order)} rows; "
            f"got shape {labels.shape}"
        )
    _, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    quotas = _quotas(counts, size)
    drawn = [order[codes[order] == label][:quota] for label, quota in enumerate(quotas)]
    return np.concatenate(drawn)


def _quotas(counts: npt.NDArray[Any], size: int) -> Indices:
    """How many of each class to draw: in proportion, whole, at most count - 1 of each, and
    ``size`` together where the classes can spare that many."""
    spare = counts - 1
    # whole numbers throughout: count * size = quota * n + remainder
    quotas, remainders = np.divmod(counts * size, counts.sum())
    quotas = np.minimum(quotas, spare)
    by_need = np.lexsort((-counts, -remainders))  # largest remainder, then the larger class
    while quotas.sum() < min(size, spare.sum()):
        for label in by_need[quotas[by_need] < spare[by_need]][: size - quotas.sum()]:
            quotas[label] += 1
    return np.asarray(quotas, dtype=np.int64)
