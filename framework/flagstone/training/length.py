"""How long training is, where it may end within an epoch."""

from __future__ import annotations

import math

import numpy as np

from flagstone.errors import ConfigurationError
from flagstone.named import is_number

_ROUNDING = 1e-9  # 0.1 * 30 is a little more than 3, and means 3


def begun(epochs: float) -> tuple[int, float]:
    """How many epochs are begun, and what share of the last one is done: 9.9 is 10 and 0.9.

    Raises:
        ConfigurationError: ``epochs`` is not a positive number.
    """
    if not is_number(epochs) or not 0 < epochs < math.inf:
        raise ConfigurationError(f"epochs: expected a positive number; got {epochs!r}")
    whole = math.ceil(epochs)
    return whole, float(epochs - (whole - 1))


def batches(n: int, batch_size: int | None, drop_last: bool) -> tuple[int, int]:
    """The examples of a batch, ``None`` for all ``n``, and the batches of an epoch."""
    size = n if batch_size is None else min(batch_size, n)
    return size, n // size if drop_last else -(-n // size)


def part(steps: int, share: float) -> int:
    """The steps of a last epoch that has so many as a whole: a step that is begun is done."""
    return steps if share == 1 else max(math.ceil(steps * share - _ROUNDING), 1)


def require_count(name: str, value: object) -> None:
    """Raise unless the option is a positive integer."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
        raise ConfigurationError(f"{name}: expected a positive integer; got {value!r}")
