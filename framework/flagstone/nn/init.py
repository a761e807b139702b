"""How parameters start.

An initialiser takes a shape and a key of the random stream and gives float32 values, the same on
every backend. Shapes are (out, *kernel, in), so ``fan_in`` is what is summed for one output.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from flagstone import random
from flagstone.errors import InputError, UnknownNameError

Initializer = Callable[[tuple[int, ...], Any], Any]


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """``(fan_in, fan_out)`` of a weight (out, *kernel, in); (n, n) for a vector of n."""
    if len(shape) < 2:
        return (shape[0], shape[0]) if shape else (1, 1)
    kernel = math.prod(shape[1:-1])
    return kernel * shape[-1], kernel * shape[0]


def constant(value: float) -> Initializer:
    """Every element ``value``."""
    return lambda shape, key: np.full(shape, value, np.float32)


zeros = constant(0.0)
ones = constant(1.0)


def normal(std: float = 1.0, mean: float = 0.0) -> Initializer:
    """Normal with that standard deviation and mean."""

    def init(shape: tuple[int, ...], key: Any) -> Any:
        values = random.normal(key, math.prod(shape)).reshape(shape)
        return values * np.float32(std) + np.float32(mean)

    return init


def uniform(low: float = 0.0, high: float = 1.0) -> Initializer:
    """Uniform on [low, high)."""

    def init(shape: tuple[int, ...], key: Any) -> Any:
        n = math.prod(shape)
        words = random.bits(key, (0, 0), 0, -(-n // 4))[:n]
        unit = random.uniform(words).reshape(shape)
        return unit * np.float32(high - low) + np.float32(low)

    return init


def xavier_uniform(gain: float = 1.0) -> Initializer:
    """Uniform on ±gain*sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio, AISTATS 2010, eq. 16)."""

    def init(shape: tuple[int, ...], key: Any) -> Any:
        bound = gain * math.sqrt(6.0 / sum(fans(shape)))
        return uniform(-bound, bound)(shape, key)

    return init


def xavier_normal(gain: float = 1.0) -> Initializer:
    """Normal with std gain*sqrt(2 / (fan_in + fan_out)) (Glorot & Bengio, AISTATS 2010, eq. 12)."""
    return lambda shape, key: normal(gain * math.sqrt(2.0 / sum(fans(shape))))(shape, key)


def kaiming_uniform(gain: float = math.sqrt(2.0)) -> Initializer:
    """Uniform on ±gain*sqrt(3 / fan_in) (He et al., ICCV 2015, eq. 10; the gain is ReLU's)."""

    def init(shape: tuple[int, ...], key: Any) -> Any:
        bound = gain * math.sqrt(3.0 / max(fans(shape)[0], 1))
        return uniform(-bound, bound)(shape, key)

    return init


def kaiming_normal(gain: float = math.sqrt(2.0)) -> Initializer:
    """Normal with std gain/sqrt(fan_in) (He et al., ICCV 2015, eq. 10; the gain is ReLU's)."""
    return lambda shape, key: normal(gain / math.sqrt(max(fans(shape)[0], 1)))(shape, key)


def fan_in_uniform(fan_in: int) -> Initializer:
    """Uniform on ±1/sqrt(fan_in): PyTorch's default for Linear and Conv, weights and biases."""
    bound = 1.0 / math.sqrt(max(fan_in, 1))
    return uniform(-bound, bound)


BY_NAME: dict[str, Callable[..., Initializer]] = {
    "zeros": functools.partial(constant, 0.0),
    "ones": functools.partial(constant, 1.0),
    "normal": normal,
    "uniform": uniform,
    "xavier_uniform": xavier_uniform,
    "xavier_normal": xavier_normal,
    "kaiming_uniform": kaiming_uniform,
    "kaiming_normal": kaiming_normal,
}


def resolve(init: str | Initializer | None, default: Initializer) -> Initializer:
    """The initialiser that ``init`` means: a name, a function, or ``None`` for ``default``.

    Raises:
        UnknownNameError: no initialiser has that name.
        InputError: ``init`` is of another kind.
    """
    if init is None:
        return default
    if callable(init):
        return init
    if not isinstance(init, str):
        raise InputError(f"init: expected a name or a function (shape, key); got {init!r}")
    if init not in BY_NAME:
        raise UnknownNameError("initialiser", init, BY_NAME)
    return BY_NAME[init]()
