"""What a layer consists of: shapes, parameters and multiply-adds, counted by running it once."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flagstone.errors import InputError
from flagstone.fusion import FORMS
from flagstone.nn.checks import require
from flagstone.nn.layer import Layer
from flagstone.ops.checks import DTYPES
from flagstone.tape import no_grad, observe
from flagstone.tensors import Tensor

Shape = tuple[int, ...]


@dataclass(frozen=True)
class SummaryRow:
    """One layer.

    Attributes:
        path: its dotted name; "" for the outermost.
        kind: its class.
        output_shape: of one example, without the batch axis; the first output's where there are
            several, the last call's where it was called more than once, ``None`` if never.
        parameters: how many numbers training changes that are this layer's own; what several layers
            share counts for the first. Frozen ones count too.
        multiply_adds: of matrix products and convolutions per example, in this layer's own ops.
    """

    path: str
    kind: str
    output_shape: Shape | None
    parameters: int
    multiply_adds: int


@dataclass(frozen=True)
class Summary:
    """What :func:`summary` found; ``str`` of it is a table."""

    rows: tuple[SummaryRow, ...]

    @property
    def parameters(self) -> int:
        """Of all layers."""
        return sum(row.parameters for row in self.rows)

    @property
    def multiply_adds(self) -> int:
        """Of all layers, per example."""
        return sum(row.multiply_adds for row in self.rows)

    def __str__(self) -> str:
        lines = [("layer", "kind", "output", "parameters", "multiply-adds")]
        for row in self.rows:
            output = "-" if row.output_shape is None else str(row.output_shape)
            lines.append(
                (row.path, row.kind, output, f"{row.parameters:,}", f"{row.multiply_adds:,}")
            )
        lines.append(("total", "", "", f"{self.parameters:,}", f"{self.multiply_adds:,}"))
        widths = [max(len(line[i]) for line in lines) for i in range(5)]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if i < 3 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )


def summary(layer: Layer, *input_shapes: Shape, dtype: str | None = None) -> Summary:
    """Run a copy of ``layer`` in evaluation mode on one example of zeros, and count.

    Multiply-adds are those of ``linear``, matrix products and convolutions (padding included) in
    the forward pass; additions, activations and normalisations are not counted.

    Args:
        layer: any layer; it is left as it is, and need not be initialised.
        input_shapes: the shape of one example, without the batch axis, for each input.
        dtype: of the inputs; the layer's by default, ``"int64"`` for numbers to embed.

    Raises:
        InputError: ``layer`` is no layer, a shape is not of integers >= 0, there are more or fewer
            of them than inputs, or there is no such dtype.
        ShapeError: the layer does not take such inputs.

    Example:
        >>> print(summary(Sequential(Linear(2, 10), Sigmoid(), Linear(10, 2)), (2,)))
        layer  kind        output  parameters  multiply-adds
               Sequential  (2,)             0              0
        0      Linear      (10,)           30             20
        1      Sigmoid     (10,)            0              0
        2      Linear      (2,)            22             20
        total                              52             40
    """
    if not isinstance(layer, Layer):
        raise InputError(f"summary: layer expected a Layer; got {type(layer).__name__}")
    _check_shapes(layer, input_shapes)
    known = dtype is None or (isinstance(dtype, str) and dtype in DTYPES)
    require("summary", "dtype", dtype, known, f"None or one of {', '.join(DTYPES)}")
    run = copy.deepcopy(layer)
    run.own_parameters()
    run.eval()
    watch = _Watch(run)
    backend = run.backend
    zeros = [np.zeros((1, *shape), dtype or run.dtype_name) for shape in input_shapes]
    with no_grad(), observe(watch.count):
        run(*[Tensor(backend.asarray(x), backend) for x in zeros])
    return Summary(tuple(watch.rows()))


class _Watch:
    """The layer being run at the moment, and what each has done; wraps every ``forward``."""

    def __init__(self, outermost: Layer) -> None:
        self.layers = list(outermost.named_layers())
        self.outputs: dict[int, Shape] = {}
        self.work = {id(layer): 0 for _, layer in self.layers}
        self.running: list[int] = []
        for _, layer in self.layers:
            vars(layer)["forward"] = self._watched(layer)

    def _watched(self, layer: Layer) -> Callable[..., Any]:
        forward = layer.forward

        def watched(*inputs: Any) -> Any:
            self.running.append(id(layer))
            try:
                result = forward(*inputs)
            finally:
                self.running.pop()
            first = result
            while isinstance(first, (tuple, list)) and first:
                first = first[0]
            if isinstance(first, Tensor):
                self.outputs[id(layer)] = first.shape[1:]
            return result

        vars(watched)["__wrapped__"] = forward  # for its signature; the marks would not hold
        return watched

    def count(self, op: Any, inputs: Sequence[Any], static: Any, outputs: Sequence[Tensor]) -> None:
        """The observer of op calls."""
        work = MULTIPLY_ADDS.get(op.name)
        if work is not None and self.running:
            self.work[self.running[-1]] += work(inputs, outputs[0])

    def rows(self) -> list[SummaryRow]:
        seen: set[int] = set()
        rows = []
        for path, layer in self.layers:
            own = [p for _, p in layer.parts() if isinstance(p, Tensor) and p.trainable]
            new = [p for p in own if id(p) not in seen]
            seen.update(map(id, new))
            rows.append(
                SummaryRow(
                    path,
                    type(layer).__name__,
                    self.outputs.get(id(layer)),
                    sum(p.size for p in {id(p): p for p in new}.values()),
                    self.work[id(layer)],
                )
            )
        return rows


def _check_shapes(layer: Layer, shapes: tuple[Any, ...]) -> None:
    for shape in shapes or (None,):
        fits = isinstance(shape, (tuple, list)) and all(
            isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in shape
        )
        if not fits:
            raise InputError(
                "summary: input_shapes expected the shape of one example, such as (28, 28, 1), "
                f"for each input; got {shape!r}"
            )
    signature = inspect.signature(layer.forward)
    try:
        signature.bind(*shapes)
    except TypeError:
        raise InputError(
            f"summary: input_shapes expected one for each input of {type(layer).__name__}, "
            f"({', '.join(signature.parameters)}); got {len(shapes)}: {', '.join(map(str, shapes))}"
        ) from None


def _of_conv(inputs: Sequence[Any], y: Tensor) -> int:
    w = inputs[1]  # (out, *kernel, in / groups)
    return y.size * int(math.prod(w.shape[1:]))


def _of_conv_input_grad(inputs: Sequence[Any], _: Tensor) -> int:
    g, w = inputs[0], inputs[1]  # a transposed convolution: every value of g meets one filter
    return int(g.size * math.prod(w.shape[1:]))


def _of_matmul(inputs: Sequence[Any], y: Tensor) -> int:
    return y.size * int(inputs[0].shape[-1])


MULTIPLY_ADDS: dict[str, Callable[[Sequence[Any], Tensor], int]] = {
    "linear": _of_matmul,
    "batched_matmul": _of_matmul,
    "conv": _of_conv,
    "conv_input_grad": _of_conv_input_grad,
}
MULTIPLY_ADDS |= {
    form: MULTIPLY_ADDS[first] for form, (first, _) in FORMS.items() if first in MULTIPLY_ADDS
}  # those of fusion.PREDICTING are not met: layers that are watched stay as they are
"""Op -> multiply-adds of one call, from its inputs and first output."""
