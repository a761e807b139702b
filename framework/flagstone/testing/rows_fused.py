"""Rows of the op table: the fused forms, held to the reference of their op and the activation's."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from flagstone.fusion import FORMS
from flagstone.ops.fused import FUSED, conv_max_pool_relu
from flagstone.testing import rows_axis_norm, rows_elementwise, rows_learning, rows_window
from flagstone.testing.op_row import Array, Draw, OpRow, Sample
from flagstone.testing.rows_window import CONVOLUTIONS

ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "relu": lambda x: np.where(x > 0, x, np.where(np.isnan(x), x, 0.0)),
    "sigmoid": lambda x: 0.5 + 0.5 * np.tanh(0.5 * x),
    "tanh": np.tanh,
}
FEW = (
    0,
    2,
    3,
    6,
    8,
    9,
)  # of the convolutions: strides, groups, depthwise, one tap, one value, none


def _convolutions(draw: Draw) -> Iterator[Sample]:
    for i in FEW:
        x, w, stride, padding, dilation, groups = CONVOLUTIONS[i]
        how = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        yield Sample(draw(*x), draw(*w), draw(w[0]) if i % 4 < 3 else None, **how)


def _sums(draw: Draw) -> Iterator[Sample]:
    for a, b in (((2, 3), (2, 3)), ((2, 3, 4), (4,)), ((), (2,)), ((), ()), ((0, 3), (3,))):
        yield Sample(draw(*a), draw(*b))


def _of_size(samples: Callable[[Draw], Iterable[Sample]], large: bool) -> Any:
    """Those with many values, or the others: of many some lie where the activation has a kink."""
    return lambda draw: (s for s in samples(draw) if (s.arrays[0].size > 1000) == large)


_AXIS_NORMS = rows_axis_norm.axis_norms, rows_axis_norm.axis_rms_norms
SAMPLES: Mapping[str, Callable[[Draw], Iterable[Sample]]] = {
    "conv_relu": _convolutions,
    "add_relu": _sums,
    "axis_norm_relu": _of_size(_AXIS_NORMS[0], False),
    "axis_rms_norm_relu": _of_size(_AXIS_NORMS[1], False),
}
"""Where those of the op's own row are too many, or take numbers."""
VALUES: Mapping[str, Callable[[Draw], Iterable[Sample]]] = {
    "axis_norm_relu": _of_size(_AXIS_NORMS[0], True),
    "axis_rms_norm_relu": _of_size(_AXIS_NORMS[1], True),
}
"""Those whose gradients are not looked at."""

_PARTS = {
    row.name: row
    for row in itertools.chain(
        rows_axis_norm.ROWS, rows_learning.ROWS, rows_window.ROWS, rows_elementwise.ROWS
    )
}


def _row(name: str, first: str, then: str) -> OpRow:
    part, activated = _PARTS[first], ACTIVATIONS[then]

    def reference(*arrays: Any, **static: Any) -> Any:
        result = part.reference(*arrays, **static)
        if isinstance(result, tuple):
            return activated(result[0]), *result[1:]
        return activated(result)

    refusals = tuple(r for r in part.refusals if "Tensor" not in r.message)  # those name the form
    return OpRow(
        name, FUSED[name], SAMPLES.get(name, part.samples), reference, part.differentiable,
        VALUES.get(name, lambda _: ()) if name in SAMPLES else part.value_samples, refusals,
        never_empty=part.never_empty, tolerance=part.tolerance,
    )  # fmt: skip


def _pooled(draw: Draw) -> Iterator[Sample]:
    for i, (x, w, how, pool) in enumerate(_POOLED):
        bias = draw(w[0]) if i % 3 else None
        yield Sample(draw(*x), draw(*w), bias, **dict(zip(_NAMES, (*how, *pool), strict=True)))


_NAMES = (
    "stride", "padding", "dilation", "groups", "pool_kernel", "pool_stride", "pool_padding",
)  # fmt: skip
_SAME = (1, 1), ((1, 1), (1, 1)), (1, 1), 1
_NONE = (1, 1), ((0, 0), (0, 0)), (1, 1), 1
_HALF = (2, 2), (2, 2), ((0, 0), (0, 0))
_OUT = (2, 2), (2, 2), ((0, 1), (0, 1))  # the last windows stick out
_POOLED: Sequence[tuple[Any, Any, Any, Any]] = (  # widths alike: a kernel may be compiled for each
    ((3, 6, 6, 1), (20, 3, 3, 1), _SAME, _HALF),
    ((2, 7, 6, 1), (20, 3, 3, 1), _SAME, _OUT),
    ((1, 8, 12, 2), (20, 3, 2, 2), ((1, 2), ((1, 1), (0, 1)), (2, 1), 1), _HALF),
    ((1, 9, 6, 32), (48, 3, 3, 32), _SAME, _OUT),
    ((11, 7, 7, 32), (32, 3, 3, 32), _SAME, _OUT),  # tiles
    ((11, 7, 7, 32), (32, 3, 3, 32), _SAME, _HALF),
    ((1, 6, 5, 6), (4, 3, 3, 3), ((2, 1), ((1, 0), (0, 2)), (1, 1), 2), _OUT),
    ((2, 5, 4, 6), (4, 3, 3, 3), ((1, 1), ((1, 1), (1, 1)), (1, 1), 2),
     ((3, 2), (2, 1), ((1, 0), (0, 1)))),
    ((2, 7, 4), (4, 3, 2), ((2,), ((1, 1),), (1,), 2), ((2,), (1,), ((1, 0),))),
    ((1, 1, 1, 1), (1, 1, 1, 1), _NONE, ((1, 1), (1, 1), ((0, 0), (0, 0)))),
    ((0, 4, 4, 3), (2, 3, 3, 3), _SAME, _HALF),
)  # fmt: skip


def _pooled_reference(
    x: Array, w: Array, b: Any, *, pool_kernel: Any, pool_stride: Any, pool_padding: Any, **how: Any
) -> Array:
    y = _PARTS["conv"].reference(x, w, b, **how)
    pooled = _PARTS["max_pool"].reference(
        y, kernel=pool_kernel, stride=pool_stride, padding=pool_padding
    )
    return ACTIVATIONS["relu"](pooled[0])


ROWS = (
    *(_row(name, *parts) for name, parts in FORMS.items()),
    OpRow(
        "conv_max_pool_relu", conv_max_pool_relu, _pooled, _pooled_reference,
        tolerance=_PARTS["conv"].tolerance,
    ),
)  # fmt: skip
