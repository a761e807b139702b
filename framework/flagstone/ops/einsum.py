"""Einstein's summation, by transposing, multiplying matrices and adding up."""

from __future__ import annotations

import math
from collections.abc import Iterable

from flagstone.errors import InputError, ShapeError
from flagstone.ops.checks import floating, same_dtype, tensors
from flagstone.ops.elementwise import multiply
from flagstone.ops.linalg import batched_matmul
from flagstone.ops.reduction import sum as sum_
from flagstone.ops.shape import permute_dims, reshape
from flagstone.tensors import Tensor


def einsum(equation: str, *xs: Tensor) -> Tensor:
    """The sum of products that ``equation`` says: ``einsum("bij,bjk->bik", a, b)``.

    Letters that the output does not name are summed over. Without ``->`` the output has the letters
    that occur once, in alphabetical order. Several tensors are multiplied from left to right, two
    at a time; what no later tensor and not the output names is summed on the way.

    Args:
        equation: the axes of every tensor, one letter each, with commas between; ``...`` is not
            offered, and neither is one letter twice for one tensor (a diagonal).
        xs: floating tensors of one dtype; axes of one letter are equally long, for they do not
            broadcast.

    Raises:
        InputError: ``equation`` is not of this form, or names another number of tensors.
        ShapeError: a tensor has another number of axes, or one letter stands for two lengths.
        DTypeError: dtypes differ or are not floating.
    """
    terms, output = _parsed(equation, len(xs))
    named = {f"xs[{i}]": x for i, x in enumerate(xs)}
    tensors("einsum", **named)
    floating("einsum", **named)
    same_dtype("einsum", **named)
    _check_lengths(equation, terms, xs)
    y, have = xs[0], terms[0]
    for i in range(1, len(xs)):
        wanted = set(output).union(*terms[i + 1 :])
        y, have = _product(y, have, xs[i], terms[i], wanted)
    y, have = _summed(y, have, set(output))
    return _ordered(y, have, output)


def _parsed(equation: object, count: int) -> tuple[list[str], str]:
    if not isinstance(equation, str):
        raise InputError(f"einsum: equation expected a str such as 'ij,jk->ik'; got {equation!r}")
    left, arrow, output = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    letters = "".join(terms)
    if not arrow:
        output = "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    ascii_letters = all(c.isascii() and c.isalpha() for c in letters + output)
    if not ascii_letters or any(len(set(t)) < len(t) for t in (*terms, output)):
        raise InputError(
            "einsum: equation expected letters, each at most once per tensor, as in 'ij,jk->ik'; "
            f"got {equation!r}"
        )
    if unknown := sorted(set(output) - set(letters)):
        raise InputError(
            f"einsum: the output of {equation!r} names {', '.join(unknown)}, which no tensor has"
        )
    if len(terms) != count:
        raise InputError(
            f"einsum: {equation!r} expected {len(terms)} tensor{'s' * (len(terms) > 1)}; "
            f"got {count}"
        )
    return terms, output


def _check_lengths(equation: str, terms: list[str], xs: Iterable[Tensor]) -> None:
    lengths: dict[str, int] = {}
    for i, (term, x) in enumerate(zip(terms, xs, strict=True)):
        shape = x.shape
        if len(shape) != len(term):
            raise ShapeError(
                f"einsum: xs[{i}] expected {len(term)} axes, {term!r} in {equation!r}; "
                f"got shape {shape}"
            )
        for letter, n in zip(term, shape, strict=True):
            if lengths.setdefault(letter, n) != n:
                raise ShapeError(
                    f"einsum: axis {letter!r} of xs[{i}] expected length {lengths[letter]}, as "
                    f"before in {equation!r}; got shape {shape}"
                )


def _product(a: Tensor, in_a: str, b: Tensor, in_b: str, wanted: set[str]) -> tuple[Tensor, str]:
    """Two tensors multiplied, and summed over what is not wanted."""
    a, in_a = _summed(a, in_a, wanted | set(in_b))
    b, in_b = _summed(b, in_b, wanted | set(in_a))
    shared = [c for c in in_a if c in in_b]
    batch = "".join(c for c in shared if c in wanted)
    inner = "".join(c for c in shared if c not in wanted)
    rows = "".join(c for c in in_a if c not in shared)
    columns = "".join(c for c in in_b if c not in shared)
    length = {**dict(zip(in_a, a.shape, strict=True)), **dict(zip(in_b, b.shape, strict=True))}

    def grouped(x: Tensor, have: str, *groups: str) -> Tensor:
        lead = tuple(length[c] for c in batch)
        merged = (math.prod(length[c] for c in group) for group in groups)
        return reshape(_ordered(x, have, batch + "".join(groups)), (*lead, *merged))

    left, right = grouped(a, in_a, rows, inner), grouped(b, in_b, inner, columns)
    y: Tensor = batched_matmul(left, right) if inner else multiply(left, right)
    have = batch + rows + columns
    return reshape(y, tuple(length[c] for c in have)), have


def _summed(x: Tensor, have: str, wanted: set[str]) -> tuple[Tensor, str]:
    gone = tuple(i for i, c in enumerate(have) if c not in wanted)
    if not gone:
        return x, have
    y: Tensor = sum_(x, axis=gone)
    return y, "".join(c for c in have if c in wanted)


def _ordered(x: Tensor, have: str, wanted: str) -> Tensor:
    if have == wanted:
        return x
    y: Tensor = permute_dims(x, axes=tuple(have.index(c) for c in wanted))
    return y
