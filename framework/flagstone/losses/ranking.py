"""Losses of how near vectors lie to each other.

``x`` and its like are (n, features), of one shape and dtype. ``sample_weight``, ``reduction``, the
shape returned and what is raised: see :mod:`flagstone.losses`. Lengths are taken of vectors scaled
by their largest element, so no square overflows or vanishes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from flagstone import ops
from flagstone.errors import DTypeError, ShapeError
from flagstone.losses.options import (
    AT_LEAST_ONE,
    COSINE,
    POSITIVE,
    RULE,
    TRUTH,
    Configured,
    Loss,
    expect,
    number,
)
from flagstone.losses.reduction import alike, reduce, together
from flagstone.ops.checks import FLOATS, tensors
from flagstone.tensors import Tensor


def cosine_similarity(
    x: Tensor, target: Tensor, *, sample_weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """``1 - cos(x, target)``: 0 where both point the same way, 2 where they are opposed.

    A vector of zeros has cosine 0 with every other.
    """
    alike("cosine_similarity", features=True, x=x, target=target)
    return reduce("cosine_similarity", 1.0 - _cosine(x, target), sample_weight, reduction)


def cosine_embedding(
    x1: Tensor,
    x2: Tensor,
    target: Tensor,
    *,
    margin: float = 0.0,
    sample_weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``1 - cos(x1, x2)`` where the target is 1, ``max(0, cos(x1, x2) - margin)`` where it is -1.

    PyTorch's ``cosine_embedding_loss``, without the 1e-12 that it adds to squared lengths: a vector
    of zeros has cosine 0 with every other.

    Args:
        x1, x2: (n, features).
        target: (n,) of x1's dtype or integers: 1 for pairs that belong together, -1 for others.
            Any other makes its loss NaN.
        margin: the cosine up to which others cost nothing, in [-1, 1].
        sample_weight, reduction: see the module.
    """
    name = "cosine_embedding"
    margin = number(name, COSINE, margin=margin)
    alike(name, features=True, x1=x1, x2=x2)
    target = _signs(name, x1, target)
    cosine = _cosine(x1, x2)
    apart = ops.where(ops.equal(target, -1), ops.relu(cosine - margin), float("nan"))
    losses = ops.where(ops.equal(target, 1), 1.0 - cosine, apart)
    return reduce(name, losses, sample_weight, reduction)


def _signs(name: str, x: Tensor, target: Tensor) -> Tensor:
    tensors(name, target=target)
    if target.dtype_name in FLOATS:
        together(name, x1=x, target=target)
    elif "int" not in target.dtype_name:
        raise DTypeError(
            f"{name}: target expected integers or {x.dtype_name}; got {target.dtype_name}"
        )
    else:
        target = ops.astype(target, "int64")  # an unsigned one could not be compared with -1
    if target.shape != x.shape[:1]:
        raise ShapeError(f"{name}: target expected shape {x.shape[:1]}; got {target.shape}")
    return target


def triplet_margin(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    sample_weight: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``max(0, d(anchor, positive) - d(anchor, negative) + margin)`` for the distance d.

    Balntas et al., BMVC 2016; PyTorch's ``triplet_margin_loss``, whose distance is the p-norm of
    ``a - b + eps``.

    Args:
        anchor, positive, negative: (n, features).
        margin: by how much the negative must lie farther away to cost nothing, > 0.
        p: of the norm, >= 1 and finite.
        eps: is added to every difference, > 0, so that equal vectors have a gradient.
        swap: take ``d(positive, negative)`` in place of ``d(anchor, negative)`` where it is less.
        sample_weight, reduction: see the module.
    """
    name = "triplet_margin"
    margin = number(name, POSITIVE, margin=margin)
    p, eps = number(name, AT_LEAST_ONE, p=p), number(name, POSITIVE, eps=eps)
    expect(name, TRUTH, swap=swap)
    alike(name, features=True, anchor=anchor, positive=positive, negative=negative)
    far = _norm(anchor - negative + eps, p)
    if swap:
        far = ops.minimum(far, _norm(positive - negative + eps, p))
    losses = ops.relu(_norm(anchor - positive + eps, p) - far + margin)
    return reduce(name, losses, sample_weight, reduction)


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    out: Tensor = ops.sum(_unit(a) * _unit(b), axis=1)
    return out


def _unit(x: Tensor) -> Tensor:
    """The rows over their lengths; zeros stay."""
    scaled = x / _scale(x)
    # The largest element is 1 now, and so the sum at least: the limit is met by zeros only.
    square = ops.clip(ops.sum(scaled * scaled, axis=1, keepdims=True), low=1.0)
    out: Tensor = scaled / ops.sqrt(square)
    return out


def _norm(x: Tensor, p: float) -> Tensor:
    """The p-norm of the rows: (n, features) -> (n,)."""
    scale = _scale(x)
    powers = ops.power(ops.abs(x / scale), exponent=p)
    total = ops.clip(ops.sum(powers, axis=1), low=1.0)  # as in _unit
    out: Tensor = ops.power(total, exponent=1.0 / p) * ops.reshape(scale, (x.shape[0],))
    return out


def _scale(x: Tensor) -> Tensor:
    """The largest absolute element of each row, 1 for zeros; a constant: (n, f) -> (n, 1).

    Lengths grow with their vectors, so scaling by a constant and back changes no gradient.
    """
    largest = ops.max(ops.abs(x.detach()), axis=1, keepdims=True)
    out: Tensor = ops.where(ops.equal(largest, 0.0), 1.0, largest)
    return out


class CosineSimilarityLoss(Loss):
    """:func:`cosine_similarity` with its reduction."""

    function = cosine_similarity


@dataclass(frozen=True, eq=False, kw_only=True)
class CosineEmbeddingLoss(Configured):
    """:func:`cosine_embedding` with its options."""

    function = cosine_embedding

    margin: float = field(default=0.0, metadata={RULE: COSINE})

    def __call__(
        self, x1: Tensor, x2: Tensor, target: Tensor, sample_weight: Tensor | None = None
    ) -> Tensor:
        return self.of(x1, x2, target, sample_weight=sample_weight)


@dataclass(frozen=True, eq=False, kw_only=True)
class TripletMarginLoss(Configured):
    """:func:`triplet_margin` with its options."""

    function = triplet_margin

    margin: float = field(default=1.0, metadata={RULE: POSITIVE})
    p: float = field(default=2.0, metadata={RULE: AT_LEAST_ONE})
    eps: float = field(default=1e-6, metadata={RULE: POSITIVE})
    swap: bool = field(default=False, metadata={RULE: TRUTH})

    def __call__(
        self,
        anchor: Tensor,
        positive: Tensor,
        negative: Tensor,
        sample_weight: Tensor | None = None,
    ) -> Tensor:
        return self.of(anchor, positive, negative, sample_weight=sample_weight)
