"""What convolution and pooling share: strides, padding, dilation, and the windows they make."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from flagstone.errors import InputError, ShapeError
from flagstone.ops.checks import is_integer as is_integer

Lengths = int | Sequence[int]
Padding = int | str | Sequence[int] | Sequence[Sequence[int]]
Pairs = tuple[tuple[int, int], ...]

LONGEST = 2**31
"""Every length, stride, padding and dilation is below this."""


class Window(NamedTuple):
    """A resolved sliding window over ``d`` spatial axes.

    Attributes:
        stride: per axis.
        padding: (before, after) per axis.
        dilation: per axis.
        out: output length, ``(n + before + after - dilation*(k-1) - 1)//stride + 1`` per axis.
    """

    stride: tuple[int, ...]
    padding: Pairs
    dilation: tuple[int, ...]
    out: tuple[int, ...]


def resolve(
    op: str,
    size: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: Lengths,
    padding: Padding,
    dilation: Lengths,
) -> Window:
    """The window that the user's arguments mean for an input of spatial ``size``.

    ``"same"`` gives ``ceil(n / stride)`` outputs with the odd zero at the end, as Keras and ONNX's
    ``SAME_UPPER`` do; ``"valid"`` is 0.

    Raises:
        InputError: an argument is of another kind, or out of range.
        ShapeError: the window does not fit into the padded input even once, or there is none.
    """
    if type(stride) is type(dilation) is int and type(padding) in (int, str):
        return _remembered(op, size, kernel, stride, padding, dilation)
    return _looked_at(op, size, kernel, stride, padding, dilation)  # (True,) is equal to (1,)


def _looked_at(
    op: str, size: tuple[int, ...], kernel: tuple[int, ...], stride: Any, padding: Any,
    dilation: Any,
) -> Window:  # fmt: skip
    d = len(size)
    strides = per_axis(op, "stride", stride, d)
    dilations = per_axis(op, "dilation", dilation, d)
    if not isinstance(padding, str) or padding not in ("same", "valid"):
        padding = pairs(op, padding, d, "'same', 'valid', ")
    return _resolved(op, size, kernel, strides, padding, dilations)


_remembered = functools.lru_cache(maxsize=4096)(_looked_at)


@functools.lru_cache(maxsize=4096)
def _resolved(
    op: str,
    size: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    padding: str | Pairs,
    dilations: tuple[int, ...],
) -> Window:
    """:func:`resolve` for what was looked at."""
    if 0 in size:
        raise ShapeError(
            f"{op}: x expected at least one value along every spatial axis; got size {size}"
        )
    reach = tuple(a * (k - 1) + 1 for a, k in zip(dilations, kernel, strict=True))
    padded = _padding(padding, size, strides, reach)
    out = tuple(
        (n + lo + hi - r) // s + 1
        for n, (lo, hi), r, s in zip(size, padded, reach, strides, strict=True)
    )
    if any(n < 1 for n in out):
        padding_too = f" with padding {padded}" if any(map(any, padded)) else ""
        spread = f" (kernel {kernel}, dilation {dilations})" if reach != kernel else ""
        raise ShapeError(
            f"{op}: expected an input that the window fits into; got size {size}{padding_too} "
            f"for a window of {reach}{spread}"
        )
    return Window(strides, padded, dilations, out)


def channels_hint(x: Any, channels: int) -> str:
    """What to add to an error about the channels of ``x``, if they are in PyTorch's place."""
    if x.shape[1] != channels:
        return ""
    order = (0, *range(2, x.ndim), 1)
    return f". Channels come last here; if x has them second, pass x.transpose{order}"


def per_axis(op: str, name: str, value: Any, d: int, least: int = 1) -> tuple[int, ...]:
    """An integer of at least ``least``, or one per spatial axis, as one per axis."""
    if type(value) is int and least <= value < LONGEST:
        return (value,) * d
    given = (value,) * d if is_integer(value) else value
    fits = isinstance(given, (tuple, list)) and len(given) == d
    if not fits or not all(is_integer(v) and v >= least for v in given):
        kind = "a positive integer" if least == 1 else f"an integer >= {least}"
        raise InputError(f"{op}: {name} expected {kind} or {d} of them; got {value!r}")
    if max(given) >= LONGEST:
        raise InputError(f"{op}: {name} expected integers below {LONGEST}; got {value!r}")
    return tuple(int(v) for v in given)


def check_padding(op: str, padding: Any, d: int) -> None:
    """Raise unless ``padding`` is what a window over ``d`` axes can have."""
    if not isinstance(padding, str) or padding not in ("same", "valid"):
        pairs(op, padding, d, "'same', 'valid', ")


def _padding(
    padding: str | Pairs, size: tuple[int, ...], stride: tuple[int, ...], reach: tuple[int, ...]
) -> Pairs:
    if padding == "valid":
        return ((0, 0),) * len(size)
    if padding == "same":
        total = (
            max((-(-n // s) - 1) * s + r - n, 0)
            for n, s, r in zip(size, stride, reach, strict=True)
        )
        return tuple((t // 2, t - t // 2) for t in total)
    assert not isinstance(padding, str)
    return padding


def pairs(op: str, padding: Any, d: int, words: str = "") -> Pairs:
    """Numbers of padded places as one pair (before, after) per axis; ``words`` are what else the
    caller takes."""
    if type(padding) is int and 0 <= padding < LONGEST:
        return ((padding, padding),) * d
    given = (padding,) * d if is_integer(padding) else padding
    if isinstance(given, (tuple, list)) and len(given) == d:
        out = tuple((p, p) if is_integer(p) else p for p in given)
        if all(
            isinstance(p, (tuple, list))
            and len(p) == 2
            and all(is_integer(v) and 0 <= v < LONGEST for v in p)
            for p in out
        ):
            return tuple((int(lo), int(hi)) for lo, hi in out)
    raise InputError(
        f"{op}: padding expected {words}a number >= 0, {d} numbers, or {d} pairs "
        f"(before, after); got {padding!r}"
    )


def pad(xp: Any, x: Any, padding: Pairs, value: float = 0.0) -> Any:
    """``x`` (n, *spatial, c) with ``value`` around its spatial axes."""
    if not any(lo or hi for lo, hi in padding):
        return x
    size = x.shape[1:-1]
    longer = tuple(n + lo + hi for n, (lo, hi) in zip(size, padding, strict=True))
    out = xp.full((x.shape[0], *longer, x.shape[-1]), value, dtype=x.dtype)
    out[inner(size, padding)] = x
    return out


def inner(size: tuple[int, ...], padding: Pairs) -> tuple[Any, ...]:
    """The index of the unpadded part of a padded array."""
    return (
        slice(None),
        *(slice(lo, lo + n) for n, (lo, _) in zip(size, padding, strict=True)),
        slice(None),
    )


def taps(
    kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...], out: Any
) -> Iterator[tuple[tuple[int, ...], tuple[Any, ...]]]:
    """For each place in the window, in row-major order: the place, and the index of what lies
    under it in the padded input for all outputs at once."""
    for place in itertools.product(*(range(k) for k in kernel)):
        spatial = (
            slice(t * a, t * a + (n - 1) * s + 1, s)
            for t, a, n, s in zip(place, dilation, out, stride, strict=True)
        )
        yield place, (slice(None), *spatial, slice(None))
