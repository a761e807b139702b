"""How layers hand their backend the fused forms that it claims; ``flagstone/fusion.py`` lists them.

A layer that may do the activation after it marks its ``forward`` with :func:`fuses`; that takes the
activation's name as ``then``. One that is an activation does so with :func:`activates`. A layer
whose ``forward`` is another function, in a subclass or on the object, bears no mark and is called
as ever. So nothing is stored: names of parameters, shared layers, and layers that are looked at
stay as they are. Only the activation layer of a pair is not called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

from flagstone import ops
from flagstone.fusion import FORM_OF
from flagstone.nn.layer import Layer
from flagstone.ops.fused import FUSED
from flagstone.tape import state
from flagstone.tensors import Tensor

F = TypeVar("F", bound=Callable[..., Any])
Then: TypeAlias = str | Callable[..., Tensor]
"""What a layer does besides its op: an activation's name, or a function called in its op's place,
with the same arguments."""


def fuses(op: str) -> Callable[[F], F]:
    """Mark a ``forward(x, then=None)`` that is one call of ``op``, or with ``then`` of its form."""

    def mark(forward: F) -> F:
        forward.fuses = op  # type: ignore[attr-defined]  # a function takes attributes
        return forward

    return mark


def activates(op: str) -> Callable[[F], F]:
    """Mark a ``forward(x)`` that is one call of the activation ``op``."""

    def mark(forward: F) -> F:
        forward.activates = op  # type: ignore[attr-defined]  # a function takes attributes
        return forward

    return mark


def added(a: Tensor, b: Tensor, then: str | None) -> Tensor:
    """``a + b``, and then that activation."""
    y: Tensor
    if then is None:
        y = ops.add(a, b)
    elif (form := FORM_OF.get(("add", then), "")) in a.backend.kernels:
        y = FUSED[form](a, b)
    else:
        y = getattr(ops, then)(ops.add(a, b))
    return y


def chain(layers: Sequence[Layer], x: Any) -> Any:
    """What the layers make of ``x`` one after another, in the fused forms that its backend claims.

    An activation between two layers goes to the pooling behind it rather than to what is before.
    Where no gradients are wanted, both go to a convolution before them.
    """
    i, count = 0, len(layers)
    while i < count:
        layer, i = layers[i], i + 1
        if i + 1 < count and (pooling := _predicts(layer, layers[i : i + 2], x)):
            x, i = layer(x, pooling.behind_conv), i + 2
            continue
        if i < count:
            after = layers[i]
            if (then := _claimed(layer, after, x)) and not (
                i + 1 < count and _pools(after, layers[i + 1], x)
            ):
                x, i = layer(x, then), i + 1
                continue
            if then := _pools(layer, after, x):
                x, i = after(x, then), i + 1
                continue
        x = layer(x)
    return x


def _claimed(layer: Layer, activation: Layer, x: Any) -> str | None:
    """The activation's name, if the backend of ``x`` claims it after the layer's op."""
    then: str | None = getattr(activation.forward, "activates", None)
    form = then and FORM_OF.get((getattr(layer.forward, "fuses", ""), then))
    return then if form and isinstance(x, Tensor) and form in x.backend.kernels else None


def _predicts(layer: Layer, after: Sequence[Layer], x: Any) -> Any:
    """The max pooling of the two layers after a convolution, if the other is ReLU, no gradients are
    wanted and the backend of ``x`` claims the three."""
    if state.grad_enabled or getattr(layer.forward, "fuses", "") != "conv":
        return None
    for pooling, other in (after, after[::-1]):
        if (
            getattr(pooling.forward, "fuses", "") == "max_pool"
            and getattr(other.forward, "activates", "") == "relu"
            and isinstance(x, Tensor)
            and "conv_max_pool_relu" in x.backend.kernels
        ):
            return pooling
    return None


def _pools(activation: Layer, layer: Layer, x: Any) -> str | None:
    """The same for an activation before max pooling, with which it commutes."""
    if getattr(layer.forward, "fuses", "") != "max_pool":
        return None
    return _claimed(layer, activation, x)
