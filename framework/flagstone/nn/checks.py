"""Checks of layers' arguments; an error names the layer, the argument, what it may be and what it
is."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from flagstone.errors import DTypeError, InputError
from flagstone.named import is_number
from flagstone.ops.window import is_integer


def require(layer: str, name: str, value: object, holds: bool, expected: str) -> None:
    """Raise unless ``holds``: the argument ``name`` of ``layer`` is not what is expected.

    Raises:
        InputError: it is not.
    """
    if not holds:
        raise InputError(f"{layer}: {name} expected {expected}; got {value!r}")


def positive(layer: str, **sizes: Any) -> None:
    """Every size is a positive integer."""
    for name, value in sizes.items():
        require(layer, name, value, is_integer(value) and value >= 1, "a positive integer")


def integer(layer: str, **values: Any) -> None:
    """Every value is an integer, such as the number of an axis."""
    for name, value in values.items():
        require(layer, name, value, is_integer(value), "an integer")


def truth(layer: str, **flags: Any) -> None:
    """Every flag is True or False: a name in its place, such as ``Linear(8, 4, "relu")``, is a
    mistake."""
    for name, value in flags.items():
        require(layer, name, value, isinstance(value, (bool, np.bool_)), "True or False")


def finite(layer: str, **numbers: Any) -> None:
    """Every number is finite."""
    for name, value in numbers.items():
        holds = is_number(value) and math.isfinite(value)
        require(layer, name, value, holds, "a finite number")


def not_negative(layer: str, **numbers: Any) -> None:
    """Every number is finite and not negative."""
    for name, value in numbers.items():
        holds = is_number(value) and 0 <= value < math.inf
        require(layer, name, value, holds, "a finite number >= 0")


def probability(layer: str, **numbers: Any) -> None:
    """Every number is in [0, 1): a probability of what is dropped."""
    for name, value in numbers.items():
        holds = is_number(value) and 0 <= value < 1
        require(layer, name, value, holds, "a probability in [0, 1)")


def lengths(layer: str, name: str, value: Any, least: int = 0) -> tuple[int, ...]:
    """A shape: a tuple, or list, of integers of at least ``least``, as Python's own."""
    fits = isinstance(value, (tuple, list)) and all(is_integer(n) and n >= least for n in value)
    kind = "positive integers" if least == 1 else f"integers >= {least}"
    require(layer, name, value, fits, f"a tuple of {kind}")
    return tuple(int(n) for n in value)


def require_dtype(what: str, dtype: object) -> None:
    """``dtype`` is one that parameters can have.

    Raises:
        DTypeError: it is not.
    """
    if not isinstance(dtype, str) or dtype not in ("float32", "float64"):
        raise DTypeError(f"{what}: dtype expected 'float32' or 'float64'; got {dtype!r}")


def by_position(
    layer: str, forward: Callable[..., Any], inputs: tuple[Any, ...], options: dict[str, Any]
) -> tuple[Any, ...]:
    """All arguments of a call by position, which is how those who look on at calls are told.

    Raises:
        InputError: ``forward`` does not take them, or takes one of ``options`` by name only.
    """
    signature = inspect.signature(forward)
    try:
        bound = signature.bind(*inputs, **options)
    except TypeError as error:
        takes = ", ".join(signature.parameters)
        raise InputError(f"{layer}: {error}; forward takes ({takes})") from None
    bound.apply_defaults()
    if by_name := bound.kwargs.keys() & options.keys():
        raise InputError(
            f"{layer}: forward expected arguments that can be given by position; "
            f"got {', '.join(sorted(by_name))}"
        )
    return bound.args
