"""Updates that look at whole parameters: at their norms (LAMB) or at them as matrices (Muon).

Each has two parts: one elementwise pass over the flat arrays (n,) that leaves a direction, and one
call per parameter that steps along it. ``lr``, ``scale`` and ``factor``, which is the first part's
scale, are arrays of shape ().
"""

from __future__ import annotations

from typing import Any

from flagstone.errors import ShapeError
from flagstone.ops.checks import alike, floating
from flagstone.ops.door import op
from flagstone.ops.update_parts import correction, flat, put, scalars


@op(mutates=("m", "v", "t", "direction"))
def lamb_direction(
    xp: Any, p: Any, g: Any, m: Any, v: Any, direction: Any, t: Any, scale: Any,
    decays: Any = None, *, beta1: float, beta2: float, eps: float, weight_decay: float,
) -> Any:  # fmt: skip
    """Adam's direction plus weight decay (You et al., ICLR 2020, algorithm 2, the lines before the
    ratio), written to ``direction``."""
    now = t + 1
    put(xp, scale, t, now)
    g = g * scale
    put(xp, scale, m, m * beta1 + g * (1 - beta1))
    put(xp, scale, v, v * beta2 + (g * g) * (1 - beta2))
    root = xp.sqrt(v / correction(xp, beta2, now)) + eps
    decay = p * (weight_decay if decays is None else decays)
    put(xp, scale, direction, m / correction(xp, beta1, now) / root + decay)
    return ()


flat(lamb_direction, "t", "scale")


@op(mutates=("p",))
def trust_update(
    xp: Any, p: Any, direction: Any, lr: Any, factor: Any = None, *, rate: float = 1.0
) -> Any:
    """``p -= lr * rate * |p| / |direction| * direction`` (You et al., ICLR 2020, algorithm 2), the
    norms Euclidean over the whole arrays; their ratio is 1 where either is 0."""
    size, length = (xp.sqrt(xp.sum(x * x, dtype=x.dtype)) for x in (p, direction))
    one = xp.ones_like(size)
    ratio = xp.where((size > 0) & (length > 0), size / xp.where(length > 0, length, one), one)
    put(xp, factor, p, p - direction * (lr * rate * ratio))
    return ()


@trust_update.check
def _(p: Any, direction: Any, lr: Any, factor: Any = None, **_: Any) -> None:
    floating("trust_update", p=p)
    alike("trust_update", p=p, direction=direction)
    scalars("trust_update", p, lr=lr, factor=factor)


@op(mutates=("m", "direction"))
def momentum_direction(
    xp: Any, g: Any, m: Any, direction: Any, scale: Any, *, momentum: float, nesterov: bool
) -> Any:
    """The running mean ``m = momentum*m + (1 - momentum)*g``, or with ``nesterov`` the same mean
    taken once more, written to ``direction``."""
    g = g * scale
    put(xp, scale, m, m * momentum + g * (1 - momentum))
    put(xp, scale, direction, m * momentum + g * (1 - momentum) if nesterov else m)
    return ()


@momentum_direction.check
def _(g: Any, m: Any, direction: Any, scale: Any, **_: Any) -> None:
    floating("momentum_direction", g=g)
    alike("momentum_direction", g=g, m=m, direction=direction)
    scalars("momentum_direction", g, scale=scale)


@op(mutates=("p",))
def muon_update(
    xp: Any, p: Any, direction: Any, lr: Any, factor: Any = None, *,
    coefficients: tuple[float, float, float], steps: int, eps: float, weight_decay: float,
    adjustment: float, rate: float = 1.0,
) -> Any:  # fmt: skip
    """``p = (1 - lr*rate*weight_decay) * p - lr*rate*adjustment * orthogonal(direction)`` for a
    matrix (rows, columns).

    ``orthogonal`` brings all singular values near 1, by ``steps`` Newton-Schulz iterations
    ``x = a*x + (b*A + c*A@A) @ x`` with ``A = x @ x.T`` on the matrix divided by its Euclidean norm
    (Jordan et al., "Muon", 2024), in the dtype of the parameters.
    """
    a, b, c = coefficients
    tall = direction.shape[0] > direction.shape[1]
    x = direction.T if tall else direction  # the smaller Gram matrix of the two
    x = x / xp.clip(xp.sqrt(xp.sum(x * x, dtype=x.dtype)), eps, None)
    for _ in range(steps):
        gram = x @ x.T
        x = x * a + (gram * b + (gram @ gram) * c) @ x
    x = x.T if tall else x
    rate_now = lr * rate
    put(xp, factor, p, p - p * (rate_now * weight_decay) - x * (rate_now * adjustment))
    return ()


@muon_update.check
def _(p: Any, direction: Any, lr: Any, factor: Any = None, **_: Any) -> None:
    floating("muon_update", p=p)
    alike("muon_update", p=p, direction=direction)
    scalars("muon_update", p, lr=lr, factor=factor)
    if p.ndim != 2:
        raise ShapeError(f"muon_update: p expected two axes, as a matrix has; got shape {p.shape}")
