"""Rows of the op table: convolution in one and three axes, transposed convolution, resizing."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from flagstone import ops
from flagstone.errors import DTypeError, InputError, ShapeError
from flagstone.ops.resize import AxisMap
from flagstone.testing import references
from flagstone.testing.op_row import Array, Draw, OpRow, Raw, Refusal, Sample
from flagstone.testing.rows_pooling import each, pairs


def _conv_reference(
    x: Array, w: Array, b: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Array:  # fmt: skip
    d = x.ndim - 2
    return references.conv(
        x, w, b, stride=each(stride, d), padding=pairs(padding, d),
        dilation=each(dilation, d), groups=groups,
    )  # fmt: skip


def _conv1d(draw: Draw) -> Iterator[Sample]:
    yield Sample(draw(2, 9, 3), draw(4, 3, 3), draw(4))
    yield Sample(draw(2, 9, 4), draw(6, 3, 2), None, stride=2, padding=1, groups=2)
    yield Sample(draw(1, 8, 3), draw(3, 2, 1), draw(3), dilation=3, padding=((2, 0),), groups=3)
    yield Sample(draw(0, 5, 1), draw(2, 2, 1), draw(2))
    yield Sample(draw(1, 1, 1), draw(1, 1, 1), draw(1))


def _conv3d(draw: Draw) -> Iterator[Sample]:
    yield Sample(draw(1, 3, 4, 3, 2), draw(2, 2, 3, 2, 2), draw(2))
    yield Sample(draw(2, 3, 3, 4, 2), draw(4, 2, 1, 2, 1), None, stride=(1, 2, 2), padding=1,
                 groups=2)  # fmt: skip
    yield Sample(draw(1, 5, 3, 3, 1), draw(1, 3, 2, 2, 1), draw(1), dilation=(2, 1, 2))
    yield Sample(draw(0, 2, 2, 2, 1), draw(2, 2, 2, 2, 1), draw(2))
    yield Sample(draw(1, 1, 1, 1, 1), draw(1, 1, 1, 1, 1), draw(1))


def _transposed(
    x: Array, w: Array, b: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    groups: int = 1, dilation: Any = 1,
) -> Array:  # fmt: skip
    """Every input value adds its kernel, times itself, to where that lands in the output."""
    d = x.ndim - 2
    s, a, e = each(stride, d), each(dilation, d), each(output_padding, d)
    cut = pairs(padding, d)
    whole = tuple(
        (n - 1) * s[i] + a[i] * (w.shape[1 + i] - 1) + 1 + e[i] for i, n in enumerate(x.shape[1:-1])
    )
    c, k = x.shape[-1] // groups, w.shape[-1]
    y = np.zeros((len(x), *whole, k * groups))
    for p in np.ndindex(*x.shape[1:-1]):
        for r in np.ndindex(*w.shape[1:-1]):
            at = (slice(None), *(p[i] * s[i] + r[i] * a[i] for i in range(d)))
            for g in range(groups):
                value = x[(slice(None), *p)][:, g * c : (g + 1) * c]
                taps = w[(slice(g * c, (g + 1) * c), *r)]
                y[at][:, g * k : (g + 1) * k] += value @ taps
    inner = (slice(None), *(slice(lo, n - hi) for n, (lo, hi) in zip(whole, cut, strict=True)))
    return y[inner] + (0.0 if b is None else b)


def _transposed_samples(d: int) -> Callable[[Draw], Iterator[Sample]]:
    def samples(draw: Draw) -> Iterator[Sample]:
        size, kernel = (3, 2, 2)[:d], (3, 2, 1)[:d]
        yield Sample(draw(2, *size, 3), draw(3, *kernel, 2), draw(2))
        yield Sample(draw(1, *size, 4), draw(4, *kernel, 1), draw(2), stride=2, padding=1,
                     output_padding=1, groups=2)  # fmt: skip
        yield Sample(draw(1, *size, 2), draw(2, *kernel, 2), None, dilation=3, output_padding=2,
                     padding=((1, 0),) * d)  # fmt: skip
        yield Sample(draw(1, *size, 2), draw(2, *(2,) * d, 1), draw(2), stride=2, dilation=4,
                     output_padding=3, groups=2)  # fmt: skip
        yield Sample(draw(0, *size, 1), draw(1, *kernel, 1), None)
        yield Sample(draw(*(1,) * (d + 2)), draw(*(1,) * (d + 2)), draw(1))

    return samples


def _transposed_refusals(d: int) -> tuple[Refusal, ...]:
    x, w = np.ones((1, *(3,) * d, 2)), np.ones((2, *(3,) * d, 1))

    def refused(error: type[Exception], message: str, *arrays: Any, **how: Any) -> Refusal:
        return Refusal(error, f"^conv_transpose{d}d: {message}", *arrays, **how)

    return (
        refused(ShapeError, f"x expected {d + 2} axes", x[0], w),
        refused(ShapeError, rf"weight expected {d + 2} axes \(in, {d} of kernel", x, w[0]),
        refused(ShapeError, "weight expected at least one value", x, w[:, :0]),
        refused(ShapeError, "weight expected at least one value", x[..., :0], w[:0]),
        refused(ShapeError, "weight expects 1 input channels", x, w[:1]),
        refused(ShapeError, r"bias expected shape \(2,\); got \(1,\)", x, w, np.ones(1), groups=2),
        refused(ShapeError, "expected an input of which padding .* leaves something", x, w,
                padding=3),
        refused(InputError, "groups expected a positive divisor of 2 input channels", x, w,
                groups=3),
        refused(InputError, "padding expected a number >= 0", x, w, padding="same"),
        refused(InputError, "padding expected a number >= 0", x, w, padding=-1),
        refused(InputError, "stride expected a positive integer", x, w, stride=0),
        refused(InputError, "dilation expected a positive integer", x, w, dilation=(1,) * 4),
        refused(InputError, "output_padding expected an integer >= 0", x, w, output_padding=-1),
        refused(InputError, "output_padding expected less than stride", x, w, stride=2,
                output_padding=2),
        refused(DTypeError, "x expected a floating", x.astype(int), w),
        refused(DTypeError, "expected one dtype", x, w.astype(np.float32)),
        refused(DTypeError, "weight expected a Tensor; got ndarray", x, Raw(w)),
    )  # fmt: skip


def _conv_refusals(d: int) -> tuple[Refusal, ...]:
    x, w = np.ones((1, *(4,) * d, 2)), np.ones((2, *(3,) * d, 2))
    name = f"^conv{d}d: "
    return (
        Refusal(ShapeError, f"{name}x expected {d + 2} axes", x[0], w),
        Refusal(ShapeError, f"{name}weight expects 4 input channels", x, w, groups=2),
        Refusal(ShapeError, f"{name}expected an input that the window fits into", x, w, dilation=2),
        Refusal(InputError, f"{name}stride expected", x, w, stride=0),
        Refusal(InputError, f"{name}padding expected 'same', 'valid'", x, w, padding=-1),
    )


# Resizing: NumPy's own interpolation along every axis


def _line(values: Array, out: int, scale: float, mode: str, corners: bool) -> Array:
    n = len(values)
    if mode == "nearest":
        return values[[min(int(np.float32(i) * np.float32(scale)), n - 1) for i in range(out)]]
    if mode == "nearest-exact":
        return values[[min(math.floor((i + 0.5) * scale), n - 1) for i in range(out)]]
    at = np.linspace(0, n - 1, out) if corners else (np.arange(out) + 0.5) * scale - 0.5
    return np.interp(at, np.arange(n), values)


def _resize_reference(
    x: Array, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: Any = None,
) -> Array:  # fmt: skip
    d = x.ndim - 2
    for i, n in enumerate(x.shape[1:-1]):
        if size is None:
            factor = each(scale_factor, d)[i]
            out, scale = math.floor(n * factor), 1 / factor
        else:
            out = each(size, d)[i]
            scale = n / out
        corners = bool(align_corners)
        line = functools.partial(_line, out=out, scale=scale, mode=mode, corners=corners)
        x = _along(x, i + 1, line, out)
    return x


def _along(x: Array, axis: int, function: Callable[[Array], Array], out: int) -> Array:
    """``function`` of every line along ``axis``; ``out`` is how long it makes them."""
    lines = np.moveaxis(x, axis, -1)
    flat = [function(line) for line in lines.reshape(-1, lines.shape[-1])]
    return np.moveaxis(np.array(flat).reshape(*lines.shape[:-1], out), -1, axis)


def _resize_samples(draw: Draw) -> Iterator[Sample]:
    for mode in ("nearest", "nearest-exact", "linear"):
        yield Sample(draw(2, 4, 5, 2), 3, mode=mode)
        yield Sample(draw(1, 4, 5, 2), (9, 2), mode=mode)
        yield Sample(draw(2, 5, 1), scale_factor=1.7, mode=mode)
        yield Sample(draw(1, 2, 3, 2, 1), scale_factor=(2, 1.5, 0.5), mode=mode)
        yield Sample(draw(1, 1, 1, 1), 1, mode=mode)
        yield Sample(draw(0, 2, 3, 1), 2, mode=mode)
    yield Sample(draw(1, 3, 4, 2), (5, 6), mode="bilinear", align_corners=True)
    yield Sample(draw(1, 3, 4, 2), (1, 2), mode="linear", align_corners=True)
    yield Sample(draw(1, 3, 2, 2, 1), (2, 3, 4), mode="trilinear", align_corners=False)


def _map_samples(draw: Draw, backward: bool = False) -> Iterator[Sample]:
    for n, c, maps in (
        ((2, 5), 3, (AxisMap("nearest", 5, 7, (5 / 7,)),)),
        ((2, 5, 4), 2, (AxisMap("linear", 5, 3, (5 / 3,)), AxisMap("corners", 4, 7))),
        ((1, 5, 4), 2, (AxisMap("mean", 5, 3), AxisMap("nearest-exact", 4, 9, (4 / 9,)))),
        ((1, 5, 4), 1, (AxisMap("bins", 5, 6, (2,)), AxisMap("windows", 4, 6, (2, 1, 3, 1)))),
        ((1, 3, 2, 3), 1, (AxisMap("mean", 3, 3), AxisMap("mean", 2, 1), AxisMap("mean", 3, 5))),
        ((0, 3), 2, (AxisMap("mean", 3, 2),)),
        ((1, 1), 1, (AxisMap("nearest", 1, 1, (1.0,)),)),
        ((2, 3), 2, (AxisMap("linear", 3, 3, (0.9,)),)),  # a length that stays is left as it is
    ):
        shape = (n[0], *(m.out for m in maps), c) if backward else (*n, c)
        yield Sample(draw(*shape), maps=maps)


def _mapped(m: AxisMap, values: Array) -> Array:
    if m.kind in ("nearest", "nearest-exact"):
        return _line(values, m.out, m.numbers[0], m.kind, False)
    if m.kind in ("linear", "corners"):
        scale = 1.0 if m.n == m.out else (*m.numbers, 1.0)[0]
        return _line(values, m.out, scale, "linear", m.kind == "corners")
    if m.kind == "windows":
        kernel, stride, dilation, before = m.numbers
        found = []
        for i in range(m.out // int(kernel)):
            at = [int(i * stride - before + t * dilation) for t in range(int(kernel))]
            real = [j for j in at if 0 <= j < m.n]
            found += [j if j in real else real[0] for j in at]
        return values[found]
    longest = int((*m.numbers, 1)[0])
    count = m.out // longest
    bins = [
        list(range(math.floor(i * m.n / count), math.ceil((i + 1) * m.n / count)))
        for i in range(count)
    ]
    if m.kind == "mean":
        return np.array([values[b].mean() for b in bins])
    return values[[j for b in bins for j in (b + [b[0]] * longest)[:longest]]]


def _resample_reference(x: Array, maps: Any) -> Array:
    for axis, m in enumerate(maps, 1):
        x = _along(x, axis, functools.partial(_mapped, m), m.out)
    return x


def _resample_grad_reference(g: Array, maps: Any) -> Array:
    for axis, m in enumerate(maps, 1):
        matrix = np.array([_mapped(m, unit) for unit in np.eye(m.n)])  # (n, out)
        g = np.moveaxis(np.tensordot(g, matrix, (axis, 1)), -1, axis)
    return g


RESIZED = np.ones((1, 4, 4, 2))


def _resize_refused(error: type[Exception], message: str, x: Any, *a: Any, **how: Any) -> Refusal:
    return Refusal(error, f"^resize: {message}", x, *a, **how)


ROWS = (
    OpRow("conv1d", ops.conv1d, _conv1d, _conv_reference, (0, 1, 2), refusals=_conv_refusals(1)),
    OpRow("conv3d", ops.conv3d, _conv3d, _conv_reference, (0, 1, 2), refusals=_conv_refusals(3)),
    *(
        OpRow(f"conv_transpose{d}d", getattr(ops, f"conv_transpose{d}d"), _transposed_samples(d),
              _transposed, (0, 1, 2), refusals=_transposed_refusals(d))
        for d in (1, 2, 3)
    ),
    OpRow("resample", ops.resample, _map_samples, _resample_reference, (0,)),
    OpRow("resample_grad", ops.resample_grad, lambda draw: _map_samples(draw, backward=True),
          _resample_grad_reference, (0,)),
    OpRow(
        "resize", ops.resize, _resize_samples, _resize_reference, (0,),
        refusals=(
            _resize_refused(InputError, "expected either size or scale_factor; got neither",
                            RESIZED),
            _resize_refused(InputError, "expected either size or .* both, size=2", RESIZED, 2,
                            scale_factor=2),
            _resize_refused(InputError, "size expected a positive integer or 2", RESIZED, 0),
            _resize_refused(InputError, "size expected a positive integer", RESIZED, (1, 2, 3)),
            _resize_refused(InputError, "scale_factor expected a positive number or 2", RESIZED,
                            scale_factor=-1.0),
            _resize_refused(InputError, "scale_factor expected a positive number", RESIZED,
                            scale_factor="twice"),
            _resize_refused(InputError, r"scale_factor expected .* gives \(0.4, 0.4\)",
                            RESIZED, scale_factor=0.1),
            *(_resize_refused(InputError, "scale_factor expected .*from 1 to 2147483647", RESIZED,
                              scale_factor=factor) for factor in (1e30, float("inf"))),
            _resize_refused(InputError, "mode expected one of", RESIZED, 2, mode={}),
            _resize_refused(InputError, "mode expected one of .*'bilinear' for 2 axes; got 'cubic'",
                            RESIZED, 2, mode="cubic"),
            _resize_refused(InputError, "mode expected one of", RESIZED, 2, mode="trilinear"),
            _resize_refused(InputError, "align_corners expected None for mode 'nearest'", RESIZED,
                            2, align_corners=False),
            _resize_refused(InputError, "align_corners expected True or False", RESIZED, 2,
                            mode="linear", align_corners="yes"),
            _resize_refused(ShapeError, "x expected a batch of images", RESIZED[0, 0], 2),
            _resize_refused(ShapeError, "x expected .* not empty ones", RESIZED[:, :0], 2),
            _resize_refused(DTypeError, "x expected a floating", RESIZED.astype(int), 2),
            _resize_refused(DTypeError, "x expected a Tensor; got ndarray", Raw(RESIZED), 2),
        ),
    ),
)  # fmt: skip
