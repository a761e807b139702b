"""The fused forms of :mod:`flagstone.fusion` as ops: an op, then an activation of its first output.

The generic form is the two generic forms, and the pullback the two pullbacks. Activations whose
derivative follows from their output need nothing kept but that.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from flagstone.fusion import FORM_OF, FORMS
from flagstone.ops import activation, axis_norm, conv, elementwise, linalg, norm, pool
from flagstone.ops.door import ALL_OPS, Op, op
from flagstone.ops.pool import Sizes
from flagstone.ops.window import Pairs

_PARTS = (
    activation, axis_norm, conv, elementwise, linalg, norm, pool,
)  # fmt: skip  # they define the table's ops


def _fused(name: str, first: Op, then: Op) -> Op:
    def generic(xp: Any, *arrays: Any, **static: Any) -> Any:
        result = first.generic(xp, *arrays, **static)
        if isinstance(result, tuple):
            return then.generic(xp, result[0]), *result[1:]
        return then.generic(xp, result)

    generic.__name__ = generic.__qualname__ = name
    generic.__doc__ = f"``{then.name}`` of :func:`{first.name}`'s (first) output, in one."
    generic.__signature__ = inspect.signature(first.generic)  # type: ignore[attr-defined]
    form = Op(generic, numbers=first.numbers, optional=first.optional)
    if first._check is not None:
        form.check(first._check)
    form.pullback(_pullback(first, then))
    return form


def _pullback(first: Op, then: Op) -> Any:
    """The pullback of ``first``, of gradients that went back through ``then``."""
    back, through = first._pullback, then._pullback
    assert back is not None  # parts of a fused form
    assert through is not None  # are differentiable
    names = list(inspect.signature(back).parameters)
    several, count = names[0] == "dys", len(names)
    wanted = list(dict.fromkeys([*names, "ys" if several else "y"]))
    at = wanted.index("ys" if several else "y")

    def of_one(*given: Any) -> Any:
        return back(through(given[0], given[at]), *given[1:count])

    def of_several(*given: Any) -> Any:
        dys = given[0]
        dy = None if dys[0] is None else through(dys[0], given[at][0])
        return back([dy, *dys[1:]], *given[1:count])

    pullback: Any = of_several if several else of_one
    pullback.__signature__ = inspect.Signature(  # what Op reads
        [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in wanted]
    )
    return pullback


@op(differentiable=False)
def conv_max_pool_relu(
    xp: Any, x: Any, w: Any, b: Any = None, *, stride: Sizes, padding: Pairs, dilation: Sizes,
    groups: int, pool_kernel: Sizes, pool_stride: Sizes, pool_padding: Pairs,
) -> Any:  # fmt: skip
    """``relu`` of the maxima that :func:`max_pool` takes of :func:`conv`, for predictions."""
    y = ALL_OPS["conv"].generic(
        xp, x, w, b, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    how = {"kernel": pool_kernel, "stride": pool_stride, "padding": pool_padding}
    return ALL_OPS["relu"].generic(xp, ALL_OPS["max_pool"].generic(xp, y, **how)[0])


FUSED: Mapping[str, Op] = {
    name: _fused(name, *(ALL_OPS[part] for part in parts)) for name, parts in FORMS.items()
}
"""Name of a form -> the op."""


def form_of(first: Op, then: str) -> Op:
    """The fused form of an op and the activation of that name."""
    return FUSED[FORM_OF[first.name, then]]
