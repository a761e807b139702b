"""Random bits on the device, and what is drawn from them.

The stream is Philox4x64-10 (Salmon et al., SC 2011), the same on every backend and bit for bit
NumPy's own; :mod:`flagstone.random` defines keys, counters and what a word means.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from flagstone.errors import DTypeError, InputError, ShapeError
from flagstone.ops.checks import floating, is_integer, tensors
from flagstone.ops.door import op
from flagstone.random import keep_threshold
from flagstone.tensors import Tensor

_MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
_WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
_MASK64 = (1 << 64) - 1


@op(differentiable=False)
def random_bits(xp: Any, counter: Any, *, key: tuple[int, int], blocks: int, start: int = 0) -> Any:
    """``4 * blocks`` words of 64 random bits.

    Args:
        counter: uint64 (2,): the step and the epoch, read on the device.
        key: two 64-bit words, from :func:`flagstone.random.key`.
        blocks: how many blocks of four words.
        start: the number of the first block.

    Returns:
        uint64 (4 * blocks,): what ``numpy.random.Philox(key=key, counter=[start, step, epoch, 0])
        .random_raw(4 * blocks)`` gives.

    Raises:
        DTypeError: ``counter`` is not uint64 of shape (2,).
        InputError: ``key`` is not two words of 64 bits; ``blocks`` or ``start`` is negative.
    """
    u64 = xp.uint64
    step_words = xp.ones((blocks,), dtype=u64)
    c0 = xp.arange(start + 1, start + blocks + 1, dtype=u64)
    c1, c2 = step_words * counter[0], step_words * counter[1]
    c3 = xp.zeros((blocks,), dtype=u64)
    k0, k1 = key
    for _ in range(10):
        hi0, lo0 = _multiply(xp, c0, _MULTIPLIERS[0])
        hi1, lo1 = _multiply(xp, c2, _MULTIPLIERS[1])
        c0, c1, c2, c3 = (
            hi1 ^ c1 ^ xp.asarray(k0, dtype=u64), lo1, hi0 ^ c3 ^ xp.asarray(k1, dtype=u64), lo0
        )  # fmt: skip
        k0, k1 = (k0 + _WEYL[0]) & _MASK64, (k1 + _WEYL[1]) & _MASK64
    return xp.reshape(xp.stack([c0, c1, c2, c3], axis=1), (4 * blocks,))


@random_bits.check
def _(counter: Any, *, key: Any, blocks: int, start: int = 0) -> None:
    if counter.dtype_name != "uint64" or counter.shape != (2,):
        raise DTypeError(
            "random_bits: counter expected uint64 of shape (2,), the step and the epoch; got "
            f"{counter.dtype_name} of shape {counter.shape}"
        )
    words = tuple(key) if hasattr(key, "__len__") else ()
    if len(words) != 2 or not all(is_integer(word) and 0 <= word <= _MASK64 for word in words):
        raise InputError(
            f"random_bits: key expected two words of 64 bits, from random.key(...); got {key!r}"
        )
    if blocks < 0 or start < 0:
        raise InputError(
            f"random_bits: expected blocks >= 0 and start >= 0; got {blocks} and {start}"
        )


def _multiply(xp: Any, a: Any, b: int) -> tuple[Any, Any]:
    """The high and low 64 bits of ``a * b``, from 32-bit halves."""
    u64 = xp.uint64
    low, shift = xp.asarray(0xFFFFFFFF, dtype=u64), xp.asarray(32, dtype=u64)
    b_lo, b_hi = xp.asarray(b & 0xFFFFFFFF, dtype=u64), xp.asarray(b >> 32, dtype=u64)
    a_lo, a_hi = a & low, a >> shift
    low_low = a_lo * b_lo
    middle = a_hi * b_lo + (low_low >> shift)
    other = a_lo * b_hi + (middle & low)
    return a_hi * b_hi + (middle >> shift) + (other >> shift), a * xp.asarray(b, dtype=u64)


@op(differentiable=False)
def dropout_mask(xp: Any, words: Any, *, shape: tuple[int, ...], threshold: int) -> Any:
    """Which elements stay: bool of ``shape`` (n, ...) from 16-bit lanes of random words.

    Args:
        words: uint64, ``4 * blocks_per_example(shape)`` for every example.
        shape: of the mask; an example's lanes start at a block of their own.
        threshold: an element stays where its lane is below this.
    """
    n, width = shape[0], math.prod(shape[1:])
    mask = xp.asarray(0xFFFF, dtype=xp.uint64)
    lanes = [(words >> xp.asarray(16 * i, dtype=xp.uint64)) & mask for i in range(4)]
    per_example = xp.reshape(xp.stack(lanes, axis=1), (n, 16 * blocks_per_example(shape)))
    stays = per_example[:, :width] < xp.asarray(threshold, dtype=xp.uint64)
    return xp.reshape(stays, shape)


def blocks_per_example(shape: tuple[int, ...]) -> int:
    """How many blocks of 16 lanes one example of a mask of ``shape`` takes."""
    return -(-math.prod(shape[1:]) // 16)


@op
def keep(xp: Any, x: Any, mask: Any, *, scale: float) -> Any:
    """``x * scale`` where ``mask`` holds, else 0.

    Raises:
        ShapeError: ``mask`` is not bool of the shape of ``x``.
        DTypeError: ``x`` is not floating.
    """
    return xp.where(mask, x * float(scale), 0)


@keep.check
def _(x: Any, mask: Any, *, scale: float) -> None:
    floating("keep", x=x)
    if mask.dtype_name != "bool" or mask.shape != x.shape:
        raise ShapeError(
            f"keep: mask expected bool of shape {x.shape}; got {mask.dtype_name} of {mask.shape}"
        )


@keep.pullback
def _(dy: Tensor, mask: Tensor, scale: float) -> Any:
    return (keep(dy, mask, scale=scale), None)


def kept_lanes(op: str, p: Any) -> int:
    """Of 65536 lanes, how many stay where each is zeroed with probability ``p``.

    Raises:
        InputError: ``p`` lies outside [0, 1), or so near 1 that nothing would stay.
    """
    if isinstance(p, bool) or not isinstance(p, Real) or not 0 <= float(p) < 1:
        raise InputError(f"{op}: p expected a probability in [0, 1); got {p!r}")
    threshold = keep_threshold(float(p))
    if not threshold:
        raise InputError(f"{op}: p expected at most {1 - 2**-16}; got {p!r}")
    return threshold


def dropout(x: Tensor, p: float, counter: Tensor, key: tuple[int, int]) -> Tensor:
    """Zero each element with probability ``p`` and scale the rest by ``1 / (1 - p)``.

    "Inverted" dropout (Srivastava et al., JMLR 2014). ``p`` is rounded to a multiple of 2**-16 and
    the scale follows the rounded value, so the expectation is exact.

    Args:
        x: (n, ...), floating; element masks depend on an example's place in the batch only.
        p: the probability of zero, in [0, 1).
        counter: uint64 (2,): step and epoch.
        key: from :func:`flagstone.random.key`.

    Raises:
        InputError: ``p`` lies outside [0, 1), or so near 1 that nothing would stay.
        ShapeError: ``x`` is a scalar.
        DTypeError: ``x`` is not floating, or ``counter`` not uint64 (2,).
    """
    tensors("dropout", x=x, counter=counter)
    floating("dropout", x=x)
    if not x.ndim:
        raise ShapeError("dropout: x expected at least one axis, of examples; got a scalar")
    threshold = kept_lanes("dropout", p)
    if threshold == 65536 or not x.size:
        return x
    words = random_bits(counter, key=key, blocks=x.shape[0] * blocks_per_example(x.shape))
    mask = dropout_mask(words, shape=x.shape, threshold=threshold)
    y: Tensor = keep(x, mask, scale=65536 / threshold)
    return y
