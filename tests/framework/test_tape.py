"""Reverse-mode differentiation, and what the tape keeps alive."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import numpy as np
import pytest

import flagstone as fs
from flagstone import ops
from flagstone.backend import Backend
from flagstone.errors import DeviceMismatchError, DTypeError, GradientError, ShapeError
from flagstone.tape import enable_grad, grad, no_grad
from flagstone.tensors import Tensor


def leaf(*values: float) -> Tensor:
    return fs.tensor(np.array(values), requires_grad=True)


def gradient_of(x: Tensor) -> np.ndarray:
    assert x.grad is not None
    return x.grad.numpy()


def test_backward_adds_to_leaves() -> None:
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    (x * y).sum().backward()
    np.testing.assert_array_equal(gradient_of(x), [3.0, 4.0])
    np.testing.assert_array_equal(gradient_of(y), [1.0, 2.0])
    (x * 10.0).sum().backward()
    np.testing.assert_array_equal(gradient_of(x), [13.0, 14.0])
    np.testing.assert_array_equal(gradient_of(y), [1.0, 2.0])


def test_adding_leaves_earlier_gradients_as_they_were() -> None:
    x = leaf(1.0)
    y = leaf(1.0)
    (x + y).sum().backward()  # both gradients are the seed itself
    (x * 2.0).sum().backward()
    assert gradient_of(x).item() == 3.0
    assert gradient_of(y).item() == 1.0


def test_a_leaf_differentiates_itself() -> None:
    x = leaf(5.0)
    x.backward()
    assert gradient_of(x).item() == 1.0


def test_a_gradient_may_be_given() -> None:
    x = leaf(1.0, 2.0)
    (x * x).backward(fs.tensor(np.array([10.0, 100.0])))
    np.testing.assert_array_equal(gradient_of(x), [20.0, 400.0])


def test_diamonds_and_reuse() -> None:
    x = leaf(3.0)
    a = x * x
    y = a * a + a * x + x  # x**4 + x**3 + x
    y.sum().backward()
    assert gradient_of(x).item() == 4 * 27 + 3 * 9 + 1


def test_a_ladder_of_diamonds_takes_linear_time() -> None:
    x = leaf(1.0)
    y = x
    for _ in range(200):  # 2**200 paths
        y = (y + y) * 0.5
    y.sum().backward()
    assert gradient_of(x).item() == 1.0


def test_a_long_chain_does_not_recurse() -> None:
    x = leaf(1.0)
    y = x
    for _ in range(5000):
        y = y + 0.0
    y.sum().backward()
    assert gradient_of(x).item() == 1.0


def test_a_shared_branch_of_which_one_part_needs_no_gradient() -> None:
    x, c = leaf(2.0), fs.tensor(np.array([5.0]))
    shared = x * c
    (ops.sign(shared) * shared.detach() + shared).sum().backward()
    assert gradient_of(x).item() == 5.0
    assert c.grad is None


def test_several_outputs_of_which_some_are_used() -> None:
    x = fs.tensor(np.arange(6.0).reshape(3, 2), requires_grad=True)
    w, b = leaf(1.0, 1.0), leaf(0.0, 0.0)
    _, mean, var = ops.batch_norm(x, w, b, eps=0.1)
    (mean * 3.0 + var).sum().backward()
    values = np.arange(6.0).reshape(3, 2)
    expected = 1.0 + 2 * (values - values.mean(0)) / 3
    np.testing.assert_allclose(gradient_of(x), expected)
    assert w.grad is None


# Modes


def test_no_grad_and_enable_grad() -> None:
    x = leaf(1.0)
    with no_grad():
        y = x * 2.0
        with enable_grad():
            z = x * 2.0
        assert not (x * 2.0).requires_grad
    assert not y.requires_grad
    assert z.requires_grad
    assert (x * 2.0).requires_grad
    with pytest.raises(ZeroDivisionError), no_grad():
        raise ZeroDivisionError
    assert (x * 2.0).requires_grad


def test_no_grad_decorates() -> None:
    @no_grad()
    def predict(x: Tensor) -> Tensor:
        return x * 2.0

    assert not predict(leaf(1.0)).requires_grad
    assert not predict(leaf(1.0)).requires_grad


def test_backward_itself_leaves_nothing_on_the_tape() -> None:
    x = leaf(1.0)
    (x * x).sum().backward()
    assert x.grad is not None
    assert not x.grad.requires_grad


def test_integers_and_truth_values_carry_no_gradient() -> None:
    x = leaf(1.5, -2.5)
    assert not x.astype("int64").requires_grad
    assert not (x > 0).requires_grad
    narrow = x.astype("float32")
    assert narrow.requires_grad
    narrow.sum().backward()
    assert gradient_of(x).dtype == np.float64


# A tape is used once


def test_a_used_up_tape() -> None:
    x = leaf(2.0)
    y = (x * x).sum()
    y.backward()
    with pytest.raises(GradientError, match=r"the tape below .* was used up .*retain_graph=True"):
        y.backward()
    assert gradient_of(x).item() == 4.0


def test_a_tape_may_be_retained() -> None:
    x = leaf(2.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert gradient_of(x).item() == 8.0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: fs.tensor([1.0]).backward(), GradientError, "nothing that this tensor was"),
        (lambda: leaf(1.0, 2.0).backward(), ShapeError, r"got shape \(2,\) and no gradient"),
        (lambda: leaf(1.0).backward(leaf(1.0, 2.0)), ShapeError, r"of shape \(1,\); got \(2,\)"),
        (lambda: leaf(1.0).backward(fs.tensor([1.0])), DTypeError, "float64; got float32"),
        (lambda: leaf(1.0).backward(np.ones(1)), DTypeError, "float64; got ndarray"),
    ],
)
def test_backward_refuses(call, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_a_gradient_from_another_device(strict: Backend) -> None:
    with pytest.raises(DeviceMismatchError, match="expected gradient on cpu; got one on strict"):
        leaf(1.0).backward(fs.tensor(np.ones(1), device="strict"))


# grad()


def test_grad_touches_no_leaf_and_reaches_what_lies_between() -> None:
    x, other = leaf(3.0), leaf(1.0)
    a = x * x
    y = (a * a).sum()
    dx, da, dy, nothing = grad(y, [x, a, y, other])
    assert dx is not None
    assert da is not None
    assert dy is not None
    assert (dx.item(), da.item(), dy.item(), nothing) == (4 * 27.0, 18.0, 1.0, None)
    assert x.grad is None
    assert not dx.requires_grad


def test_grad_of_what_is_a_leaf_itself() -> None:
    x = leaf(3.0)
    (dx,) = grad(x, [x])
    assert dx is not None
    assert dx.item() == 1.0


def test_gradients_of_gradients_to_the_third_order() -> None:
    x = leaf(2.0)
    found: Tensor = (x * x * x * x).sum()
    for expected in (32.0, 48.0, 48.0):
        (derivative,) = grad(found, [x], create_graph=True)
        assert derivative is not None
        found = derivative.sum()
        assert found.item() == expected


def test_a_gradient_penalty_reaches_the_weights() -> None:
    x, w = fs.tensor(np.array([[1.0, 2.0]])), leaf(0.5, -0.5)
    x.requires_grad = True
    y = ops.tanh((x * w).sum())
    (dx,) = grad(y, [x], create_graph=True)
    assert dx is not None
    (dx * dx).sum().backward()

    def penalty(values: np.ndarray) -> float:
        slope = 1 - np.tanh(values @ [1.0, 2.0]) ** 2
        return float(np.sum((slope * values) ** 2))

    h = 1e-6
    at = np.array([0.5, -0.5])
    numeric = [(penalty(at + h * e) - penalty(at - h * e)) / (2 * h) for e in np.eye(2)]
    np.testing.assert_allclose(gradient_of(w), numeric, rtol=1e-6)


# What is kept alive


@pytest.fixture
def _no_gc() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def _watch(t: Tensor) -> weakref.ref:
    return weakref.ref(t.array)


@pytest.mark.usefixtures("_no_gc")
def test_activations_go_without_the_garbage_collector() -> None:
    x = fs.tensor(np.ones((4, 4)), requires_grad=True)
    hidden = ops.tanh(x @ x)
    out = ops.softmax(hidden * 2.0)
    watched = [_watch(hidden), _watch(out), weakref.ref(hidden), weakref.ref(out.node)]
    loss = out.sum()
    del hidden, out
    loss.backward()
    del loss
    assert [w() for w in watched] == [None] * 4


@pytest.mark.usefixtures("_no_gc")
def test_a_graph_that_is_never_differentiated_goes_too() -> None:
    x = fs.tensor(np.ones((4, 4)), requires_grad=True)
    y = ops.batch_norm(ops.relu(x @ x), x[0], x[1], eps=0.1)[0]
    node, array = weakref.ref(y.node), _watch(y)
    del y
    assert node() is None
    assert array() is None


@pytest.mark.usefixtures("_no_gc")
def test_backward_frees_what_pullbacks_kept_while_the_loss_lives() -> None:
    x = fs.tensor(np.ones((4, 4)), requires_grad=True)
    hidden = ops.exp(x)
    kept = _watch(hidden)
    loss = hidden.sum()
    del hidden
    assert kept() is not None
    loss.backward()
    assert kept() is None


@pytest.mark.usefixtures("_no_gc")
def test_gradients_of_gradients_leave_no_cycle() -> None:
    x = fs.tensor(np.ones(3), requires_grad=True)
    y = ops.sigmoid(x)
    (dx,) = grad(y.sum(), [x], create_graph=True)
    assert dx is not None
    watched = [_watch(y), weakref.ref(y.node), weakref.ref(dx.node)]
    dx.sum().backward()
    del y, dx
    assert [w() for w in watched] == [None] * 3


@pytest.mark.usefixtures("_no_gc")
@pytest.mark.parametrize(
    ("call", "keeps_x"),
    [
        (ops.relu, False), (ops.leaky_relu, False), (ops.elu, False), (ops.sigmoid, False),
        (ops.tanh, False), (ops.exp, False), (ops.sqrt, False), (ops.softmax, False),
        (ops.sum, False), (lambda x: x + 1.0, False), (lambda x: x - 2.0, False),
        (lambda x: ops.reshape(x, (1, -1)) + 1.0, False),
        (lambda x: ops.max_pool2d(ops.reshape(x, (1, 2, 2, 1)) + 1.0, 2), False),
        (lambda x: x.astype("float32"), False), (ops.log, True), (lambda x: x * x, True),
    ],
)  # fmt: skip
def test_the_tape_keeps_only_what_the_pullback_asks_for(call, keeps_x: bool) -> None:
    start = fs.tensor(np.ones(4), requires_grad=True)
    x = start * 1.5
    watched = _watch(x)
    y = call(x)
    del x
    assert (watched() is not None) == keeps_x
    assert y.requires_grad
