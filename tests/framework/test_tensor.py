"""Tensors: making them, reading them, and their operators and methods against NumPy's."""

from __future__ import annotations

import operator

import numpy as np
import pytest

import flagstone as fs
from flagstone.backend import open_backend
from flagstone.errors import DTypeError, InputError
from flagstone.tensors import Tensor

A = np.random.default_rng(1).standard_normal((3, 4))
B = np.random.default_rng(2).standard_normal((3, 4))
OPERATORS = [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.eq, operator.ne,
    operator.lt, operator.le, operator.gt, operator.ge,
]  # fmt: skip


def same(y: Tensor, expected: np.ndarray) -> None:
    assert isinstance(y, Tensor)
    assert y.shape == expected.shape
    np.testing.assert_array_equal(y.numpy(), expected)


@pytest.mark.parametrize("function", OPERATORS)
def test_operators_of_two(function) -> None:
    a, b = fs.tensor(A), fs.tensor(B)
    same(function(a, b), function(A, B))
    same(function(a, b[0]), function(A, B[0]))
    same(function(a, 0.5), function(A, 0.5))
    same(function(0.5, a), function(0.5, A))
    same(function(np.float64(0.5), a), function(0.5, A))


def test_other_operators() -> None:
    a, b = fs.tensor(A), fs.tensor(B)
    same(-a, -A)
    same(abs(a), abs(A))
    same(a**2, A**2)
    same(abs(a) ** -0.5, abs(A) ** -0.5)
    same(a @ b.T, A @ B.T)
    c = a
    c += b
    same(c, A + B)
    same(a, A)  # += makes another tensor


def test_methods() -> None:
    a = fs.tensor(A)
    same(a.T, A.T)
    same(a.reshape(2, 6), A.reshape(2, 6))
    same(a.reshape((2, -1)), A.reshape(2, 6))
    same(a.transpose(1, 0), A.T)
    same(a.astype("float32"), A.astype("float32"))
    for axis, keepdims in ((None, False), (0, True), ((0, 1), False), (-1, False)):
        for name in ("sum", "mean", "max"):
            y = getattr(a, name)(axis=axis, keepdims=keepdims)
            expected = np.asarray(getattr(A, name)(axis=axis, keepdims=keepdims))
            assert y.shape == expected.shape
            np.testing.assert_allclose(y.numpy(), expected, rtol=1e-14)


def test_indices() -> None:
    a = fs.tensor(A)
    for index in (0, -1, slice(1, None), (slice(None), 2), ..., None, (0, slice(None, None, -1))):
        same(a[index], A[index])
    same(a[fs.tensor([2, 0, 2])], A[[2, 0, 2]])
    same(a[fs.tensor([[1], [2]])], A[[[1], [2]]])
    with pytest.raises(
        DTypeError, match=r"x\[...\]: index expected an integer tensor; got float32"
    ):
        a[fs.tensor([1.0])]
    with pytest.raises(InputError, match=r"x\[...\]: index expected numbers from 0 to 2.* 9"):
        a[fs.tensor([9])]


def test_iteration() -> None:
    a = fs.tensor(A)
    rows = list(a)
    assert len(rows) == len(a) == 3
    same(rows[2], A[2])
    with pytest.raises(InputError, match="at least one axis"):
        list(fs.tensor(1.0))


def test_what_it_is() -> None:
    a = fs.tensor(A)
    assert (a.shape, a.ndim, a.size, a.dtype_name, str(a.device)) == (
        (3, 4),
        2,
        12,
        "float64",
        "cpu",
    )
    assert a.dtype == np.float64
    assert fs.tensor(1.0).shape == ()
    assert fs.tensor(1.0).size == 1


def test_to_the_host() -> None:
    one = fs.tensor([[2.5]])
    assert one.item() == float(one) == 2.5
    assert isinstance(fs.tensor([3]).item(), int)
    assert bool(fs.tensor(True))
    assert not bool(fs.tensor([0.0]))
    with pytest.raises(InputError, match=r"item\(\): expected one value; got a tensor of shape"):
        fs.tensor(A).item()
    with pytest.raises(InputError):
        bool(fs.tensor(A) > 0)


def test_numpy_takes_it() -> None:
    a = fs.tensor(A)
    np.testing.assert_array_equal(np.asarray(a), A)
    assert np.asarray(a, dtype="float32").dtype == np.float32
    np.testing.assert_allclose(a, A)
    with pytest.raises(TypeError, match="does not support ufuncs"):
        np.sin(a)


def test_it_hashes_by_identity() -> None:
    a, b = fs.tensor(A), fs.tensor(A)
    assert len({a, b, a}) == 2


def test_repr() -> None:
    assert repr(fs.tensor([1.0, 2.0])) == "Tensor([1. 2.], float32, device='cpu')"
    shown = repr(fs.tensor([[1.0], [2.0]], requires_grad=True))
    assert shown == "Tensor([[1.]\n        [2.]], float32, device='cpu', requires_grad=True)"


# Making


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1.5, "float32"), ([1, 2], "int64"), (True, "bool"), ([[1.0], [2.0]], "float32"),
        (np.ones(2), "float64"), (np.ones(2, np.float16), "float16"), (np.uint8([1]), "uint8"),
        (np.float64(1), "float64"),
    ],
)  # fmt: skip
def test_dtypes_of_data(data, dtype: str) -> None:
    assert fs.tensor(data).dtype_name == dtype
    assert fs.tensor(data, dtype="float64").dtype_name == "float64"


def test_an_array_is_shared_and_detach_shares() -> None:
    host = np.zeros(2)
    t = fs.tensor(host, requires_grad=True)
    host[0] = 1.0
    assert t.numpy()[0] == 1.0
    assert t.detach().array is t.array
    assert not t.detach().requires_grad
    assert t.to("cpu") is t


@pytest.mark.parametrize(
    ("data", "given", "message"),
    [
        ("text", {}, "data expected numbers; got dtype"),
        ([None], {}, "data expected numbers; got dtype object"),
        ([1j], {}, "data expected numbers; got dtype complex"),
        ([1, 2], {"requires_grad": True}, "requires_grad expected a floating-point dtype; got int"),
        (fs.tensor(1.0), {}, "data expected host data; got a Tensor"),
    ],
)
def test_data_that_are_refused(data, given: dict, message: str) -> None:
    with pytest.raises(DTypeError, match=message):
        fs.tensor(data, **given)


def test_ragged_lists_and_unknown_dtypes_are_refused() -> None:
    with pytest.raises((InputError, DTypeError), match="tensor: data"):
        fs.tensor([[1.0], [1.0, 2.0]])
    with pytest.raises(DTypeError, match=r"tensor: dtype expected one of .*; got 'float31'"):
        fs.tensor([1.0], dtype="float31")


def test_the_public_face_has_it() -> None:
    assert fs.Tensor is Tensor
    assert fs.tensor([1.0]).backend is open_backend()
