"""Checks of optimizers' options; an error names the optimizer, the option, what it may be, and what
it is."""

from __future__ import annotations

from typing import Any

from flagstone.errors import ConfigurationError
from flagstone.named import is_number


def require(owner: str, name: str, value: object, holds: bool, expected: str) -> None:
    """Raise unless ``holds``: ``owner``'s option ``name`` is not what is expected."""
    if not holds:
        raise ConfigurationError(f"{owner}: {name} expected {expected}; got {value!r}")


def not_negative(value: Any) -> bool:
    """Whether an option is a number >= 0."""
    return is_number(value) and bool(value >= 0)


def require_not_negative(owner: str, **options: Any) -> None:
    """Every option is a number >= 0."""
    for name, value in options.items():
        require(owner, name, value, not_negative(value), "a number >= 0")


def require_positive(owner: str, **options: Any) -> None:
    """Every option is a number > 0."""
    for name, value in options.items():
        require(owner, name, value, is_number(value) and value > 0, "a number > 0")


def require_count(owner: str, **options: Any) -> None:
    """Every option is an integer >= 1."""
    for name, value in options.items():
        counts = isinstance(value, int) and not isinstance(value, bool) and value >= 1
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
