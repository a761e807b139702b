"""The one random stream: the same words on every backend, addressed instead of drawn in order.

Everything random in flagstone (initial weights, shuffles, splits, dropout masks, augmentation)
is a pure function of 64-bit words of Philox4x64-10 (Salmon et al., "Parallel random numbers: as
easy as 1, 2, 3", SC 2011), addressed by

* a **key** of 128 bits, the hash of (seed, purpose, path): what is drawn, and for whom;
* a **counter** (block, step, epoch, 0): when it is drawn, and for which example.

A block holds four words. NumPy's own generator gives the words; its distributions, which NumPy
may change, are not used. Everything after the words is integer arithmetic, or float64 arithmetic
in + - * / and square root alone, each correctly rounded by IEEE 754: so a backend that repeats
the operations in this order, without contracting ``a * b + c`` into one rounding, gets the same
bits. ``SCHEME`` changes when any of this does; golden hashes in the tests hold it still.
"""

from __future__ import annotations

import hashlib
import math
import operator
import threading
from typing import SupportsFloat, SupportsIndex, TypeAlias

import numpy as np
import numpy.typing as npt

from flagstone.errors import DTypeError, InputError, ShapeError

SCHEME = 1
"""Version of the stream. Two runs agree on random numbers only if they agree on this."""

Words: TypeAlias = npt.NDArray[np.uint64]
_Float64: TypeAlias = npt.NDArray[np.float64]
_Int64: TypeAlias = npt.NDArray[np.int64]

_LIMIT = 2**64
_CHUNK = 1 << 14  # words that box_muller takes at once: its temporaries stay in the cache


def key(seed: SupportsIndex, purpose: str, path: str = "") -> Words:
    """Return the Philox key of everything drawn for ``purpose`` by the layer at ``path``.

    The key is BLAKE2b with 16 bytes of digest over the seed as 8 little-endian bytes and each
    text as its UTF-8 length (8 little-endian bytes) and its UTF-8 bytes, so no two different
    arguments spell the same message. The scheme's number is part of the hash.

    Arguments:
        seed: an integer from 0 to 2**64 - 1.
        purpose: what is drawn, such as ``"init"``, ``"shuffle"`` or ``"dropout"``.
        path: the dotted path of the layer that draws; empty for the run itself.

    Returns:
        uint64 array (2,).

    Raises:
        InputError: ``seed`` is out of range, or a text cannot be written as UTF-8.
        DTypeError: ``seed`` is not an integer, or a text is not a string.
    """
    message = _integer("seed", seed).to_bytes(8, "little")
    for name, text in (("purpose", purpose), ("path", path)):
        if not isinstance(text, str):
            raise DTypeError(f"{name} must be a string; got {type(text).__name__}")
        try:
            encoded = text.encode()
        except UnicodeEncodeError:
            raise InputError(f"{name} must be valid Unicode; got {text!r}") from None
        message += len(encoded).to_bytes(8, "little") + encoded
    person = b"flagstone/%d" % SCHEME
    digest = hashlib.blake2b(message, digest_size=16, person=person).digest()
    return np.frombuffer(digest, dtype="<u8").astype(np.uint64)


def bits(
    key: Words,
    counter: tuple[SupportsIndex, SupportsIndex],
    start: SupportsIndex,
    blocks: SupportsIndex,
) -> Words:
    """Return the words of ``blocks`` consecutive blocks of the stream.

    Equal to ``numpy.random.Philox(key=key, counter=[start, step, epoch, 0]).random_raw(4 *
    blocks)``. NumPy increments the counter before it makes a block, so block number ``i`` of the
    result is Philox4x64-10 of the counter ``(start + i + 1, step, epoch, 0)``.

    Arguments:
        key: uint64 array (2,), from :func:`key`.
        counter: ``(step, epoch)``, integers from 0 to 2**64 - 1.
        start: the first block's place, for instance the example's position in the global batch
            times the blocks that an example uses.
        blocks: how many blocks.

    Returns:
        uint64 array (4 * blocks,), fresh and writable.

    Raises:
        DTypeError, ShapeError: ``key`` is not a uint64 array of shape (2,), or a number is not an
            integer.
        InputError: a number is out of range, or the blocks pass the counter's end.
    """
    key = _checked_words("key", key)
    if key.shape != (2,):
        raise ShapeError(f"key must have shape (2,); got {key.shape}; make it with random.key(...)")
    if not isinstance(counter, tuple) or len(counter) != 2:
        raise InputError(f"counter must be a tuple (step, epoch); got {counter!r}")
    step, epoch = _integer("counter's step", counter[0]), _integer("counter's epoch", counter[1])
    start, blocks = _integer("start", start), _integer("blocks", blocks)
    if start + blocks >= _LIMIT:
        raise InputError(
            f"start + blocks must be below 2**64; got start {start} and blocks {blocks}"
        )
    generator = _HOST.generator
    generator.state = {
        "bit_generator": "Philox",
        "state": {"counter": np.array([start, step, epoch, 0], np.uint64), "key": key},
        "buffer": _EMPTY_BUFFER,
        "buffer_pos": 4,
        "has_uint32": 0,
        "uinteger": 0,
    }
    return generator.random_raw(4 * blocks)


def uniform(words: Words) -> npt.NDArray[np.float32]:
    """Return float32 numbers in [0, 1), one a word: the word's top 24 bits times 2**-24.

    Every value is a multiple of 2**-24 and exact. The result has the shape of ``words``.
    """
    words = _checked_words("words", words)
    return (words >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)


def normal(
    key: Words,
    n: SupportsIndex,
    *,
    counter: tuple[SupportsIndex, SupportsIndex] = (0, 0),
    start: SupportsIndex = 0,
) -> npt.NDArray[np.float32]:
    """Return ``n`` standard normal float32 numbers: :func:`box_muller` of the key's words.

    Number ``i`` depends on block ``start + i // 4`` alone, so a shorter draw is the beginning of
    a longer one. The arguments are those of :func:`bits`; so is what is raised.
    """
    n = _integer("n", n)
    return box_muller(bits(key, counter, start, -(-n // 4)))[:n]


def box_muller(words: Words) -> npt.NDArray[np.float32]:
    """Return as many standard normal float32 numbers as there are words.

    Box and Muller, "A note on the generation of random normal deviates", 1958. Of each pair of
    words (a, b), with u = ((a >> 11) + 1) * 2**-53 in (0, 1] and t = (b >> 11) * 2**-53 in
    [0, 1), come sqrt(-2 log u) cos(2 pi t) and sqrt(-2 log u) sin(2 pi t), in this order,
    computed in float64 to about 1e-15 and rounded once to float32. No value exceeds 8.58.

    Arguments:
        words: uint64 array (n,), n even.

    Raises:
        DTypeError, ShapeError: ``words`` is not a uint64 array of one axis and even length.
    """
    words = _checked_words("words", words)
    if words.ndim != 1 or words.size % 2:
        raise ShapeError(f"words must have one axis of even length; got shape {words.shape}")
    out = np.empty(words.shape, np.float32)
    for first in range(0, words.size, _CHUNK):
        part, z = words[first : first + _CHUNK], out[first : first + _CHUNK]
        radius = np.sqrt(-2.0 * _log_of_53_bits((part[0::2] >> np.uint64(11)).astype(np.int64) + 1))
        cos, sin = _cos_sin_of_turns((part[1::2] >> np.uint64(11)).astype(np.int64))
        z[0::2] = radius * cos
        z[1::2] = radius * sin
    return out


def permutation(words: Words) -> _Int64:
    """Return the stable argsort of ``words``: a random order of ``len(words)`` things.

    Arguments:
        words: uint64 array (n,).

    Returns:
        int64 array (n,), each of 0 .. n-1 once. Equal words keep their order; with 64 bits two
        words of a million are equal with probability 3e-8, so the order is as good as uniform.

    Raises:
        DTypeError, ShapeError: ``words`` is not a uint64 array of one axis.
    """
    words = _checked_words("words", words)
    if words.ndim != 1:
        raise ShapeError(f"words must have one axis; got shape {words.shape}")
    return np.argsort(words, kind="stable").astype(np.int64, copy=False)


def keep_threshold(p: SupportsFloat) -> int:
    """Return the threshold below which a 16-bit lane keeps its element, for dropout rate ``p``.

    ``lane < keep_threshold(p)`` holds with probability 1 - p to the nearest 2**-16 (a half is
    rounded up): 65536 keeps everything, 0 nothing.

    Arguments:
        p: the probability to drop an element, from 0 to 1, as in ``nn.Dropout(p)``.

    Raises:
        InputError: ``p`` is not a number from 0 to 1.
    """
    try:
        rate = float(p) if isinstance(p, SupportsFloat) else math.nan
    except (TypeError, ValueError):
        rate = math.nan
    if not 0.0 <= rate <= 1.0:
        raise InputError(f"p must be a probability from 0 to 1; got {p!r}")
    return math.floor((1.0 - rate) * 65536.0 + 0.5)


# ---------------------------------------------------------------------------------------------
# float64 functions in + - * / alone. Series instead of fitted polynomials: each coefficient is
# then a quotient of integers that anyone can check, and one or two more terms cost little.

_SQRT_HALF = 0.7071067811865476
# ln 2 in two parts, the first of 32 bits so that its product with an exponent is exact.
_LN2_HIGH = float.fromhex("0x1.62e42feep-1")
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
_ATANH = tuple(1.0 / (2 * k + 1) for k in range(12))  # atanh s = s (1 + s²/3 + s⁴/5 + ...)
_COS = tuple((-1.0) ** k / math.factorial(2 * k) for k in range(9))
_SIN = tuple((-1.0) ** k / math.factorial(2 * k + 1) for k in range(9))


def _log_of_53_bits(n: _Int64) -> _Float64:
    """Return log(n * 2**-53) for integers n from 1 to 2**53.

    n * 2**-53 is written m * 2**e with m in [sqrt(1/2), sqrt(2)); with s = (m - 1) / (m + 1), so
    |s| < 0.172, log m is 2 atanh s, and 12 terms of its series leave 1e-19.
    """
    mantissa, exponent = np.frexp(n.astype(np.float64))  # exact; mantissa in [1/2, 1)
    low = mantissa < _SQRT_HALF
    mantissa = np.where(low, mantissa * 2.0, mantissa)
    e = (exponent - low - 53).astype(np.float64)
    s = (mantissa - 1.0) / (mantissa + 1.0)
    log_mantissa = 2.0 * s * _horner(_ATANH, s * s)
    return e * _LN2_HIGH + (e * _LN2_LOW + log_mantissa)


def _cos_sin_of_turns(n: _Int64) -> tuple[_Float64, _Float64]:
    """Return cos and sin of 2 pi n * 2**-53 for integers n from 0 to 2**53 - 1.

    The nearest quarter turn is taken off in integers, exactly; the rest is at most pi/4, where 9
    terms of each series leave 1e-18.
    """
    quarter = (n + (1 << 50)) >> 51  # 0 .. 4
    angle = (n - (quarter << 51)).astype(np.float64) * (math.pi * 2.0**-52)  # |angle| <= pi/4
    square = angle * angle
    cos, sin = _horner(_COS, square), angle * _horner(_SIN, square)
    odd = (quarter & 1).astype(bool)
    cos, sin = np.where(odd, sin, cos), np.where(odd, cos, sin)
    # cos is negative in quarters 1 and 2, sin in 2 and 3 (4 is 0 again).
    cos_sign = 1.0 - ((quarter + 1) & 2).astype(np.float64)
    sin_sign = 1.0 - (quarter & 2).astype(np.float64)
    return cos * cos_sign, sin * sin_sign


def _horner(coefficients: tuple[float, ...], x: _Float64) -> _Float64:
    """Return the polynomial with these coefficients, constant first, rounded after every step."""
    total = np.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total *= x
        total += coefficient
    return total


class _Host(threading.local):
    """One generator a thread: its state is set before every use, which takes 2 µs, not 25."""

    def __init__(self) -> None:
        self.generator = np.random.Philox(0)


_HOST = _Host()
_EMPTY_BUFFER = np.zeros(4, np.uint64)


def _integer(name: str, value: SupportsIndex) -> int:
    """Return ``value`` as an int from 0 to 2**64 - 1, or raise naming the argument."""
    if isinstance(value, (bool, np.bool_)):
        raise DTypeError(f"{name} must be an integer; got {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise DTypeError(f"{name} must be an integer; got {value!r}") from None
    if not 0 <= number < _LIMIT:
        raise InputError(f"{name} must be from 0 to 2**64 - 1; got {number}")
    return number


def _checked_words(name: str, words: Words) -> Words:
    """Return ``words`` if it is a uint64 array, or raise naming the argument."""
    if not isinstance(words, np.ndarray) or words.dtype != np.uint64:
        given = f"{words.dtype} array" if isinstance(words, np.ndarray) else type(words).__name__
        raise DTypeError(f"{name} must be a NumPy array of uint64; got {given}")
    return words
