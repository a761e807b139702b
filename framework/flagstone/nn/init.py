"""How parameters start.

An initialiser takes a shape and a key of the random stream and gives float32 values, the same on
every backend. Shapes are (out, *kernel, in), so ``fan_in`` is what is summed for one output.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
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
    return partial(_constant, value)


def normal(std: float = 1.0, mean: float = 0.0) -> Initializer:
    """Normal with that standard deviation and mean."""
    return partial(_normal, std, mean)


def uniform(low: float = 0.0, high: float = 1.0) -> Initializer:
    """Uniform on [low, high)."""
    return partial(_uniform, low, high)


def xavier_uniform(gain: float = 1.0) -> Initializer:
    """Uniform on ±gain*sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio, AISTATS 2010, eq. 16)."""
    return partial(_scaled, "uniform", "sum", gain * math.sqrt(6.0))


def xavier_normal(gain: float = 1.0) -> Initializer:
    """Normal with std gain*sqrt(2 / (fan_in + fan_out)) (Glorot & Bengio, AISTATS 2010, eq. 12)."""
    return partial(_scaled, "normal", "sum", gain * math.sqrt(2.0))


def kaiming_uniform(gain: float = math.sqrt(2.0)) -> Initializer:
    """Uniform on ±gain*sqrt(3 / fan_in) (He et al., ICCV 2015, eq. 10; the gain is ReLU's)."""
    return partial(_scaled, "uniform", "in", gain * math.sqrt(3.0))


def kaiming_normal(gain: float = math.sqrt(2.0)) -> Initializer:
    """Normal with std gain/sqrt(fan_in) (He et al., ICCV 2015, eq. 10; the gain is ReLU's)."""
    return partial(_scaled, "normal", "in", gain)


def fan_in_uniform(fan_in: int) -> Initializer:
    """Uniform on ±1/sqrt(fan_in): PyTorch's default for Linear and Conv, weights and biases."""
    bound = 1.0 / math.sqrt(max(fan_in, 1))
    return uniform(-bound, bound)


# What the functions above return: module-level functions, so that layers can be pickled


def _constant(value: float, shape: tuple[int, ...], key: Any) -> Any:
    return np.full(shape, value, np.float32)


def _normal(std: float, mean: float, shape: tuple[int, ...], key: Any) -> Any:
    values = random.normal(key, math.prod(shape)).reshape(shape)
    return values * np.float32(std) + np.float32(mean)


def _uniform(low: float, high: float, shape: tuple[int, ...], key: Any) -> Any:
    n = math.prod(shape)
    words = random.bits(key, (0, 0), 0, -(-n // 4))[:n]
    return random.uniform(words).reshape(shape) * np.float32(high - low) + np.float32(low)


def _scaled(distribution: str, fan: str, numerator: float, shape: tuple[int, ...], key: Any) -> Any:
    """Drawn with the spread ``numerator / sqrt(fan)``, the fan being "in" or the "sum" of both."""
    fan_in, fan_out = fans(shape)
    spread = numerator / math.sqrt(max(fan_in + fan_out if fan == "sum" else fan_in, 1))
    if distribution == "normal":
        return _normal(spread, 0.0, shape, key)
    return _uniform(-spread, spread, shape, key)


zeros = constant(0.0)
ones = constant(1.0)

BY_NAME: dict[str, Callable[..., Initializer]] = {
    "zeros": partial(constant, 0.0),
    "ones": partial(constant, 1.0),
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
