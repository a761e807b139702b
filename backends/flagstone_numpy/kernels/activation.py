"""Activations and their gradients in few passes, block by block.

The formulas are those of :mod:`flagstone.ops.gates` and :mod:`flagstone.ops.activation`, arranged
so that nothing branches on a value: a choice between two arrays by a third one costs ten passes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from flagstone_numpy.kernels.constants import number
from flagstone_numpy.kernels.flat import SHARED, by_blocks, cut, share_if_large, shared_block
from flagstone_numpy.scratch import scratch as memory

Array = np.ndarray
BLOCK = 16384
"""Numbers in a block: six float32 streams of 64 kB lie in a 512 kB second-level cache."""
_TANH_SCALE, _TANH_CUBIC = math.sqrt(2.0 / math.pi), 0.044715
_DENSITY = 1.0 / math.sqrt(2.0 * math.pi)


def _mapped(step: Callable[..., None], scratch: int, *inputs: Array) -> Array:
    """A new array, of which ``step(out, *inputs, *scratch)`` computes one block after another."""
    y = np.empty(inputs[0].shape, inputs[0].dtype)
    out, flat = y.reshape(-1), [np.ascontiguousarray(a).reshape(-1) for a in inputs]

    size = BLOCK if y.size < SHARED else shared_block(y.size)

    def work(mine: Iterator[slice]) -> None:
        rows = memory("half", (scratch, min(y.size, size)), y.dtype)
        for block in mine:
            target = out[block]
            step(target, *[a[block] for a in flat], *rows[:, : target.size])

    share_if_large(work, cut(y.size, size), y.size)
    return y


def limit(dtype: Any) -> Array:
    """Where the logistic function is 1 to the last digit, and ``exp`` still finite."""
    return number(11.0 if dtype.itemsize == 2 else 40.0, dtype)


def _gate(out: Array, x: Array, e: Array) -> None:
    """``out = sigmoid(x)`` by way of ``e``: ``e / (1 + e)`` with ``e = exp(x)``, which keeps its
    digits where it is small."""
    np.minimum(x, limit(x.dtype), out=e)
    np.exp(e, e)
    np.add(e, number(1.0, x.dtype), out)
    np.divide(e, out, out)


def sigmoid(x: Array) -> Array:
    """``1 / (1 + exp(-x))``, without overflow."""
    if x.size > BLOCK:
        return _mapped(_gate, 1, x)
    y = np.empty(x.shape, x.dtype)
    _gate(y, x, np.empty(x.shape, x.dtype))
    return y


def softplus(x: Array) -> Array:
    """``log(1 + exp(x))``, without overflow."""

    def step(out: Array, x: Array, e: Array) -> None:
        np.abs(x, out=e)
        np.negative(e, out=e)
        np.exp(e, out=e)
        np.log1p(e, out=e)
        np.maximum(x, 0, out=out)
        out += e

    return _mapped(step, 1, x)


def silu(x: Array) -> Array:
    """``x * sigmoid(x)``."""

    def step(out: Array, x: Array, e: Array) -> None:
        _gate(out, x, e)
        out *= x

    return _mapped(step, 1, x)


def silu_grad(g: Array, x: Array) -> Array:
    """See :func:`flagstone.ops.gates.silu_grad`."""

    def step(out: Array, g: Array, x: Array, e: Array) -> None:
        _gate(out, x, e)
        np.subtract(1, out, out=e)
        e *= x
        e += 1
        out *= e
        out *= g

    return _mapped(step, 1, g, x)


def mish(x: Array) -> Array:
    """``x * n / (n + 2)`` with ``n = exp(x) * (exp(x) + 2)``."""

    def step(out: Array, x: Array, e: Array) -> None:
        _exponentials(out, e, x)
        np.add(out, 2, out=e)
        out /= e
        out *= x

    return _mapped(step, 1, x)


def mish_grad(g: Array, x: Array) -> Array:
    """See :func:`flagstone.ops.gates.mish_grad`: with n as above and ``e = exp(x)``,
    ``(n + 4 * x * e * (1 + e) / (n + 2)) / (n + 2)``."""

    def step(out: Array, g: Array, x: Array, n: Array, e: Array, low: Array) -> None:
        _exponentials(n, e, x)
        np.minimum(x, 20, out=low)
        np.add(e, 1, out=out)
        out *= e
        out *= low
        out *= 4
        np.add(n, 2, out=e)
        out /= e
        out += n
        out /= e
        out *= g

    return _mapped(step, 3, g, x)


def _exponentials(n: Array, e: Array, x: Array) -> None:
    """``e = exp(x)`` and ``n = e * (e + 2)``; from 20 on, where n / (n + 2) is 1, those of 20."""
    np.minimum(x, 20, out=e)
    np.exp(e, out=e)
    np.add(e, 2, out=n)
    n *= e


def gelu_tanh(x: Array) -> Array:
    """See :func:`flagstone.ops.gates.gelu_tanh`."""

    def step(out: Array, x: Array, u: Array, e: Array) -> None:
        _cubic(u, x)
        _gate(out, u, e)
        out *= x

    return _mapped(step, 2, x)


def gelu_tanh_grad(g: Array, x: Array) -> Array:
    """See :func:`flagstone.ops.gates.gelu_tanh_grad`."""

    def step(out: Array, g: Array, x: Array, u: Array, e: Array) -> None:
        _cubic(u, x)
        _gate(out, u, e)
        np.multiply(x, x, out=u)
        u *= 6.0 * _TANH_SCALE * _TANH_CUBIC
        u += 2.0 * _TANH_SCALE
        u *= x
        np.subtract(1, out, out=e)
        u *= e
        u += 1
        out *= u
        out *= g

    return _mapped(step, 2, g, x)


def _cubic(u: Array, x: Array) -> None:
    """``u = 2 * sqrt(2/pi) * (x + 0.044715 * x**3)``."""
    np.multiply(x, x, out=u)
    u *= 2.0 * _TANH_SCALE * _TANH_CUBIC
    u += 2.0 * _TANH_SCALE
    u *= x


def gelu_exact(x: Array) -> Array:
    """``x`` times the probability that a normal number is below it: ``max(x, 0) - |x| * tail``."""
    tail = _tail_for(x)

    def step(out: Array, x: Array, a: Array, e: Array, s: Array) -> None:
        tail(out, x, a, e, s)
        out *= a
        np.maximum(x, 0, out=e)
        np.subtract(e, out, out=out)

    return _mapped(step, 3, x)


def gelu_exact_grad(g: Array, x: Array) -> Array:
    """See :func:`flagstone.ops.gates.gelu_exact_grad`."""
    tail = _tail_for(x)

    def step(out: Array, g: Array, x: Array, a: Array, e: Array, s: Array) -> None:
        tail(out, x, a, e, s)
        np.greater_equal(x, 0, out=s)
        s -= out
        np.abs(s, out=s)  # the probability: 1 - tail from 0 on, else the tail
        e *= _DENSITY
        np.clip(x, -_FAR, _FAR, out=out)
        e *= out
        s += e
        np.multiply(s, g, out=out)

    return _mapped(step, 3, g, x)


class _Tail(NamedTuple):
    """A polynomial in ``scale / (a + shift) + offset`` near ``exp(a²/2)`` times the probability
    that a normal number is above ``a >= 0``: Chebyshev's interpolation, computed with 50 digits.
    """

    shift: float
    scale: float
    offset: float
    coefficients: tuple[float, ...]  # that of the highest power first


_FAR = 40.0  # beyond, the tail is 0 in either dtype

# Of a from 0 to 14.5; the relative error in float32, with its roundings, is below 1e-6
_SINGLE = _Tail(3.5, 8.6896551724137931, -1.4827586206896552, (
    2.817484921e-05, -2.481051377e-05, -4.727214307e-04, -1.035184013e-04, 8.300683949e-03,
    4.016725108e-02, 1.078633765e-01, 1.962689588e-01, 1.479726076e-01,
))  # fmt: skip

# Of a from 0 to 38.7; in float64 it is below 3e-15
_DOUBLE = _Tail(5.0, 11.291989664082687, -1.2583979328165374, (
    -1.5399631105423503e-12, 1.3126400347224006e-10, -4.5323178180806564e-11,
    -1.8076384735379067e-09, 9.2889694179299182e-10, 1.7565665919861981e-08,
    -7.9215474550365988e-09, -1.7103645554492711e-07, -1.3868949621176555e-08,
    1.7663065136083949e-06, 2.3754153204543547e-06, -1.6460320036746370e-05,
    -6.7603527767288161e-05, 1.7414920257642757e-05, 1.0703812997789205e-03,
    5.2857900445482768e-03, 1.6479889166812953e-02, 3.8836558129814451e-02, 7.3713265989518911e-02,
    1.1604342724517307e-01, 1.5365085416091256e-01, 9.4982517224780558e-02,
))  # fmt: skip


def _tail_for(x: Array) -> Callable[[Array, Array, Array, Array, Array], None]:
    """``tail(out, x, a, e, s)``: how likely a normal number is above ``|x|``, into ``out``.

    Leaves ``min(|x|, 40)`` in ``a`` and ``exp(-x²/2)`` in ``e``; ``s`` is scratch.
    """
    fit = _DOUBLE if x.dtype == np.float64 else _SINGLE
    first, second, *others = fit.coefficients

    def tail(out: Array, x: Array, a: Array, e: Array, s: Array) -> None:
        np.abs(x, out=a)
        np.minimum(a, _FAR, out=a)
        np.add(a, fit.shift, out=s)
        np.divide(fit.scale, s, out=s)
        s += fit.offset
        np.multiply(s, first, out=out)
        out += second
        for coefficient in others:
            out *= s
            out += coefficient
        np.multiply(a, a, out=e)
        e *= -0.5
        np.exp(e, out=e)
        out *= e

    return tail


def where(condition: Array, a: Any, b: Any) -> Array:
    """``a`` where ``condition``, else ``b``: ``b ^ ((a ^ b) * condition)`` of their bits, which
    takes as long for conditions at random as for others; ``a * condition`` where ``b`` is 0."""
    if condition.size < FEW or _is_steady(condition):
        return np.where(condition, a, b)
    return _bitwise(condition, a, b)


FEW = 8192
"""Up to so many numbers, ``numpy.where`` is as fast."""
STEADY = 16
"""So many numbers of a condition, on average, that are like the one before: a processor guesses
such right, and then ``numpy.where`` is the faster."""
LOOKS = 16
"""In so many places, 512 numbers each, it is looked at how steady a condition is."""


def _is_steady(condition: Array) -> bool:
    flat = condition.reshape(-1)
    seen = flat[: flat.size // LOOKS * LOOKS].reshape(LOOKS, -1)[:, :512]
    return bool(STEADY * np.count_nonzero(seen[:, 1:] != seen[:, :-1]) < seen.size)


def _bitwise(condition: Array, a: Any, b: Any) -> Array:
    arrays = [v for v in (a, b) if isinstance(v, np.ndarray)]
    dtype = arrays[0].dtype
    plain = all(v.shape == condition.shape for v in arrays) and dtype.itemsize in (1, 2, 4, 8)
    if not plain or dtype.kind not in "fiu":
        return np.where(condition, a, b)
    y, chosen = np.empty(condition.shape, dtype), np.ascontiguousarray(condition).reshape(-1)
    out, left, right = (_bits(v, dtype) for v in (y, a, b))
    if not (left.any() if left.size == 1 else True):
        left, right, chosen = right, left, ~chosen
    if not (right.any() if right.size == 1 else True):
        by_blocks(lambda at: np.multiply(left[at], chosen[at], out[at]), y.size)
        return y

    def choose(at: slice) -> None:
        target, other = out[at], right[at] if right.size > 1 else right
        np.bitwise_xor(left[at] if left.size > 1 else left, other, target)
        np.multiply(target, chosen[at], target)
        np.bitwise_xor(target, other, target)

    by_blocks(choose, y.size)
    return y


def _bits(v: Any, dtype: Any) -> Array:
    """The bits of an array, or of a number as an array of one."""
    array = np.ascontiguousarray(v) if isinstance(v, np.ndarray) else np.asarray(v, dtype)
    return array.reshape(-1).view(f"u{dtype.itemsize}")
