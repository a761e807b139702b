"""Einstein's summation, by transposing, multiplying matrices and adding up.

Everything is done with one letter per axis. Three dots become letters that the equation does not
use; a letter that stands twice is a diagonal, which is taken first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from string import ascii_letters

from flagstone.errors import InputError, ShapeError
from flagstone.ops.checks import floating, same_dtype, tensors
from flagstone.ops.elementwise import multiply
from flagstone.ops.linalg import batched_matmul
from flagstone.ops.reduction import sum as sum_
from flagstone.ops.shape import permute_dims, reshape
from flagstone.tensors import Tensor

DOTS = "\N{HORIZONTAL ELLIPSIS}"  # one character for the three of an equation


def einsum(equation: str, *xs: Tensor) -> Tensor:
    """The sum of products that ``equation`` says: ``einsum("bij,bjk->bik", a, b)``.

    Letters that the output does not name are summed over. Without ``->`` the output has the axes of
    ``...``, then the letters that occur once, in alphabetical order. A letter that stands twice for
    one tensor takes a diagonal: ``"...ii->...i"``. Several tensors are multiplied from left to
    right, two at a time; what no later tensor and not the output names is summed on the way.

    Args:
        equation: the axes of every tensor, one letter each, with commas between. ``...`` stands for
            any number of axes, which broadcast between tensors by NumPy's rules; an output that
            leaves them out sums over them, as in PyTorch.
        xs: floating tensors of one dtype; axes of one letter are equally long, for they do not
            broadcast.

    Raises:
        InputError: ``equation`` is not of this form, or names another number of tensors.
        ShapeError: a tensor has another number of axes, one letter stands for two lengths, or the
            axes of ``...`` do not broadcast.
        DTypeError: dtypes differ or are not floating.
    """
    written, output = _parsed(equation, len(xs))
    named = {f"xs[{i}]": x for i, x in enumerate(xs)}
    tensors("einsum", **named)
    floating("einsum", **named)
    same_dtype("einsum", **named)
    _check_lengths(equation, written, xs)
    factors, output = _lettered(equation, written, output, xs)
    y, have = factors[0]
    for i, (x, letters) in enumerate(factors[1:], start=2):
        wanted = set(output).union(*(later for _, later in factors[i:]))
        y, have = _product(y, have, x, letters, wanted)
    y, have = _summed(y, have, set(output))
    return _ordered(y, have, output)


def _parsed(equation: object, count: int) -> tuple[list[str], str]:
    """The term of each tensor and that of the output, with ``DOTS`` for three dots."""
    if not isinstance(equation, str):
        raise InputError(f"einsum: equation expected a str such as 'ij,jk->ik'; got {equation!r}")
    left, arrow, output = equation.replace(" ", "").replace("...", DOTS).partition("->")
    terms = left.split(",")
    letters = "".join(terms)
    if not arrow:
        once = sorted(c for c in set(letters) if letters.count(c) == 1)
        output = DOTS * (DOTS in letters) + "".join(c for c in once if c != DOTS)
    known = set(ascii_letters + DOTS).issuperset(letters + output)
    if not known or any(term.count(DOTS) > 1 for term in (*terms, output)):
        raise InputError(
            "einsum: equation expected letters, and ... at most once per tensor, as in "
            f"'...ij,jk->...ik'; got {equation!r}"
        )
    if twice := sorted(c for c in set(output) if output.count(c) > 1):
        raise InputError(
            f"einsum: the output of {equation!r} expected each letter once; "
            f"got {', '.join(twice)} twice"
        )
    if unknown := sorted(set(output) - set(letters)):
        shown = ", ".join(unknown).replace(DOTS, "...")
        raise InputError(
            f"einsum: the output of {equation!r} expected letters that a tensor has; got {shown}"
        )
    if len(terms) != count:
        raise InputError(
            f"einsum: {equation!r} expected {len(terms)} tensor{'s' * (len(terms) > 1)}; "
            f"got {count}"
        )
    return terms, output


def _check_lengths(equation: str, terms: Sequence[str], xs: Sequence[Tensor]) -> None:
    lengths: dict[str, int] = {}
    for i, (term, x) in enumerate(zip(terms, xs, strict=True)):
        shape, letters = x.shape, term.replace(DOTS, "")
        fits = len(shape) >= len(letters) if DOTS in term else len(shape) == len(letters)
        if not fits:
            least = "at least " * (DOTS in term)
            raise ShapeError(
                f"einsum: xs[{i}] expected {least}{len(letters)} axes, "
                f"{term.replace(DOTS, '...')!r} in {equation!r}; got shape {shape}"
            )
        before = term.index(DOTS) if DOTS in term else len(shape)
        named = (*shape[:before], *shape[len(shape) - len(letters) + before :])
        for letter, n in zip(letters, named, strict=True):
            if lengths.setdefault(letter, n) != n:
                raise ShapeError(
                    f"einsum: axis {letter!r} of xs[{i}] expected length {lengths[letter]}, as "
                    f"before in {equation!r}; got shape {shape}"
                )


def _lettered(
    equation: str, terms: Sequence[str], output: str, xs: Sequence[Tensor]
) -> tuple[list[tuple[Tensor, str]], str]:
    """The tensors with one letter per axis, each once, and the output's letters.

    An axis of three dots that is 1 where another tensor's is longer goes without a letter, which is
    what broadcasting means.
    """
    counts = [x.ndim - len(term) + 1 for term, x in zip(terms, xs, strict=True) if DOTS in term]
    free = [c for c in (*ascii_letters, *map(chr, range(0x3B1, 0x3CA))) if c not in "".join(terms)]
    dots = "".join(free[: max(counts, default=0)])
    length = dict.fromkeys(dots, 1)
    spelled = []
    for i, (term, x) in enumerate(zip(terms, xs, strict=True)):
        own = dots[len(dots) - (x.ndim - len(term) + 1) :] if DOTS in term else ""
        spelled.append(term.replace(DOTS, own))
        for letter, n in zip(spelled[-1], x.shape, strict=True):
            if letter in own and n != 1:
                if length[letter] not in (1, n):
                    raise ShapeError(
                        f"einsum: the axes of ... in {equation!r} expected lengths that broadcast; "
                        f"got {n} in xs[{i}] of shape {x.shape} where another has {length[letter]}"
                    )
                length[letter] = n
    factors = []
    for letters, x in zip(spelled, xs, strict=True):
        single = {c for c, n in zip(letters, x.shape, strict=True) if length.get(c, n) != n}
        shape = tuple(n for c, n in zip(letters, x.shape, strict=True) if c not in single)
        kept = "".join(c for c in letters if c not in single)
        factors.append(_diagonal(reshape(x, shape) if single else x, kept))
    return factors, output.replace(DOTS, dots)


def _diagonal(x: Tensor, have: str) -> tuple[Tensor, str]:
    """Every letter once: where it stands twice, the elements whose two indices are equal."""
    for letter in dict.fromkeys(have):
        while have.count(letter) > 1:
            first, second = have.index(letter), have.rindex(letter)
            rest = tuple(i for i in range(x.ndim) if i not in (first, second))
            n, lead = x.shape[first], tuple(x.shape[i] for i in rest)
            rows = reshape(permute_dims(x, axes=(*rest, first, second)), (*lead, n * n))
            x = rows[..., :: n + 1]
            have = "".join(have[i] for i in rest) + letter
    return x, have


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
