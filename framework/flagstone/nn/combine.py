"""Layers whose branches run side by side on one input."""

from __future__ import annotations

from collections.abc import Iterator

from flagstone import ops
from flagstone.errors import InputError, ShapeError
from flagstone.nn.checks import integer
from flagstone.nn.fused import added, fuses
from flagstone.nn.layer import Layer, require_tensor
from flagstone.nn.parameter import Parameter
from flagstone.tensors import Tensor


class Identity(Layer):
    """The input, as it is."""

    def forward(self, x: Tensor) -> Tensor:
        return require_tensor("Identity", x)


class Residual(Layer):
    """``shortcut(x) + inner(x)`` (He et al., "Deep residual learning", CVPR 2016, eq. 1 and 2).

    Args:
        inner: the layer that learns the difference.
        shortcut: how ``x`` gets around it; as it is by default. It is a projection where ``inner``
            changes the shape.

    Raises:
        InputError: an argument is no layer.
        ShapeError: the two outputs differ in shape.
    """

    def __init__(self, inner: Layer, shortcut: Layer | None = None) -> None:
        self.inner = _layer("Residual: inner", inner)
        self.shortcut = None if shortcut is None else _layer("Residual: shortcut", shortcut)

    @fuses("add")
    def forward(self, x: Tensor, then: str | None = None) -> Tensor:
        require_tensor("Residual", x)
        around = x if self.shortcut is None else self.shortcut(x)
        return _sum("Residual", [around, self.inner(x)], then)


class _Branches(Layer):
    """Layers that all take the same input; they are named ``"0"``, ``"1"``, ..."""

    def __init__(self, *branches: Layer) -> None:
        name = type(self).__name__
        if not branches:
            raise InputError(f"{name}: expected at least one Layer; got none")
        self.branches = [_layer(f"{name}: argument {i}", b) for i, b in enumerate(branches)]

    def parts(self) -> Iterator[tuple[str, Parameter | Layer]]:
        return ((str(i), branch) for i, branch in enumerate(self.branches))

    def _outputs(self, x: Tensor) -> list[Tensor]:
        require_tensor(type(self).__name__, x)
        return [branch(x) for branch in self.branches]


class Add(_Branches):
    """The sum of what several layers make of one input.

    Args:
        branches: the layers; :class:`Identity` passes the input on.

    Raises:
        InputError: there is none, or an argument is no layer.
        ShapeError: their outputs differ in shape.
    """

    def forward(self, x: Tensor) -> Tensor:
        return _sum("Add", self._outputs(x), None)


class Concat(_Branches):
    """What several layers make of one input, one after another along an axis.

    Args:
        branches: the layers; :class:`Identity` passes the input on.
        axis: by default the last, which is that of channels.

    Raises:
        InputError: there is no layer, an argument is none, or the axis does not exist.
        ShapeError: their outputs differ in another axis.
    """

    def __init__(self, *branches: Layer, axis: int = -1) -> None:
        super().__init__(*branches)
        integer("Concat", axis=axis)
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = ops.concatenate(*self._outputs(x), axis=self.axis)
        return y

    def describe(self) -> str:
        return f"axis={self.axis}"


def _layer(what: str, given: object) -> Layer:
    if not isinstance(given, Layer):
        raise InputError(f"{what} expected a Layer; got {type(given).__name__}")
    return given


def _sum(name: str, outputs: list[Tensor], then: str | None) -> Tensor:
    """The sum of tensors of one shape, then activated; broadcasting would hide a mistake."""
    total = outputs[0]
    for y in outputs[1:]:
        if y.shape != total.shape:
            shapes = " and ".join(str(out.shape) for out in outputs)
            raise ShapeError(f"{name}: expected branches that give one shape; got {shapes}")
        total = total + y if then is None else added(total, y, then)
    return total
