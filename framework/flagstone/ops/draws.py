"""What is drawn for each example from random words: whole numbers, and whom it is paired with."""

from __future__ import annotations

from typing import Any

from flagstone.errors import DTypeError, InputError, ShapeError
from flagstone.ops.door import op


@op(differentiable=False)
def random_integers(xp: Any, words: Any, *, high: int) -> Any:
    """An integer from 0 to ``high - 1`` for every word: ``floor(high * top / 2**32)``, where
    ``top`` is the word's upper 32 bits.

    Integer arithmetic alone, so that the numbers are the same on every backend. Each has its
    probability to within 2**-32.

    Args:
        words: uint64, any shape; from :func:`random_bits`.
        high: from 1 to 2**32.

    Returns:
        int64, the shape of ``words``.

    Raises:
        DTypeError: ``words`` is not uint64.
        InputError: ``high`` is out of range.
    """
    return _below(xp, words, high)


@random_integers.check
def _(words: Any, *, high: int) -> None:
    _random_words("random_integers", words)
    if isinstance(high, bool) or not isinstance(high, int) or not 1 <= high <= 2**32:
        raise InputError(f"random_integers: high expected an integer from 1 to 2**32; got {high!r}")


@op(differentiable=False)
def random_partners(xp: Any, words: Any) -> Any:
    """For every example the number of another one: all are turned by one random distance.

    Example ``i`` of ``n`` gets ``(i + d) % n`` with ``d`` from 1 to ``n - 1``, drawn from the first
    word alone. So each is the partner of exactly one, and nobody of itself, unless it is alone. A
    shuffled batch makes every pair equally likely, without the sort that a permutation takes.

    Args:
        words: uint64 (n,); from :func:`random_bits`.

    Returns:
        int64 (n,).

    Raises:
        ShapeError: ``words`` has not one axis.
        DTypeError: it is not uint64.
    """
    n = words.shape[0]
    numbers = xp.arange(n, dtype=xp.int64)
    if n < 2:
        return numbers
    return (numbers + _below(xp, words[0:1], n - 1) + 1) % n


@random_partners.check
def _(words: Any) -> None:
    _random_words("random_partners", words)
    if words.ndim != 1:
        raise ShapeError(f"random_partners: words expected shape (n,); got {words.shape}")


def _below(xp: Any, words: Any, high: int) -> Any:
    half, most = (xp.full((), v, dtype=xp.uint64) for v in (32, high))  # made on the device
    return xp.astype(((words >> half) * most) >> half, xp.int64)


def _random_words(op: str, words: Any) -> None:
    if words.dtype_name != "uint64":
        raise DTypeError(f"{op}: words expected uint64; got {words.dtype_name}")
