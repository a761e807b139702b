"""Checks of optimizers' options; an error names the optimizer, the option, what it may be, and what
it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from flagstone.errors import ConfigurationError, InputError
from flagstone.named import is_number
from flagstone.ops.window import is_integer


def require(owner: str, name: str, value: object, holds: bool, expected: str) -> None:
    """Raise unless ``holds``: ``owner``'s option ``name`` is not what is expected."""
    if not holds:
        raise ConfigurationError(f"{owner}: {name} expected {expected}; got {value!r}")


def require_not_negative(owner: str, **options: Any) -> None:
    """Every option is a finite number >= 0."""
    for name, value in options.items():
        holds = is_number(value) and 0 <= value < math.inf
        require(owner, name, value, holds, "a finite number >= 0")


def require_positive(owner: str, **options: Any) -> None:
    """Every option is a finite number > 0."""
    for name, value in options.items():
        require(owner, name, value, positive(value), "a finite number > 0")


def positive(value: Any) -> bool:
    """Whether an option is a finite number > 0."""
    return is_number(value) and bool(0 < value < math.inf)


def require_count(owner: str, **options: Any) -> None:
    """Every option is an integer >= 1."""
    for name, value in options.items():
        counts = is_integer(value) and value >= 1
        require(owner, name, value, counts, "a positive integer")


def require_fraction(owner: str, **options: Any) -> None:
    """Every option is a number in [0, 1)."""
    for name, value in options.items():
        require(owner, name, value, is_number(value) and 0 <= value < 1, "a number in [0, 1)")


def require_betas(owner: str, betas: Any, name: str = "betas") -> None:
    """Two numbers in [0, 1)."""
    in_range = (
        isinstance(betas, (tuple, list))
        and len(betas) == 2
        and all(is_number(b) and 0 <= b < 1 for b in betas)
    )
    require(owner, name, betas, in_range, "two numbers in [0, 1)")


def require_states(owner: str, state: Any) -> None:
    """What is loaded is a mapping of names to arrays of real numbers.

    Raises:
        InputError: it is not.
    """
    if not isinstance(state, Mapping):
        raise InputError(
            f"load_state_dict: {owner} expected a dict of arrays by name, as state_dict() gives; "
            f"got {type(state).__name__}"
        )
    for name, value in state.items():
        dtype = np.asarray(value).dtype
        if dtype.kind not in "fiub":
            raise InputError(
                f"load_state_dict: {owner} expected state {name!r} of real numbers; "
                f"got dtype {dtype}"
            )
