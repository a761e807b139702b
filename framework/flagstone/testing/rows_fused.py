"""Rows of the op table: the fused forms, held to the reference of their op and the activation's."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from flagstone.fusion import FORMS
from flagstone.ops.fused import FUSED
from flagstone.testing import rows_elementwise, rows_learning, rows_window
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


SAMPLES: Mapping[str, Callable[[Draw], Iterable[Sample]]] = {
    "conv_relu": _convolutions,
    "add_relu": _sums,
}
"""Where those of the op's own row are too many, or take numbers."""

_PARTS = {
    row.name: row
    for row in itertools.chain(rows_learning.ROWS, rows_window.ROWS, rows_elementwise.ROWS)
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
        part.value_samples if name not in SAMPLES else lambda _: (), refusals,
        never_empty=part.never_empty, tolerance=part.tolerance,
    )  # fmt: skip


ROWS = tuple(_row(name, *parts) for name, parts in FORMS.items())
