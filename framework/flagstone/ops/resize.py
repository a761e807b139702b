"""Resizing: every output is a weighted sum of a few inputs, one spatial axis after another.

Which inputs, and with what weights, depends on sizes only: an :class:`AxisMap` says it for one
axis. Nearest and linear interpolation, adaptive averages, and the windows of a pooling laid side by
side are such maps. The op and its transpose only ever read: the transpose sums, for each input, the
outputs that took it, in a fixed order, so that results are reproducible on any device.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from flagstone.errors import InputError, ShapeError
from flagstone.ops.checks import floating, tensors
from flagstone.ops.door import op
from flagstone.ops.window import LONGEST, Lengths, per_axis
from flagstone.tensors import Tensor

MODES = {"nearest": None, "nearest-exact": None, "linear": None, "bilinear": 2, "trilinear": 3}
"""Mode -> how many spatial axes it is for, where its name says so."""

Rows = list[list[tuple[int, float]]]


class AxisMap(NamedTuple):
    """What each of ``out`` places of an axis takes of the ``n`` places of another one.

    Attributes:
        kind: ``"nearest"``, ``"nearest-exact"``, ``"linear"``, ``"corners"`` (linear, the first and
            last places aligned), ``"mean"`` (of bins that cover the axis), ``"bins"`` (those bins
            themselves, one after another) or ``"windows"`` (windows, one after another).
        n: length of the input's axis.
        out: length of the output's axis.
        numbers: nearest and linear: inputs per output; bins: the longest bin; windows: kernel,
            stride, dilation and padding before.
    """

    kind: str
    n: int
    out: int
    numbers: tuple[float, ...] = ()


Maps = tuple[AxisMap, ...]


@op
def resample(xp: Any, x: Any, *, maps: Maps) -> Any:
    """The op behind :func:`resize`: one map per spatial axis, (n, *size, c) -> (n, *out, c)."""
    return _apply(xp, x, maps, _table)


@resample.pullback
def _(dy: Tensor, maps: Maps) -> Any:
    return resample_grad(dy, maps=maps)


@op
def resample_grad(xp: Any, g: Any, *, maps: Maps) -> Any:
    """The transpose of :func:`resample`: (n, *out, c) -> (n, *size, c)."""
    return _apply(xp, g, maps, _transposed)


@resample_grad.pullback
def _(dy: Tensor, maps: Maps) -> Any:
    return resample(dy, maps=maps)


def resize(
    x: Tensor,
    size: Lengths | None = None,
    *,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """Images of another size, as ``torch.nn.functional.interpolate`` gives them.

    Args:
        x: (n, *size, c), floating, with any number of spatial axes.
        size: the new lengths, or one number for all.
        scale_factor: instead of ``size``, new lengths per old, rounded down; places are computed
            with the factor itself (linear modes leave an axis whose length stays as it is).
        mode: ``"nearest"`` (places rounded down, in float32 as PyTorch does), ``"nearest-exact"``
            (the input nearest to the output's centre) or ``"linear"``, of which ``"bilinear"`` and
            ``"trilinear"`` are other names for two and three spatial axes.
        align_corners: for linear modes, whether the centres of the first and last values, rather
            than their outer edges, stay where they are.

    Returns:
        (n, *new size, c).

    Raises:
        ShapeError: ``x`` has no spatial axis, or one without values.
        DTypeError: ``x`` is not floating.
        InputError: both or neither of ``size`` and ``scale_factor``, or one out of range;
            ``align_corners`` for a nearest mode; no such mode.
    """
    tensors("resize", x=x)
    floating("resize", x=x)
    d = x.ndim - 2
    if d < 1 or 0 in x.shape[1:-1]:
        raise ShapeError(
            "resize: x expected a batch of images (n, at least one spatial axis, channels), not "
            f"empty ones; got shape {x.shape}"
        )
    if not isinstance(mode, str) or mode not in MODES or MODES[mode] not in (None, d):
        known = ", ".join(repr(name) for name, of in MODES.items() if of in (None, d))
        raise InputError(f"resize: mode expected one of {known} for {d} axes; got {mode!r}")
    nearest = mode.startswith("nearest")
    wrong = align_corners is not None and (nearest or not isinstance(align_corners, bool))
    if wrong:
        raise InputError(
            f"resize: align_corners expected {'None' if nearest else 'True or False'} for mode "
            f"{mode!r}; got {align_corners!r}"
        )
    out, scales = _new_lengths(x.shape[1:-1], size, scale_factor)
    kind = mode if nearest else "corners" if align_corners else "linear"
    maps = tuple(
        AxisMap(kind, n, m, (scale,))
        for n, m, scale in zip(x.shape[1:-1], out, scales, strict=True)
    )
    y: Tensor = resample(x, maps=maps)
    return y


def _new_lengths(old: tuple[int, ...], size: Any, factor: Any) -> tuple[Any, Any]:
    """The new lengths, and inputs per output, of every axis."""
    d = len(old)
    if (size is None) == (factor is None):
        raise InputError(
            "resize: expected either size or scale_factor; got "
            + ("neither" if size is None else f"both, size={size!r}, scale_factor={factor!r}")
        )
    if factor is None:
        out = per_axis("resize", "size", size, d)
        return out, tuple(n / m for n, m in zip(old, out, strict=True))
    factors = tuple(factor) if isinstance(factor, (tuple, list)) else (factor,) * d
    numbers = all(isinstance(f, Real) and not isinstance(f, bool) and float(f) > 0 for f in factors)
    if len(factors) != d or not numbers:
        raise InputError(
            f"resize: scale_factor expected a positive number or {d} of them; got {factor!r}"
        )
    wide = tuple(n * float(f) for n, f in zip(old, factors, strict=True))
    if min(wide) < 1 or max(wide) >= LONGEST:
        raise InputError(
            f"resize: scale_factor expected to give lengths from 1 to {LONGEST - 1} of size {old}; "
            f"got {factor!r}, which gives {wide}"
        )
    return tuple(int(n) for n in wide), tuple(1.0 / float(f) for f in factors)


Table = Callable[[AxisMap], Any]
_placed: dict[Any, list[tuple[Any, Any]] | None] = {}
"""The terms of a map on a device; a captured step reads them there, so none is let go."""


def _apply(xp: Any, x: Any, maps: Maps, table: Table) -> Any:
    for axis, m in enumerate(maps, 1):
        terms = _terms(xp, x, m, table)
        if terms is None:
            continue
        along = (1,) * axis + (-1,) + (1,) * (x.ndim - axis - 1)
        y = None
        for index, weight in terms:
            part = xp.take(x, index, axis=axis)
            if weight is not None:
                part = part * xp.reshape(weight, along)
            y = part if y is None else y + part
        x = y
    return x


def _terms(xp: Any, x: Any, m: AxisMap, table: Table) -> list[tuple[Any, Any]] | None:
    """For each term the inputs that outputs take and their weights, where ``x`` is; sent once."""
    key = (xp, getattr(x, "device", None), x.dtype, m, table)
    if key not in _placed:
        found = table(m)
        if found is None:
            _placed[key] = None
        else:
            index, weight = found
            _placed[key] = [
                (
                    xp.asarray(np.ascontiguousarray(index[:, t])),
                    None if weight is None
                    else xp.asarray(np.ascontiguousarray(weight[:, t]), dtype=x.dtype),
                )
                for t in range(index.shape[1])
            ]  # fmt: skip
    return _placed[key]


@functools.lru_cache(maxsize=1024)
def _table(m: AxisMap) -> tuple[Any, Any] | None:
    """Indices and weights (out, terms); no weights where all are 1, ``None`` for the identity."""
    return _as_arrays(_rows(m), m.n)


@functools.lru_cache(maxsize=1024)
def _transposed(m: AxisMap) -> tuple[Any, Any] | None:
    """The same for the transpose, (n, terms)."""
    rows: Rows = [[] for _ in range(m.n)]
    for place, taken in enumerate(_rows(m)):
        for i, w in taken:
            rows[i].append((place, w))
    return _as_arrays(rows, m.out)


def _as_arrays(rows: Rows, n: int) -> tuple[Any, Any] | None:
    if rows == [[(i, 1.0)] for i in range(n)]:
        return None
    terms = max(len(row) for row in rows)
    index = np.zeros((len(rows), terms), np.int64)
    weight = np.zeros((len(rows), terms))
    for place, row in enumerate(rows):
        index[place] = row[0][0] if row else 0  # read, with weight 0, where there are fewer terms
        for t, (i, w) in enumerate(row):
            index[place, t], weight[place, t] = i, w
    return index, None if (weight == 1.0).all() else weight


def _rows(m: AxisMap) -> Rows:
    """What each output takes: (input, weight), in order of inputs."""
    if m.kind == "windows":
        return _windows(m)
    if m.kind in ("mean", "bins"):
        return _bins(m)
    rows: Rows = []
    for place in range(m.out):
        if m.kind in ("linear", "corners"):
            rows.append(_between(m, place))
        else:
            shift = 0.5 if m.kind == "nearest-exact" else 0.0
            at = np.float32(place + shift) * np.float32(m.numbers[0])
            rows.append([(min(int(at), m.n - 1), 1.0)])
    return rows


def _between(m: AxisMap, place: int) -> list[tuple[int, float]]:
    if m.kind == "corners":
        at = place * (m.n - 1) / (m.out - 1) if m.out > 1 else 0.0
    elif m.n == m.out:
        at = float(place)  # whatever the factor was, as in PyTorch
    else:
        at = max((place + 0.5) * m.numbers[0] - 0.5, 0.0)
    low = min(int(at), m.n - 1)
    part = min(at - low, 1.0)
    if low == m.n - 1 or part == 0.0:
        return [(low, 1.0)]
    return [(low, 1.0 - part), (low + 1, part)]


def _bins(m: AxisMap) -> Rows:
    """Bin i of b holds the inputs from floor(i*n/b) up to ceil((i + 1)*n/b)."""
    longest = int(m.numbers[0]) if m.kind == "bins" else 1
    count = m.out // longest
    rows: Rows = []
    for i in range(count):
        held = range(i * m.n // count, -(-(i + 1) * m.n // count))
        if m.kind == "mean":
            rows.append([(j, 1.0 / len(held)) for j in held])
        else:
            rows.extend([(held[t] if t < len(held) else held[0], 1.0)] for t in range(longest))
    return rows


def _windows(m: AxisMap) -> Rows:
    """The inputs under each window; in place of padding the first of them again, which changes no
    maximum nor which of them is the first."""
    kernel, stride, dilation, before = (int(v) for v in m.numbers)
    rows: Rows = []
    for i in range(m.out // kernel):
        start = i * stride - before
        under = range(start, start + kernel * dilation, dilation)
        first = next(j for j in under if 0 <= j < m.n)
        rows.extend([(j if 0 <= j < m.n else first, 1.0)] for j in under)
    return rows
