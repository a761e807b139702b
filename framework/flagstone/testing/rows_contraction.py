"""Rows of the op table: sums of products."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from flagstone import ops
from flagstone.errors import DTypeError, InputError, ShapeError
from flagstone.testing.op_row import Array, Draw, OpRow, Refusal, Sample
from flagstone.testing.rows_elementwise import D4, F4, I4

D23 = np.ones((2, 3))


def _weight_grad(draw: Draw) -> Iterator[Sample]:
    for lead, out, features in (
        ((2,), 4, 3), ((), 2, 3), ((2, 3), 4, 2), ((1,), 1, 1), ((0,), 2, 3), ((2,), 0, 3),
        ((2, 0), 3, 2), ((3, 1, 2), 2, 2),
    ):  # fmt: skip
        yield Sample(draw(*lead, out), draw(*lead, features))


def _outer_products(g: Array, x: Array) -> Array:
    """Row by row."""
    out = np.zeros((g.shape[-1], x.shape[-1]))
    for row in np.ndindex(g.shape[:-1]):
        out += np.outer(g[row], x[row])
    return out


EQUATIONS: dict[str, tuple[tuple[int, ...], ...]] = {
    "ij,jk->ik": ((2, 3), (3, 4)),
    "ij,jk": ((2, 3), (3, 2)),
    "bij,bjk->bik": ((2, 3, 2), (2, 2, 4)),
    "bhqd,bhkd->bhqk": ((2, 2, 3, 2), (2, 2, 4, 2)),
    "i,j->ji": ((3,), (2,)),
    "i,i->": ((4,), (4,)),
    "ij,ij->j": ((2, 3), (2, 3)),
    "ijk->kj": ((2, 3, 4),),
    "ji": ((2, 3),),
    "ij->": ((2, 3),),
    "ij , j": ((2, 3), (3,)),
    "ab,cd->": ((2, 3), (1, 2)),
    "abc,cb->ac": ((2, 3, 4), (4, 3)),
    "ab,bc,cd->ad": ((2, 3), (3, 1), (1, 2)),
    "i,i,i->i": ((3,), (3,), (3,)),
    "ai,bi,i->ab": ((2, 3), (4, 3), (3,)),
    ",i->i": ((), (3,)),
    "ij,jk->i": ((0, 3), (3, 2)),
    "aij,jk->aik": ((2, 2, 0), (0, 3)),
    "a,a->a": ((1,), (1,)),
    "...ij,...jk->...ik": ((4, 2, 3), (3, 2)),
    "...ij,...jk": ((2, 1, 2, 3), (4, 3, 2)),
    "i...,j...->...ji": ((2, 3, 1), (3, 3, 2)),
    "a...b->b...a": ((2, 3, 4, 2),),
    "...,...": ((2, 1), (3,)),
    "...i->...": ((3,),),
    "...,i...->i...": ((), (2, 0)),
    "...i,...i->...i": ((1, 2), (1, 1, 2)),
    "ii->i": ((3, 3),),
    "ii": ((2, 2),),
    "...ii->...i": ((2, 3, 3),),
    "iji,jkj->k": ((2, 3, 2), (3, 2, 3)),
    "iii->i": ((2, 2, 2),),
    "ii,i->i": ((0, 0), (0,)),
}


def _einsum(draw: Draw) -> Iterator[Sample]:
    for equation, shapes in EQUATIONS.items():
        yield Sample(*[draw(*shape) for shape in shapes], equation=equation)


ROWS = (
    OpRow(
        "linear_weight_grad", ops.linear_weight_grad, _weight_grad, _outer_products, (0, 1),
        refusals=(
            Refusal(ShapeError, r"linear_weight_grad: expected g \(..., out\) and x \(..., in\) "
                    r"that differ in the last axis only; got \(2, 3\) and \(4,\)", D23, D4),
            Refusal(ShapeError, "linear_weight_grad: expected g", D23, D23.T),
            Refusal(ShapeError, "linear_weight_grad: expected g", np.array(1.0), np.array(1.0)),
            Refusal(DTypeError, "linear_weight_grad: g expected a floating", I4, D4),
            Refusal(DTypeError, "linear_weight_grad: expected one dtype; got g float32", F4, D4),
            Refusal(DTypeError, "linear_weight_grad: x expected a Tensor; got float", D4, 1.0),
        ),
    ),
    OpRow(
        "einsum", lambda *xs, equation: ops.einsum(equation, *xs), _einsum,
        lambda *xs, equation: np.einsum(equation, *xs), (0, 1, 2),
        refusals=(
            Refusal(InputError, "einsum: equation expected letters, and ... at most once per tens",
                    D23, equation="...i...->i"),
            Refusal(InputError, "einsum: equation expected letters", D23, equation="..i->i"),
            Refusal(InputError, "einsum: equation expected letters", D23, equation="i1->i"),
            Refusal(InputError, "einsum: the output of 'ij->ii' expected each letter once; got i "
                    "twice", D23, equation="ij->ii"),
            Refusal(InputError, r"einsum: the output of 'ij->\.\.\.ij' expected letters that a "
                    r"tensor has; got \.\.\.", D23, equation="ij->...ij"),
            Refusal(ShapeError, r"einsum: xs\[0\] expected at least 3 axes, '\.\.\.ijk' in "
                    r"'\.\.\.ijk->i'; got shape \(2, 3\)", D23, equation="...ijk->i"),
            Refusal(ShapeError, r"einsum: the axes of \.\.\. in '\.\.\.i,\.\.\.->i' expected "
                    r"lengths that broadcast; got 4 in xs\[1\] of shape \(4,\) where another has "
                    "2", D23, D4, equation="...i,...->i"),
            Refusal(ShapeError, r"einsum: axis 'i' of xs\[0\] expected length 2, as before in "
                    r"'ii->i'; got shape \(2, 3\)", D23, equation="ii->i"),
            Refusal(InputError, "einsum: equation expected a str", D23, equation=None),
            Refusal(InputError, "einsum: the output of 'ij->ik' expected letters that a tensor has",
                    D23, equation="ij->ik"),
            Refusal(InputError, "einsum: 'ij,jk->ik' expected 2 tensors; got 1", D23,
                    equation="ij,jk->ik"),
            Refusal(ShapeError, r"einsum: xs\[0\] expected 3 axes, 'ijk' in 'ijk->i'; got shape "
                    r"\(2, 3\)", D23, equation="ijk->i"),
            Refusal(ShapeError, r"einsum: axis 'j' of xs\[1\] expected length 3, as before in "
                    r"'ij,jk->ik'; got shape \(2, 3\)", D23, D23, equation="ij,jk->ik"),
            Refusal(DTypeError, r"einsum: xs\[0\] expected a floating", I4, equation="i->"),
            Refusal(DTypeError, "einsum: expected one dtype", D4, F4, equation="i,i->"),
            Refusal(DTypeError, r"einsum: xs\[1\] expected a Tensor; got float", D4, 1.0,
                    equation="i,->i"),
        ),
    ),
)  # fmt: skip
