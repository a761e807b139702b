"""Rows of the op table: convolution, pooling as ops with resolved arguments, conv2d."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from flagstone import ops
from flagstone.errors import DTypeError, InputError, ShapeError
from flagstone.testing import references
from flagstone.testing.op_row import Array, Draw, OpRow, Raw, Refusal, Sample

# (x, w, stride, padding, dilation, groups), for one, two and three spatial axes
CONVOLUTIONS: tuple[tuple[Any, ...], ...] = (
    ((2, 5, 4, 3), (4, 3, 2, 3), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    ((2, 5, 4, 1), (3, 3, 3, 1), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    ((1, 6, 5, 6), (4, 3, 3, 3), (2, 1), ((1, 0), (0, 2)), (1, 1), 2),
    ((2, 4, 4, 3), (3, 2, 2, 1), (1, 1), ((0, 1), (0, 1)), (1, 1), 3),
    ((1, 4, 4, 2), (4, 3, 3, 1), (2, 2), ((1, 1), (1, 1)), (1, 1), 2),
    ((1, 7, 6, 2), (2, 3, 2, 2), (1, 2), ((2, 2), (1, 1)), (2, 3), 1),
    ((2, 3, 3, 5), (4, 1, 1, 5), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    ((1, 4, 5, 4), (6, 1, 1, 2), (2, 3), ((0, 0), (0, 0)), (1, 1), 2),
    ((1, 1, 1, 1), (1, 1, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    ((0, 4, 4, 3), (2, 3, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    ((0, 4, 4, 3), (3, 3, 3, 1), (1, 1), ((1, 1), (1, 1)), (1, 1), 3),
    ((2, 7, 3), (2, 3, 3), (2,), ((1, 1),), (1,), 1),
    ((1, 3, 3, 2, 2), (2, 2, 2, 2, 2), (1, 1, 1), ((0, 1), (1, 0), (0, 0)), (1, 1, 1), 1),
    ((1, 5, 5, 17), (9, 3, 3, 17), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
)


def _how(stride: Any, padding: Any, dilation: Any, groups: int) -> dict[str, Any]:
    return {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


def _out(x: Any, w: Any, stride: Any, padding: Any, dilation: Any) -> tuple[int, ...]:
    return tuple(
        (n + lo + hi - d * (k - 1) - 1) // s + 1
        for n, k, s, (lo, hi), d in zip(x[1:-1], w[1:-1], stride, padding, dilation, strict=True)
    )


def _conv(draw: Draw) -> Iterator[Sample]:
    for i, (x, w, *how) in enumerate(CONVOLUTIONS):
        bias = draw(w[0]) if i % 2 == 0 else None
        yield Sample(draw(*x), draw(*w), bias, **_how(*how))


def _conv_input_grad(draw: Draw) -> Iterator[Sample]:
    for x, w, *how in CONVOLUTIONS[:-1]:
        g = draw(x[0], *_out(x, w, *how[:3]), w[0])
        yield Sample(g, draw(*w), size=x[1:-1], **_how(*how))


def _conv_weight_grad(draw: Draw) -> Iterator[Sample]:
    for x, w, *how in CONVOLUTIONS[:-1]:
        g = draw(x[0], *_out(x, w, *how[:3]), w[0])
        yield Sample(g, draw(*x), kernel=w[1:-1], **_how(*how))


def _conv2d(draw: Draw) -> Iterator[Sample]:
    for x, w, how in (
        ((2, 5, 5, 3), (2, 3, 3, 3), {}),
        ((2, 5, 6, 3), (2, 3, 3, 3), {"padding": 1, "stride": 2}),
        ((2, 5, 6, 2), (2, 3, 2, 2), {"padding": (2, 1)}),
        ((2, 5, 6, 2), (2, 3, 2, 2), {"padding": "same"}),
        ((2, 5, 6, 2), (2, 3, 4, 2), {"padding": "same", "stride": (2, 3)}),
        ((1, 6, 6, 2), (2, 3, 3, 2), {"padding": "same", "dilation": 2}),
        ((2, 5, 6, 2), (2, 3, 2, 2), {"padding": "valid", "stride": 2}),
        ((1, 4, 5, 2), (2, 3, 2, 2), {"padding": ((0, 2), (1, 0))}),
        ((1, 6, 7, 1), (1, 3, 3, 1), {"dilation": (2, 3)}),
        ((1, 4, 4, 4), (6, 2, 2, 2), {"groups": 2}),
        ((1, 4, 4, 3), (3, 3, 3, 1), {"groups": 3, "padding": "same", "stride": 2}),
        ((1, 1, 1, 1), (1, 1, 1, 1), {}),
        ((0, 3, 3, 1), (1, 2, 2, 1), {}),
    ):
        yield Sample(draw(*x), draw(*w), draw(w[0]), **how)
    yield Sample(draw(1, 3, 3, 2), draw(1, 2, 2, 2), None)


def _conv2d_reference(x: Array, w: Array, b: Any, **how: Any) -> Array:
    stride, dilation = _two(how.get("stride", 1)), _two(how.get("dilation", 1))
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, w.shape[1:3], strict=True)]
    padding = how.get("padding", 0)
    if padding == "valid":
        padding = 0
    if padding == "same":  # ceil(n / stride) windows, the odd zero after
        missing = [
            max((-(-n // s) - 1) * s + r - n, 0)
            for n, s, r in zip(x.shape[1:3], stride, reach, strict=True)
        ]
        padding = tuple((m // 2, m - m // 2) for m in missing)
    pairs = tuple(p if isinstance(p, tuple) else (p, p) for p in _two(padding))
    return references.conv(
        x, w, b, stride=stride, padding=pairs, dilation=dilation, groups=how.get("groups", 1)
    )


def _two(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value, value)


# (x, kernel, stride, padding)
POOLS: tuple[tuple[Any, ...], ...] = (
    ((2, 4, 6, 3), (2, 2), (2, 2), ((0, 0), (0, 0))),
    ((2, 5, 5, 2), (3, 2), (2, 1), ((1, 1), (0, 1))),
    ((1, 5, 4, 1), (3, 3), (1, 1), ((1, 1), (1, 1))),
    ((1, 5, 5, 2), (2, 2), (3, 3), ((0, 0), (0, 0))),
    ((0, 4, 4, 2), (2, 2), (2, 2), ((0, 0), (0, 0))),
    ((1, 1, 1, 1), (1, 1), (1, 1), ((0, 0), (0, 0))),
    ((2, 6, 3), (3,), (2,), ((1, 0),)),
    ((1, 3, 3, 2, 2), (2, 2, 1), (1, 2, 1), ((0, 1), (1, 0), (0, 0))),
)


def _pool_how(kernel: Any, stride: Any, padding: Any) -> dict[str, Any]:
    return {"kernel": kernel, "stride": stride, "padding": padding}


def _pooled(x: Any, kernel: Any, stride: Any, padding: Any) -> tuple[int, ...]:
    ones = (1,) * len(kernel)
    return _out(x, (0, *kernel, 0), stride, padding, ones)


def _max_pool(draw: Draw) -> Iterator[Sample]:
    for x, *how in POOLS:
        yield Sample(draw(*x), **_pool_how(*how))


def _max_pool_ties(draw: Draw) -> Iterator[Sample]:
    for x, *how in POOLS[:4]:
        yield Sample(draw.whole(*x, high=1), **_pool_how(*how))
    with_nan = draw(1, 4, 4, 2)
    with_nan[0, 1, 1, 0] = with_nan[0, 1, 2, 0] = np.nan
    with_nan[0, :, :, 1] = np.inf
    yield Sample(with_nan, **_pool_how((2, 2), (1, 1), ((0, 0), (0, 0))))
    yield Sample(draw(1, 17, 16, 1), **_pool_how((17, 16), (1, 1), ((0, 0), (0, 0))))


def _index(draw: Draw, x: Any, how: Any) -> Array:
    """Places as max pooling finds them, never in the padding."""
    return references.max_pool(np.asarray(draw(*x), float), **_pool_how(*how))[1]


def _max_pool_grad(draw: Draw) -> Iterator[Sample]:
    for x, *how in POOLS:
        g = draw(x[0], *_pooled(x, *how), x[-1])
        yield Sample(g, _index(draw, x, how), size=x[1:-1], **_pool_how(*how))


def _max_pool_pick(draw: Draw) -> Iterator[Sample]:
    for x, *how in POOLS:
        yield Sample(draw(*x), _index(draw, x, how), **_pool_how(*how))


def _avg_pool(draw: Draw) -> Iterator[Sample]:
    for x, *how in POOLS:
        for count_include_pad in (True, False):
            yield Sample(draw(*x), count_include_pad=count_include_pad, **_pool_how(*how))


def _avg_pool_grad(draw: Draw) -> Iterator[Sample]:
    for x, *how in POOLS:
        g = draw(x[0], *_pooled(x, *how), x[-1])
        for count in (True, False):
            yield Sample(g, size=x[1:-1], count_include_pad=count, **_pool_how(*how))


X, W = np.ones((1, 4, 4, 3)), np.ones((2, 3, 3, 3))


def _conv_refused(error: type[Exception], message: str, x: Any, w: Any, b: Any = None,
                  **how: Any) -> Refusal:  # fmt: skip
    return Refusal(error, f"^conv2d: {message}", x, w, b, **how)


ROWS = (
    OpRow("conv", ops.conv, _conv, references.conv, (0, 1, 2)),
    OpRow("conv_input_grad", ops.conv_input_grad, _conv_input_grad, references.conv_input_grad,
          (0, 1)),
    OpRow("conv_weight_bias_grad", ops.conv_weight_bias_grad, _conv_weight_grad,
          lambda g, x, **how: (references.conv_weight_grad(g, x, **how),
                               g.reshape(-1, g.shape[-1]).sum(0))),
    OpRow("conv_weight_grad", ops.conv_weight_grad, _conv_weight_grad,
          references.conv_weight_grad, (0, 1)),
    OpRow(
        "conv2d", ops.conv2d, _conv2d, _conv2d_reference, (0, 1, 2),
        refusals=(
            _conv_refused(ShapeError, r"weight expects 2 input channels; got x of shape "
                          r"\(1, 4, 4, 3\), whose last axis is 3", X, W[..., :2]),
            _conv_refused(ShapeError, r"weight expects 3 input channels; .*Channels come last "
                          r"here; if x has them second, pass x\.transpose\(0, 2, 3, 1\)$",
                          np.ones((1, 3, 4, 4)), W),
            _conv_refused(ShapeError, r"weight expects 6 input channels \(2 groups of 3\)", X, W,
                          groups=2),
            _conv_refused(ShapeError, "x expected 4 axes", X[0], W),
            _conv_refused(ShapeError, "weight expected 4 axes", X, W[0]),
            _conv_refused(ShapeError, r"weight expected at least one value; got shape "
                          r"\(2, 0, 3, 3\)", X, W[:, :0]),
            _conv_refused(ShapeError, "weight expected at least one value", X, W[:0]),
            _conv_refused(ShapeError, "x expected at least one value along every spatial axis; got "
                          r"size \(0, 4\)", X[:, :0], W, padding=2),
            _conv_refused(ShapeError, r"bias expected shape \(2,\); got \(3,\)", X, W, np.ones(3)),
            _conv_refused(ShapeError, "expected an input that the window fits into; got size "
                          r"\(4, 4\) for a window of \(5, 5\)$", X, np.ones((1, 5, 5, 3))),
            _conv_refused(ShapeError, r".*got size \(4, 4\) with padding \(\(1, 1\), \(0, 0\)\) "
                          r"for a window of \(7, 7\) \(kernel \(3, 3\), dilation \(3, 3\)\)$",
                          X, W, dilation=3, padding=(1, 0)),
            _conv_refused(InputError, "groups expected a positive divisor of 2", X, W, groups=3),
            _conv_refused(InputError, "groups expected a positive divisor", X, W, groups=0),
            _conv_refused(InputError, "stride expected a positive integer or 2", X, W, stride=0),
            _conv_refused(InputError, "stride expected", X, W, stride=(1, 1, 1)),
            _conv_refused(InputError, "dilation expected", X, W, dilation=1.5),
            _conv_refused(InputError, r"stride expected .*; got \(1\.0, 1\)", X, W,
                          stride=(1.0, 1)),
            _conv_refused(InputError, "stride expected .*; got {}", X, W, stride={}),
            _conv_refused(InputError, "stride expected integers below", X, W, stride=2**31),
            _conv_refused(InputError, "padding expected 'same', 'valid'", X, W, padding=-1),
            _conv_refused(InputError, "padding expected 'same', 'valid'", X, W, padding={}),
            _conv_refused(InputError, "padding expected 'same'", X, W, padding="full"),
            _conv_refused(InputError, "padding expected 'same'", X, W, padding=(1, 2, 3)),
            _conv_refused(DTypeError, "x expected a floating", X.astype(int), W),
            _conv_refused(DTypeError, "expected one dtype; got x float64, weight float32", X,
                          W.astype(np.float32)),
            _conv_refused(DTypeError, "weight expected a Tensor; got ndarray", X, Raw(W)),
            _conv_refused(DTypeError, "bias expected a Tensor; got int", X, W, 0),
        ),
    ),
    OpRow("max_pool", ops.max_pool, _max_pool, references.max_pool, (0,), _max_pool_ties),
    OpRow("max_pool_grad", ops.max_pool_grad, _max_pool_grad, references.max_pool_grad, (0,)),
    OpRow("max_pool_pick", ops.max_pool_pick, _max_pool_pick, references.max_pool_pick, (0,)),
    OpRow("avg_pool", ops.avg_pool, _avg_pool, references.avg_pool, (0,)),
    OpRow("avg_pool_grad", ops.avg_pool_grad, _avg_pool_grad, references.avg_pool_grad, (0,)),
)  # fmt: skip
