"""Picking, padding, splitting and einsum against NumPy and PyTorch, over random configurations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import ops
from flagstone.backend import Backend
from flagstone.errors import InputError
from flagstone.ops.arrange import PAD_MODES
from flagstone.tensors import Tensor
from flagstone.testing import gradcheck

DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


def compare(ours: Any, theirs: Any, arrays: list[np.ndarray], dtype: str) -> None:
    """The same output and the same gradients for a random gradient of it."""
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    mine = [fs.tensor(a.astype(dtype), requires_grad=True) for a in arrays]
    other = [torch.tensor(a.astype(dtype), requires_grad=True) for a in arrays]
    y, t = ours(*mine), theirs(torch, *other)
    tolerance = {"float32": 2e-5, "float64": 1e-12}[dtype]
    assert y.dtype_name == dtype
    np.testing.assert_allclose(y.numpy(), t.detach().numpy(), tolerance, tolerance)
    g = np.asarray(np.random.default_rng(1).standard_normal(y.shape), dtype)
    y.backward(fs.tensor(g))
    t.backward(torch.tensor(g))
    for a, b in zip(mine, other, strict=True):
        assert a.grad is not None
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), 10 * tolerance, 10 * tolerance)


@DTYPES
@pytest.mark.parametrize("number", range(30))
def test_gather_and_scatter_add(number: int, dtype: str) -> None:
    rng = np.random.default_rng(number)
    ndim = int(rng.integers(1, 4))
    shape = tuple(int(n) for n in rng.integers(1, 5, ndim))
    axis = int(rng.integers(-ndim, ndim))
    at = list(shape)
    at[axis] = int(rng.integers(1, 7))
    index = rng.integers(0, shape[axis], at)
    compare(
        lambda x: ops.gather(x, fs.tensor(index), axis),
        lambda torch, x: torch.gather(x, axis, torch.tensor(index)),
        [rng.standard_normal(shape)],
        dtype,
    )
    compare(
        lambda x, g: x + ops.scatter_add(g, fs.tensor(index), axis=axis, size=shape[axis]),
        lambda torch, x, g: x.scatter_add(axis, torch.tensor(index), g),
        [rng.standard_normal(shape), rng.standard_normal(at)],
        dtype,
    )


@DTYPES
@pytest.mark.parametrize("number", range(30))
@pytest.mark.parametrize("mode", PAD_MODES)
def test_pad(mode: str, number: int, dtype: str) -> None:
    rng = np.random.default_rng(number)
    shape = (2, 3, *(int(n) for n in rng.integers(2, 6, 2)))
    top = [n - 1 if mode == "reflect" else 4 for n in shape]
    pairs = [(int(rng.integers(0, m + 1)), int(rng.integers(0, m + 1))) for m in top[2:]]
    name = {"zero": "constant", "reflect": "reflect", "edge": "replicate"}[mode]
    compare(
        lambda x: ops.pad(x, ((0, 0), (0, 0), *pairs), mode),
        lambda torch, x: torch.nn.functional.pad(x, (*pairs[1], *pairs[0]), mode=name),
        [rng.standard_normal(shape)],
        dtype,
    )


def random_equation(rng: np.random.Generator) -> tuple[str, list[tuple[int, ...]]]:
    lengths = dict(zip("abcde", (int(n) for n in rng.integers(1, 4, 5)), strict=True))
    terms = [
        "".join(rng.permutation(list("abcde"))[: rng.integers(1, 4)])
        for _ in range(rng.integers(1, 4))
    ]
    used = sorted(set("".join(terms)))
    output = "".join(rng.permutation(used)[: rng.integers(0, len(used) + 1)])
    return f"{','.join(terms)}->{output}", [tuple(lengths[c] for c in t) for t in terms]


@DTYPES
@pytest.mark.parametrize("number", range(40))
def test_einsum(number: int, dtype: str) -> None:
    rng = np.random.default_rng(number)
    equation, shapes = random_equation(rng)
    compare(
        lambda *xs: ops.einsum(equation, *xs),
        lambda torch, *xs: torch.einsum(equation, *xs),
        [rng.standard_normal(shape) for shape in shapes],
        dtype,
    )


DOTTED: dict[str, list[tuple[int, ...]]] = {
    "...i,...i": [(4, 1, 3), (2, 3)], "...ij->...ji": [(2, 3, 4, 2)], "i...->...": [(3, 2, 2)],
    "...i->i": [(2, 4, 3)], "a...,b...->ab": [(2, 3), (4, 3)], "...ii->...i": [(2, 3, 3)],
    "...ii,...i->...": [(2, 3, 3), (1, 3)], "...ij,jk,...k->i...": [(2, 2, 3), (3, 2), (4, 1, 2)],
}  # fmt: skip


@DTYPES
@pytest.mark.parametrize("equation", DOTTED)
def test_einsum_with_dots_and_diagonals(equation: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    compare(
        lambda *xs: ops.einsum(equation, *xs),
        lambda torch, *xs: torch.einsum(equation, *xs),
        [rng.standard_normal(shape) for shape in DOTTED[equation]],
        dtype,
    )


@DTYPES
def test_split_of_which_one_part_is_used(dtype: str) -> None:
    compare(
        lambda x: ops.split(x, (1, 3, 2), axis=1)[1] * 2.0,
        lambda torch, x: torch.split(x, (1, 3, 2), dim=1)[1] * 2.0,
        [np.random.default_rng(0).standard_normal((2, 6))],
        dtype,
    )


PICKS = (
    lambda i: i, lambda i: (slice(None), i), lambda i: (..., i), lambda i: (i, slice(None, 2)),
    lambda i: (slice(1, None), i, ...), lambda i: (None, slice(None, None, 2), i),
    lambda i: (slice(None), i, None), lambda i: (..., i, slice(None)), lambda i: (..., None, i),
    lambda i: (slice(None), None, i, slice(1, 2)),
)  # fmt: skip


@pytest.mark.parametrize("index", [[2, 0, 0], [[1, 2], [0, 1]], 1, []], ids=str)
@pytest.mark.parametrize("number", range(len(PICKS)))
def test_an_integer_tensor_among_slices_is_numpys(
    number: int, index: Any, backend: Backend
) -> None:
    x = np.random.default_rng(0).standard_normal((3, 3, 3))
    numbers = np.asarray(index, np.int64)
    at = Tensor(backend.asarray(numbers), backend)
    pick = PICKS[number]
    y = Tensor(backend.asarray(x), backend)[pick(at)]
    np.testing.assert_array_equal(y.numpy(), x[pick(numbers)])
    gradcheck(lambda x: x[pick(at)], [x], order=2, device=backend)


@pytest.mark.parametrize(
    "make",
    [
        lambda i: (i, i), lambda i: (0, i), lambda i: (i, 0), lambda i: (i, True),
        lambda i: (slice(None), slice(None), i), lambda i: (..., i, ...), lambda i: ([0], i),
    ],
)  # fmt: skip
def test_what_else_beside_a_tensor_is_refused(make: Any) -> None:
    x, i = fs.tensor(np.ones((3, 4))), fs.tensor(np.array([0, 1]))
    with pytest.raises(InputError, match=r"x\[...\]: expected at most 2 .*a tensor of shape \(2,"):
        x[make(i)]


@pytest.mark.parametrize("wrong", [3, -1, -4, 100])
def test_a_number_out_of_range_is_refused_where_looking_costs_nothing(wrong: int) -> None:
    x, i = fs.tensor(np.ones((3, 4))), fs.tensor(np.array([[0, wrong]]))
    columns = fs.tensor(np.full((1, 4), wrong))
    message = f"index expected numbers from 0 to 2; got {wrong}$"
    with pytest.raises(InputError, match=f"^take: {message}"):
        ops.take(x, i)
    with pytest.raises(InputError, match=f"^gather: {message}"):
        ops.gather(x, columns, 0)
    with pytest.raises(InputError, match=f"^embedding: {message}"):
        ops.embedding(i, x)
    with pytest.raises(InputError, match=rf"^x\[...\]: {message}"):
        x[i, None]


def test_a_number_out_of_range_is_refused_where_another_backend_sees_it(backend: Backend) -> None:
    x = Tensor(backend.asarray(np.ones((3, 4))), backend)
    i = Tensor(backend.asarray(np.array([[0, 3, 0, 0]])), backend)
    with pytest.raises(InputError, match=r"^take: index expected numbers from 0 to 2; got"):
        ops.take(x, i)
    with pytest.raises(InputError, match=r"^gather: index expected numbers from 0 to 2; got"):
        ops.gather(x, i, 0)
