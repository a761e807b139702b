"""Mixed precision: casts, the copy in 16 bits, and the scale of the loss."""

from __future__ import annotations

from typing import Any

from flagstone.backend import declines
from flagstone_cupy.kernel import family
from flagstone_cupy.kernels.reduce import ENOUGH_BLOCKS, LONG
from flagstone_cupy.launch import THREADS, Array, contiguous, converted, copy, empty, launch, over
from flagstone_cupy.signature import BFLOAT16

FLOATS = ("float", "double")
UNFINITE = family("loss_scale.cu", "unfinite", T=FLOATS)
GRADIENT_FACTOR = family("loss_scale.cu", "gradient_factor", T=FLOATS)
ADAPT = family("loss_scale.cu", "adapt_loss_scale", T=FLOATS)
UNDO = family("loss_scale.cu", "undo", T=FLOATS)


def cast(x: Array, *, dtype: str) -> Array:
    """See :func:`flagstone.ops.elementwise.astype`; CuPy's namespace has no name for bfloat16."""
    return converted(x, BFLOAT16 if dtype == "bfloat16" else dtype)


def lower(out: Array, x: Array) -> Any:
    """See :func:`flagstone.ops.loss_scale.lower`."""
    copy(out, x)
    return ()


@declines
def gradient_factor(g: Array, scale: Array, loss_scale: Array) -> Any:
    """See :func:`flagstone.ops.loss_scale.gradient_factor`; two launches."""
    if g.dtype not in UNFINITE or scale.dtype not in GRADIENT_FACTOR:
        return NotImplemented
    blocks = min(ENOUGH_BLOCKS, -(-g.size // LONG)) or 1
    counts, factor = empty((blocks,), "int32"), empty((), scale.dtype)
    block = (THREADS, 1, 1)
    launch(UNFINITE[g.dtype], (blocks, 1, 1), block, 0, (contiguous(g), counts, g.size))
    arguments = (counts, scale, loss_scale, factor, blocks)
    launch(GRADIENT_FACTOR[scale.dtype], (1, 1, 1), block, 0, arguments)
    return factor


@declines
def adapt_loss_scale(
    loss_scale: Array, steps: Array, factor: Array, *, growth: float, backoff: float, interval: int
) -> Any:
    """See :func:`flagstone.ops.loss_scale.adapt_loss_scale`."""
    if loss_scale.dtype not in ADAPT:
        return NotImplemented
    arguments = (loss_scale, steps, factor, growth, backoff, float(interval))
    launch(ADAPT[loss_scale.dtype], (1, 1, 1), (1, 1, 1), 0, arguments)
    return ()


@declines
def undo(out: Array, before: Array, factor: Array) -> Any:
    """See :func:`flagstone.ops.loss_scale.undo`."""
    if out.dtype not in UNDO or not out.flags.c_contiguous:
        return NotImplemented
    over(UNDO[out.dtype], out.size, out, contiguous(before), factor, out.size)
    return ()
