"""Rows of the op table: pooling by windows of one to three axes, by bins, and of whole images.

References go window after window, by the definition.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from flagstone import ops
from flagstone.errors import DTypeError, InputError, ShapeError
from flagstone.testing.op_row import Array, Draw, OpRow, Raw, Refusal, Sample


def each(value: Any, d: int) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,) * d


def pairs(value: Any, d: int) -> tuple[tuple[int, int], ...]:
    return tuple(p if isinstance(p, tuple) else (p, p) for p in each(value, d))


def _starts(n: int, reach: int, stride: int, lo: int, hi: int, ceil_mode: bool) -> list[int]:
    """Where windows start: those that fit into the padded axis, and with ``ceil_mode`` one that
    sticks out too, unless it starts in the padding at the end."""
    inside = list(range(-lo, n + hi - reach + 1, stride))
    last = inside[-1] + stride
    return [*inside, last] if ceil_mode and inside[-1] + reach < n + hi and last < n else inside


def _pool_reference(
    d: int, reduce: Callable[..., Any], averages: bool
) -> Callable[..., Array]:  # fmt: skip
    def reference(
        x: Array, kernel: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
        ceil_mode: bool = False, count_include_pad: bool = True,
    ) -> Array:  # fmt: skip
        k, a = each(kernel, d), each(dilation, d)
        s = k if stride is None else each(stride, d)
        if padding == "same":  # ceil(n / stride) windows, the odd zero after
            axes = zip(x.shape[1:-1], k, s, a, strict=True)
            short = [
                max((math.ceil(n / t) - 1) * t + r * (m - 1) + 1 - n, 0) for n, m, t, r in axes
            ]
            padding = tuple((m // 2, m - m // 2) for m in short)
        pads = pairs(padding, d)
        starts = [
            _starts(n, a[i] * (k[i] - 1) + 1, s[i], *pads[i], ceil_mode)
            for i, n in enumerate(x.shape[1:-1])
        ]
        y = np.zeros((len(x), *(len(s) for s in starts), x.shape[-1]))
        for place in np.ndindex(y.shape[1:-1]):
            spots = [[starts[i][p] + t * a[i] for t in range(k[i])] for i, p in enumerate(place)]
            real = [
                [j for j in at if 0 <= j < n] for at, n in zip(spots, x.shape[1:-1], strict=True)
            ]
            under = x[np.ix_(range(len(x)), *real, range(x.shape[-1]))]
            value = reduce(under, axis=tuple(range(1, d + 1)))
            if averages:
                counted = math.prod(
                    sum(-lo <= j < n + hi for j in at) if count_include_pad else len(r)
                    for at, r, n, (lo, hi) in zip(spots, real, x.shape[1:-1], pads, strict=True)
                )
                value = value / counted
            y[(slice(None), *place)] = value
        return y

    return reference


def _pool_samples(d: int, **more: Any) -> Callable[[Draw], Iterator[Sample]]:
    def samples(draw: Draw) -> Iterator[Sample]:
        size = (7, 6, 5)[:d]
        yield Sample(draw(2, *size, 2), kernel=2)
        yield Sample(draw(1, *size, 2), kernel=3, stride=2, padding=1)
        yield Sample(draw(1, *size, 1), kernel=(3, 2, 1)[:d], stride=(2, 3, 3)[:d], ceil_mode=True)
        yield Sample(draw(1, *size, 2), kernel=3, stride=3, padding=1, ceil_mode=True, **more)
        yield Sample(draw(1, *size, 1), kernel=2, stride=3, padding=((1, 0),) * d)
        yield Sample(draw(1, *size, 2), kernel=2, padding="same")
        yield Sample(draw(1, *size, 1), kernel=3, stride=2, padding="same")
        yield Sample(draw(0, *size, 1), kernel=2)
        yield Sample(draw(*(1,) * (d + 2)), kernel=1)
        if not more:
            yield Sample(draw(1, *size, 2), kernel=2, stride=1, padding=1, dilation=3)
            yield Sample(draw(1, *size, 2), kernel=2, stride=2, dilation=2, ceil_mode=True)

    return samples


def _pool_refusals(name: str, d: int) -> tuple[Refusal, ...]:
    x = np.ones((1, *(4,) * d, 2))

    def refused(error: type[Exception], message: str, x: Any, **how: Any) -> Refusal:
        return Refusal(error, f"^{name}: {message}", x, **how)

    dilated = (
        refused(InputError, "dilation expected a positive integer", x, kernel=2, dilation=0),
        refused(ShapeError, "expected an input that the window fits into", x, kernel=2, dilation=4),
        refused(InputError, "expected every window to hold a real value; the one from place -2 "
                "with kernel 2 and dilation 3 holds none of 1", x[(slice(None), *(slice(1),) * d)],
                kernel=2, dilation=3, padding=2),
    )  # fmt: skip
    counted = (
        refused(InputError, "count_include_pad expected True or False; got None", x, kernel=2,
                count_include_pad=None),
    )  # fmt: skip
    return (
        refused(ShapeError, f"x expected {d + 2} axes", x[0], kernel=2),
        refused(ShapeError, "expected an input that the window fits into", x, kernel=5),
        refused(InputError, "kernel expected a positive integer", x, kernel=0),
        refused(InputError, "stride expected a positive integer", x, kernel=2, stride=0),
        refused(InputError, "padding expected at most half of the kernel", x, kernel=2, padding=2),
        refused(InputError, "kernel expected a positive integer", x, kernel=(2,) * (d + 1)),
        refused(InputError, "padding expected 'same', 'valid'", x, kernel=2, padding="some"),
        refused(InputError, "stride expected a positive integer", x, kernel=2, stride={}),
        refused(InputError, "ceil_mode expected True or False; got 1", x, kernel=2, ceil_mode=1),
        refused(
            ShapeError,
            "x expected at least one value along every spatial axis",
            x[:, :0],
            kernel=2,
            padding=1,
        ),
        refused(DTypeError, "x expected a floating", x.astype(int), kernel=2),
        refused(DTypeError, "x expected a Tensor; got ndarray", Raw(x), kernel=2),
        *(dilated if name.startswith("max") else counted),
    )


def _adaptive(reduce: Callable[..., Any]) -> Callable[..., Array]:
    def reference(x: Array, size: Any) -> Array:
        d = x.ndim - 2
        out = [x.shape[i + 1] if m is None else m for i, m in enumerate(each(size, d))]
        y = np.zeros((len(x), *out, x.shape[-1]))
        for place in np.ndindex(*out):
            held = [
                slice(math.floor(i * n / m), math.ceil((i + 1) * n / m))
                for i, n, m in zip(place, x.shape[1:-1], out, strict=True)
            ]
            y[(slice(None), *place)] = reduce(x[(slice(None), *held)], axis=tuple(range(1, d + 1)))
        return y

    return reference


def _adaptive_samples(draw: Draw) -> Iterator[Sample]:
    yield Sample(draw(2, 7, 5, 2), size=(3, 4))
    yield Sample(draw(1, 6, 4, 2), size=(3, 2))
    yield Sample(draw(1, 6, 4, 2), size=(None, 3))
    yield Sample(draw(2, 5, 3), size=8)
    yield Sample(draw(1, 3, 4, 3, 1), size=2)
    yield Sample(draw(0, 3, 4, 2), size=2)
    yield Sample(draw(1, 1, 1, 1), size=1)


def _adaptive_refusals(name: str) -> tuple[Refusal, ...]:
    x = np.ones((1, 4, 4, 2))
    return (
        Refusal(InputError, f"^{name}: size expected a positive integer or 2", x, size=0),
        Refusal(InputError, f"^{name}: size expected a positive integer or 2", x, size=(1, 2, 3)),
        Refusal(ShapeError, f"^{name}: x expected a batch of images", x[0, 0], size=1),
        Refusal(ShapeError, f"^{name}: x expected .* not empty ones", x[:, :0], size=1),
        Refusal(DTypeError, f"^{name}: x expected a floating", x.astype(int), size=1),
    )


def _images(draw: Draw) -> Iterator[Sample]:
    yield Sample(draw(2, 4, 3, 2))
    yield Sample(draw(2, 5, 3), keepdims=True)
    yield Sample(draw(1, 2, 3, 2, 1))
    yield Sample(draw(0, 3, 2))
    yield Sample(draw(1, 1, 1, 1))


def _global_refusals(name: str) -> tuple[Refusal, ...]:
    x = np.ones((1, 4, 2))
    return (
        Refusal(ShapeError, f"^{name}: x expected a batch of images", x[0]),
        Refusal(ShapeError, f"^{name}: x expected .* not empty ones", x[:, :0]),
        Refusal(DTypeError, f"^{name}: x expected a floating", x.astype(int)),
        Refusal(DTypeError, f"^{name}: x expected a Tensor; got ndarray", Raw(x)),
    )


def _global(reduce: Callable[..., Any]) -> Callable[..., Array]:
    return lambda x, keepdims=False: np.asarray(
        reduce(x, axis=tuple(range(1, x.ndim - 1)), keepdims=keepdims)
    )


ROWS = (
    *(
        OpRow(f"max_pool{d}d", getattr(ops, f"max_pool{d}d"), _pool_samples(d),
              _pool_reference(d, np.max, averages=False), (0,),
              refusals=_pool_refusals(f"max_pool{d}d", d))
        for d in (1, 2, 3)
    ),
    *(
        OpRow(f"avg_pool{d}d", getattr(ops, f"avg_pool{d}d"),
              _pool_samples(d, count_include_pad=False),
              _pool_reference(d, np.sum, averages=True), (0,),
              refusals=_pool_refusals(f"avg_pool{d}d", d))
        for d in (1, 2, 3)
    ),
    OpRow("adaptive_avg_pool", ops.adaptive_avg_pool, _adaptive_samples, _adaptive(np.mean), (0,),
          refusals=_adaptive_refusals("adaptive_avg_pool")),
    OpRow("adaptive_max_pool", ops.adaptive_max_pool, _adaptive_samples, _adaptive(np.max), (0,),
          refusals=_adaptive_refusals("adaptive_max_pool")),
    OpRow("global_avg_pool", ops.global_avg_pool, _images, _global(np.mean), (0,),
          refusals=_global_refusals("global_avg_pool")),
    OpRow("global_max_pool", ops.global_max_pool, _images, _global(np.max), (0,),
          refusals=_global_refusals("global_max_pool")),
)  # fmt: skip
