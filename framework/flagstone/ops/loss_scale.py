"""Mixed precision, on the device: the copy in 16 bits, and the scale of the loss.

float16 has no numbers below 6e-8, where gradients are often found; so the loss is multiplied by a
scale that is as large as does not overflow (Micikevicius et al., "Mixed precision training", ICLR
2018, section 3.2). Nothing here is read by the host: whether a gradient overflowed is the factor
by which the optimizer multiplies gradients, which is NaN then.
"""

from __future__ import annotations

from typing import Any

from flagstone.ops.checks import alike, floating, same_dtype
from flagstone.ops.door import op


@op(mutates=("out",))
def lower(xp: Any, out: Any, x: Any) -> Any:
    """``out[...] = x``, rounded to the dtype of ``out``."""
    out[...] = xp.astype(x, out.dtype)
    return ()


@op(differentiable=False)
def gradient_factor(xp: Any, g: Any, scale: Any, loss_scale: Any) -> Any:
    """``scale / loss_scale``, or NaN where a value of ``g`` is not finite; shape ()."""
    return xp.where(xp.all(xp.isfinite(g)), scale / loss_scale, xp.nan)


@op(mutates=("loss_scale", "steps"))
def adapt_loss_scale(
    xp: Any, loss_scale: Any, steps: Any, factor: Any, *, growth: float, backoff: float,
    interval: int,
) -> Any:  # fmt: skip
    """What ``torch.amp.GradScaler.update`` does: where ``factor`` is NaN the scale is multiplied by
    ``backoff``; after ``interval`` steps in a row where it is not, by ``growth``, unless that is
    infinite. ``steps`` counts them, as a float of shape ()."""
    overflowed = xp.isnan(factor)
    full = steps + 1 >= interval
    grown = loss_scale * growth
    grown = xp.where(full & xp.isfinite(grown), grown, loss_scale)
    loss_scale[...] = xp.where(overflowed, loss_scale * backoff, grown)
    steps[...] = xp.where(overflowed | full, xp.zeros_like(steps), steps + 1)
    return ()


@op(mutates=("out",))
def undo(xp: Any, out: Any, before: Any, factor: Any) -> Any:
    """``out[...] = before`` where ``factor``, shape (), is NaN; else nothing."""
    out[...] = xp.where(xp.isnan(factor), before, out)
    return ()


@lower.check
def _(out: Any, x: Any) -> None:
    floating("lower", out=out, x=x)


@gradient_factor.check
def _(g: Any, scale: Any, loss_scale: Any) -> None:
    floating("gradient_factor", g=g, scale=scale)
    same_dtype("gradient_factor", scale=scale, loss_scale=loss_scale)


@adapt_loss_scale.check
def _(loss_scale: Any, steps: Any, factor: Any, **_: Any) -> None:
    floating("adapt_loss_scale", loss_scale=loss_scale)
    alike("adapt_loss_scale", loss_scale=loss_scale, steps=steps, factor=factor)


@undo.check
def _(out: Any, before: Any, factor: Any) -> None:
    alike("undo", out=out, before=before)
    same_dtype("undo", out=out, factor=factor)
