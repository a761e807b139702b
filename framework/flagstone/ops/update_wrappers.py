"""What goes around an update: a limit on the gradient before it, averages of parameters after it.

``t`` counts steps, as a float of shape (); nothing here is read by the host. ``factor`` is the
scale of the step that was made: NaN, where it was left out, leaves everything as it is.
"""

from __future__ import annotations

from typing import Any

from flagstone.ops.checks import floating
from flagstone.ops.door import op
from flagstone.ops.update_parts import flat, put, scalars


@op(mutates=("x",))
def limit(xp: Any, x: Any, bound: Any) -> Any:
    """Bring every value of ``x`` into [-bound, bound]; ``bound`` is positive, shape ()."""
    x[...] = xp.minimum(xp.maximum(x, -bound), bound)
    return ()


@limit.check
def _(x: Any, bound: Any) -> None:
    floating("limit", x=x)
    scalars("limit", x, bound=bound)


@op(mutates=("p", "slow", "t"))
def lookahead_update(
    xp: Any, p: Any, slow: Any, t: Any, factor: Any = None, *, k: int, alpha: float
) -> Any:
    """Lookahead (Zhang et al., NeurIPS 2019, algorithm 1): at every ``k``-th call
    ``slow += alpha * (p - slow); p = slow``. ``t`` counts the calls since."""
    now = t + 1 >= k
    put(xp, factor, t, xp.where(now, xp.zeros_like(t), t + 1))
    put(xp, factor, slow, xp.where(now, slow + (p - slow) * alpha, slow))
    put(xp, factor, p, xp.where(now, slow, p))
    return ()


flat(lookahead_update, "t", "factor")


@op(mutates=("average", "t"))
def average_update(
    xp: Any, average: Any, p: Any, t: Any, factor: Any = None, *, decay: float
) -> Any:
    """``average = decay*average + (1 - decay)*p``; at the first call ``average = p``."""
    kept = xp.clip(t, 0.0, 1.0) * decay
    put(xp, factor, average, average * kept + p * (1 - kept))
    put(xp, factor, t, t + 1)
    return ()


flat(average_update, "t", "factor")
