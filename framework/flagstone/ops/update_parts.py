"""What the updates of flat parameters share: their checks, and how rate and weight decay enter.

Every update takes the rate ``lr`` and the factor ``scale`` of the gradient as arrays of shape ().
A ``scale`` of NaN leaves the step out: parameters, states and counters stay as they are, bit for
bit. In ``mixed-fp16`` that is what the scale is when a gradient overflowed
(``ops/loss_scale.py``). Updates without a gradient, which follow one, take it as ``factor``.

Two more arrays, (n,) like the parameters, are given where parameters differ: ``rates`` multiplies
``lr``, ``decays`` stands for ``weight_decay``. ``None`` for either means that they do not.

An array of another shape is a ``ShapeError``, one of another dtype than ``p``, or of one that is
not floating, a ``DTypeError``; both are raised before anything is written.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from flagstone.errors import ShapeError
from flagstone.ops.checks import alike, floating, is_floating, same_dtype
from flagstone.ops.door import Op


def scalars(op: str, p: Any, **given: Any) -> None:
    """All tensors given have the dtype of ``p`` and the shape ()."""
    same_dtype(op, p=p, **given)
    for name, t in given.items():
        if t is not None and t.shape != ():
            raise ShapeError(f"{op}: {name} expected shape (); got {t.shape}")


def flat_state(op: str, like: dict[str, Any], single: dict[str, Any]) -> None:
    """The state of an optimizer: arrays (n,) and scalars (), all of one floating dtype."""
    alike(op, **like)
    p = like["p"]
    floating(op, p=p)
    scalars(op, p, **single)
    if p.ndim != 1:
        raise ShapeError(f"{op}: p expected one axis, as flat parameters have; got {p.shape}")


def flat(op: Op, *single: str) -> Callable[..., None]:
    """Make :func:`flat_state` the check of ``op``, whose array arguments are flat but for those
    named ``single``; returns it, for ops that check more."""
    like = [name for name in op.arrays if name not in single]
    is_single = [name in single for name in op.arrays]

    def check(*inputs: Any, **_: Any) -> None:
        p = inputs[0].array
        shape, dtype = p.shape, p.dtype
        for x, alone in zip(inputs, is_single, strict=False):
            if x is not None:
                a = x.array
                if a.dtype is not dtype or a.shape != (() if alone else shape):
                    break
        else:
            if len(shape) == 1 and is_floating(inputs[0]):
                return
        given = dict(zip(op.arrays, inputs, strict=False))
        flat_state(
            op.name, {name: given.get(name) for name in like}, {n: given.get(n) for n in single}
        )

    return op.check(check)


def put(xp: Any, scale: Any, out: Any, new: Any) -> None:
    """``out[...] = new``, unless the step is left out, see above; ``scale`` may be ``None``."""
    out[...] = new if scale is None else xp.where(xp.isnan(scale), out, new)


def enter(
    xp: Any, p: Any, g: Any, lr: Any, scale: Any, rates: Any, decays: Any, weight_decay: float,
    decoupled: bool = False,
) -> tuple[Any, Any]:  # fmt: skip
    """The gradient and the rate that an update goes by.

    Weight decay is in the gradient, or, if ``decoupled``, done to ``p`` at once
    (Loshchilov & Hutter, ICLR 2019, algorithm 2).
    """
    g = g * scale
    if rates is not None:
        lr = rates * lr
    decay = weight_decay if decays is None else decays
    if decays is None and not weight_decay:
        return g, lr
    if decoupled:
        put(xp, scale, p, p - p * (lr * decay))
        return g, lr
    return g + p * decay, lr


def correction(xp: Any, beta: float, t: Any) -> Any:
    """``1 - beta**t``, which the mean of ``t`` values is too small by; exact where it is small."""
    return -xp.expm1(t * math.log(beta)) if beta else 1.0
