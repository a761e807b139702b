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
from flagstone.errors import InputError, ShapeError, UnknownNameError
from flagstone.named import is_number
from flagstone.nn.checks import finite, positive, require
from flagstone.nn.normal_quantile import normal_quantile

Initializer = Callable[[tuple[int, ...], Any], Any]


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """``(fan_in, fan_out)`` of a weight (out, *kernel, in); (n, n) for a vector of n."""
    if len(shape) < 2:
        return (shape[0], shape[0]) if shape else (1, 1)
    kernel = math.prod(shape[1:-1])
    return kernel * shape[-1], kernel * shape[0]


def constant(value: float) -> Initializer:
    """Every element ``value``, a number."""
    if not is_number(value):
        raise InputError(f"constant: value expected a number; got {value!r}")
    return partial(_constant, value)


def normal(std: float = 1.0, mean: float = 0.0) -> Initializer:
    """Normal with that standard deviation and mean.

    Raises:
        InputError: one is no finite number, or ``std`` is negative.
    """
    finite("normal", std=std, mean=mean)
    if std < 0:
        raise InputError(f"normal: std expected a number >= 0; got {std!r}")
    return partial(_normal, std, mean)


def uniform(low: float = 0.0, high: float = 1.0) -> Initializer:
    """Uniform on [low, high).

    Raises:
        InputError: a bound is no finite number, or ``low`` is above ``high``.
    """
    finite("uniform", low=low, high=high)
    if low > high:
        raise InputError(f"uniform: expected low <= high; got low {low!r}, high {high!r}")
    return partial(_uniform, low, high)


def xavier_uniform(gain: float = 1.0) -> Initializer:
    """Uniform on ±gain*sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio, AISTATS 2010, eq. 16).

    Raises:
        InputError: ``gain`` is no finite number.
    """
    finite("xavier_uniform", gain=gain)
    return partial(_scaled, "uniform", "sum", gain * math.sqrt(6.0))


def xavier_normal(gain: float = 1.0) -> Initializer:
    """Normal with std gain*sqrt(2 / (fan_in + fan_out)) (Glorot & Bengio, AISTATS 2010, eq. 12).

    Raises:
        InputError: ``gain`` is no finite number.
    """
    finite("xavier_normal", gain=gain)
    return partial(_scaled, "normal", "sum", gain * math.sqrt(2.0))


def kaiming_uniform(gain: float = math.sqrt(2.0), mode: str = "fan_in") -> Initializer:
    """Uniform on ±gain*sqrt(3 / fan) (He et al., ICCV 2015, eq. 10 and 14; the gain is ReLU's).

    Args:
        gain: see :func:`calculate_gain`.
        mode: ``"fan_in"`` keeps the variance of what goes forward, ``"fan_out"`` that of gradients.

    Raises:
        InputError: ``gain`` is no finite number, or ``mode`` neither of the two.
    """
    finite("kaiming_uniform", gain=gain)
    return partial(_scaled, "uniform", _one_fan("kaiming_uniform", mode), gain * math.sqrt(3.0))


def kaiming_normal(gain: float = math.sqrt(2.0), mode: str = "fan_in") -> Initializer:
    """Normal with std gain/sqrt(fan); as :func:`kaiming_uniform`."""
    finite("kaiming_normal", gain=gain)
    return partial(_scaled, "normal", _one_fan("kaiming_normal", mode), gain)


def truncated_normal(
    std: float = 1.0, mean: float = 0.0, low: float = -2.0, high: float = 2.0
) -> Initializer:
    """Normal with that standard deviation and mean, given that it lies in [low, high].

    Each word of the stream gives one value, by the inverse of the distribution function, computed
    in float64; none is drawn twice. As in PyTorch the bounds are no multiples of ``std``, and the
    values' own standard deviation is smaller than it.

    Raises:
        InputError: a number is none, ``std`` is not positive, ``low`` is not below ``high``, or
            both bounds are so far out on one side that no float64 holds the probability between
            them.
    """
    finite("truncated_normal", std=std, mean=mean)
    for name, bound in (("low", low), ("high", high)):
        ordered = is_number(bound) and not math.isnan(bound)
        require("truncated_normal", name, bound, ordered, "a number")
    if not std > 0:
        raise InputError(f"truncated_normal: std expected a number > 0; got {std!r}")
    if not low < high:
        raise InputError(f"truncated_normal: expected low < high; got low {low!r}, high {high!r}")
    below, above = ((bound - mean) / std for bound in (low, high))
    mirrored = below > 0  # the other tail's probabilities are near 1, where digits are lost
    if mirrored:
        below, above = -above, -below
    p_low, p_high = (0.5 * math.erfc(-z / math.sqrt(2.0)) for z in (below, above))
    if not p_high - p_low > 1e-300:
        raise InputError(
            f"truncated_normal: expected bounds within 37 standard deviations of mean {mean}; "
            f"got low {low}, high {high} for std {std}"
        )
    return partial(_truncated, -std if mirrored else std, mean, (low, high), (p_low, p_high))


def orthogonal(gain: float = 1.0) -> Initializer:
    """``gain`` times a uniformly random matrix with orthonormal rows, or columns if fewer.

    Saxe, McClelland & Ganguli, ICLR 2014. A weight (out, *kernel, in) is a matrix of ``out`` rows.
    It is Q of the QR factorisation, in float64, of normal values, with the signs that make R's
    diagonal positive (Mezzadri, Notices of the AMS 54, 2007). It is the same on every backend; the
    factorisation's last bits are LAPACK's, so another machine may round a float32 differently.

    Raises:
        InputError: ``gain`` is no finite number.
        ShapeError: when it draws, a shape of less than two axes.
    """
    finite("orthogonal", gain=gain)
    return partial(_orthogonal, gain)


def dirac(groups: int = 1) -> Initializer:
    """A convolution that passes its channels on: 1 at the kernel's centre from channel i to i.

    Channels beyond the smaller number of the two are 0. With groups, each passes on its own.

    Raises:
        InputError: ``groups`` is no positive integer.
        ShapeError: when it draws, a shape that is not (out, *kernel, in), or whose ``out`` is no
            multiple of ``groups``.
    """
    positive("dirac", groups=groups)
    return partial(_dirac, groups)


GAINS = {
    "linear": 1.0, "identity": 1.0, "conv1d": 1.0, "conv2d": 1.0, "conv3d": 1.0,
    "conv_transpose1d": 1.0, "conv_transpose2d": 1.0, "conv_transpose3d": 1.0, "sigmoid": 1.0,
    "tanh": 5.0 / 3.0, "relu": math.sqrt(2.0), "selu": 0.75,
}  # fmt: skip


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """PyTorch's gain for the layer before that nonlinearity.

    Args:
        nonlinearity: one of :data:`GAINS`, or ``"leaky_relu"`` (He et al., ICCV 2015, eq. 15).
        param: of ``"leaky_relu"`` its slope, 0.01 by default; of no other.

    Raises:
        UnknownNameError: no gain has that name.
        InputError: ``param`` is no finite number, or ``nonlinearity`` no text.
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        finite("calculate_gain", param=slope)
        return math.sqrt(2.0 / (1.0 + slope * slope))
    named = isinstance(nonlinearity, str)
    require("calculate_gain", "nonlinearity", nonlinearity, named, "a name")
    if nonlinearity not in GAINS:
        raise UnknownNameError("nonlinearity", nonlinearity, [*GAINS, "leaky_relu"])
    return GAINS[nonlinearity]


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
    """Drawn with the spread ``numerator / sqrt(fan)``; the fan is "in", "out" or their "sum"."""
    fan_in, fan_out = fans(shape)
    count = {"in": fan_in, "out": fan_out, "sum": fan_in + fan_out}[fan]
    spread = numerator / math.sqrt(max(count, 1))
    if distribution == "normal":
        return _normal(spread, 0.0, shape, key)
    return _uniform(-spread, spread, shape, key)


def _one_fan(owner: str, mode: str) -> str:
    known = isinstance(mode, str) and mode in ("fan_in", "fan_out")
    require(owner, "mode", mode, known, "'fan_in' or 'fan_out'")
    return mode.removeprefix("fan_")


def _truncated(
    std: float, mean: float, bounds: tuple[float, float], probabilities: tuple[float, float],
    shape: tuple[int, ...], key: Any,
) -> Any:  # fmt: skip
    n = math.prod(shape)
    words = random.bits(key, (0, 0), 0, -(-n // 4))[:n]
    u = ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53  # in (0, 1)
    p_low, p_high = probabilities
    values = normal_quantile(p_low + u * (p_high - p_low)) * std + mean
    return np.clip(values, *bounds).astype(np.float32).reshape(shape)


def _orthogonal(gain: float, shape: tuple[int, ...], key: Any) -> Any:
    if len(shape) < 2:
        raise ShapeError(f"orthogonal: expected a shape of at least two axes; got {shape}")
    rows, columns = shape[0], math.prod(shape[1:])
    drawn = random.normal(key, rows * columns).astype(np.float64).reshape(rows, columns)
    q, r = np.linalg.qr(drawn if rows >= columns else drawn.T)
    q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return (gain * (q if rows >= columns else q.T)).astype(np.float32).reshape(shape)


def _dirac(groups: int, shape: tuple[int, ...], key: Any) -> Any:
    if len(shape) < 3 or shape[0] % groups:
        raise ShapeError(
            "dirac: expected a shape (out, *kernel, in) of at least three axes, with out a "
            f"multiple of groups={groups}; got {shape}"
        )
    values = np.zeros(shape, np.float32)
    centre = tuple(length // 2 for length in shape[1:-1])
    per_group = shape[0] // groups
    for group in range(groups):
        for channel in range(min(per_group, shape[-1])):
            values[(group * per_group + channel, *centre, channel)] = 1.0
    return values


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
    "truncated_normal": truncated_normal,
    "orthogonal": orthogonal,
    "dirac": dirac,
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
