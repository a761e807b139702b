"""The one door: how ops are defined and called, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import ops
from flagstone.backend import Backend, Traits, declines, open_backend
from flagstone.errors import (
    ConfigurationError,
    DeviceMismatchError,
    DTypeError,
    GradientError,
    InputError,
)
from flagstone.ops import ALL_OPS, op
from flagstone.tape import observe
from flagstone.tensors import Tensor
from flagstone.testing import gradcheck


@pytest.fixture(autouse=True)
def _ops_as_they_were() -> Iterator[None]:
    before = dict(ALL_OPS)
    yield
    ALL_OPS.clear()
    ALL_OPS.update(before)


def x(*values: float, **given: object) -> Tensor:
    return fs.tensor(list(values), device="cpu", **given)


# Calls


def test_arrays_of_two_devices(strict: Backend) -> None:
    there = fs.tensor([1.0], device="strict")
    with pytest.raises(DeviceMismatchError) as caught:
        x(1.0) + there
    assert str(caught.value) == (
        "add: expected all arrays on one device; got numpy on cpu and strict on strict. "
        "Move one with x.to('cpu')"
    )
    assert (x(1.0) + there.to("cpu")).item() == 2.0
    assert x(1.0).to("strict").device == strict.device


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.relu([1.0]), "relu: x expected a Tensor; got list. Wrap it with flagstone."),
        (lambda: ops.relu(np.ones(2)), "relu: x expected a Tensor; got ndarray"),
        (lambda: ops.relu(3.0), "relu: x expected a Tensor; got float"),
        (lambda: ops.sum("text"), "sum: x expected a Tensor; got str"),
        (lambda: x(1.0) + "text", "add: b expected a Tensor; got str"),
        (lambda: np.ones(2) + x(1.0, 2.0), "add: b expected a Tensor; got ndarray"),
        (lambda: x(1.0) == None, "equal: b expected a Tensor; got NoneType"),  # noqa: E711  # on purpose
        (lambda: ops.linear(x(1.0), None), "linear: w expected a Tensor; got NoneType"),
        (lambda: ops.mean([1.0]), "mean: x expected a Tensor; got list"),
        (lambda: ops.concatenate(x(1.0), 2.0), "concatenate: xs expected a Tensor; got float"),
    ],
)
def test_what_is_no_tensor(call, message: str) -> None:
    with pytest.raises(DTypeError) as caught:
        call()
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: ops.relu(), "relu() is missing 'x'; it takes x"),
        (lambda x: ops.relu(x, x), "relu() got 2 positional arguments; it takes x"),
        (lambda x: ops.add(x), "add() is missing 'b'; it takes a, b"),
        (lambda x: ops.relu(x, alpha=1), "relu() got an unexpected argument 'alpha'; it takes x"),
        (
            lambda x: ops.power(x, 2.0),
            "power() got 2 positional arguments; it takes x and by name exponent",
        ),
        (
            lambda x: ops.sum(x, axes=0),
            "sum() got an unexpected argument 'axes'; it takes x and by name axis, keepdims",
        ),
    ],
)
def test_what_an_op_does_not_take(call, message: str) -> None:
    """Python's own TypeError, in the op's words and not in those of its kernel or its check."""
    with pytest.raises(TypeError) as caught:
        call(fs.tensor([1.0, 2.0]))
    assert str(caught.value) == message


@pytest.mark.parametrize("number", [2, 2.0, np.float64(2), np.float32(2), np.int64(2), np.uint8(2)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_number_never_decides_the_dtype(number, dtype: str) -> None:
    t = fs.tensor([1.5], dtype=dtype, requires_grad=True)
    for y in (t * number, number * t, t / number, number - t, ops.maximum(t, number), t**number):
        assert y.dtype_name == dtype
    (t * number).backward()
    assert t.grad is not None
    assert t.grad.dtype_name == dtype
    np.testing.assert_array_equal(t.grad.numpy(), [2.0])


@pytest.mark.parametrize("value", [np.float64(0.3), 0.3])
def test_nor_does_a_static_argument(value) -> None:
    t = x(1.5, -1.5)
    mask = t > 0
    for y in (
        ops.leaky_relu(t, slope=value), ops.elu(t, alpha=value), ops.clip(t, low=value),
        ops.power(ops.abs(t), exponent=value), ops.keep(t, mask, scale=value),
        ops.batch_norm(ops.reshape(t, (2, 1)), t[:1], t[:1], eps=value)[0],
    ):  # fmt: skip
        assert y.dtype_name == "float32"


def test_a_mixture_of_dtypes() -> None:
    with pytest.raises(DTypeError, match=r"got a float32, b float64. Convert one with x.astype"):
        x(1.0) + x(1.0, dtype="float64")
    with pytest.raises(DTypeError, match=r"b expected a number that int64 can hold; got 0.5"):
        fs.tensor([1, 2]) * 0.5
    assert (fs.tensor([1, 2]) * 2).dtype_name == "int64"


def test_an_optional_argument_may_be_left_out_or_none() -> None:
    a, w = x(1.0, 2.0), ops.reshape(x(3.0, 4.0), (1, 2))
    assert ops.linear(a, w).item() == ops.linear(a, w, None).item() == 11.0


# Who looks on


def test_observe_sees_every_call_and_stops() -> None:
    seen: list[tuple] = []
    a = x(1.0, 2.0, requires_grad=True)
    with observe(lambda *call: seen.append(call)):
        y = ops.leaky_relu(a, slope=0.1)
        with observe(lambda *call: None):
            y + y
        y.sum().backward()
    y * y
    names = [call[0].name for call in seen]
    assert names[:2] == ["leaky_relu", "sum"]
    assert "where" in names  # the pullback of leaky_relu: the backward pass is seen too
    assert "add" not in names
    assert "multiply" not in names[:2]
    _, inputs, static, outputs = seen[0]
    assert inputs == (a,)
    assert static == {"slope": 0.1}
    assert outputs == (y,)


def test_checks_run_before_work() -> None:
    seen: list[object] = []
    with observe(lambda *call: seen.append(call)), pytest.raises(InputError, match="slope"):
        ops.leaky_relu(x(1.0), slope=-1)
    assert not seen


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "call",
    [
        ops.matmul, lambda a, b: ops.einsum("ij,jk", a, b), lambda a, b: ops.layer_norm(a, 2, b[0]),
        lambda a, b: ops.conv_transpose1d(a[None], b[None]),
    ],
)  # fmt: skip
def test_the_device_is_told_before_the_dtype(call: Any, dtype: Any, strict: Backend) -> None:
    a = Tensor(np.ones((2, 2), np.float32), open_backend("cpu"))
    b = Tensor(strict.asarray(np.ones((2, 2), dtype)), strict)
    with pytest.raises(DeviceMismatchError, match="expected all arrays on one device"):
        call(a, b)


# Definitions


def test_an_op_of_ones_own() -> None:
    @op
    def scaled(xp, a, b=None, *, by: float = 2.0):
        """``by * (a + b)``."""
        return (a if b is None else a + b) * by

    @scaled.check
    def _(a, b=None, *, by=2.0):
        if by == 0:
            raise InputError("scaled: by expected a number other than 0")

    @scaled.pullback
    def _(dy, by, need):
        return (dy * by, dy * by if len(need) > 1 and need[1] else None)

    assert ALL_OPS["scaled"] is scaled
    assert repr(scaled) == "<op scaled(a, b, by)>"
    assert scaled.__doc__ == "``by * (a + b)``."
    assert scaled.optional == ("b",)
    a = np.ones(3)
    gradcheck(scaled, [a], order=2)
    gradcheck(lambda p, q: scaled(p, q, by=3.0), [a, a], order=2)
    with pytest.raises(InputError, match="other than 0"):
        scaled(x(1.0), by=0)


def test_every_word_of_a_pullback() -> None:
    given: dict[str, object] = {}

    @op
    def two_faced(xp, a, b, *, k: int, unused: int = 7):
        return a * k, b + 0

    @two_faced.pullback
    def _(dys, ys, a, b_shape, a_dtype, need, k, unused):
        given.update(
            dys=dys, ys=ys, a=a, b_shape=b_shape, a_dtype=a_dtype, need=need, k=k, unused=unused
        )
        return (dys[0] * float(k), None)

    a, b = x(1.0, 2.0, requires_grad=True), x(3.0)
    first, _second = two_faced(a, b, k=5)
    first.sum().backward()
    assert given["a"] is a
    assert (given["b_shape"], given["a_dtype"]) == ((1,), "float32")
    assert (given["need"], given["k"], given["unused"]) == ((True, False), 5, 7)
    dys, ys = given["dys"], given["ys"]
    assert isinstance(dys, list)
    assert isinstance(ys, list)
    assert dys[1] is None
    np.testing.assert_array_equal(ys[0].numpy(), [5.0, 10.0])
    assert a.grad is not None
    np.testing.assert_array_equal(a.grad.numpy(), [5.0, 5.0])


def test_a_pullback_may_ask_for_one_of_several_outputs() -> None:
    @op
    def split_up(xp, a):
        return a * 2.0, a * a

    @split_up.pullback
    def _(dys, y1):
        return dys[1] * y1

    a = x(3.0, requires_grad=True)
    first, second = split_up(a)
    second.sum().backward(retain_graph=True)
    assert a.grad is not None
    assert a.grad.item() == 9.0
    assert first.node is second.node
    assert first.node is not None
    assert first.node.saved is not None
    (kept,) = first.node.saved
    assert kept is second.array


def kept_by(y: Tensor) -> list[object]:
    assert y.node is not None
    assert y.node.saved is not None
    return [saved for saved in y.node.saved if isinstance(saved, (Tensor, float))]


def test_a_tensor_is_kept_only_for_a_gradient_that_is_wanted() -> None:
    a, b, plain = x(1.0, requires_grad=True), x(2.0, requires_grad=True), x(3.0)
    assert kept_by(a * 2.0) == [2.0]  # ``a`` is of use to nobody
    assert kept_by(2.0 * a) == [2.0]
    (kept,) = kept_by(a * plain)
    assert kept is plain
    assert {id(t) for t in kept_by(a * b)} == {id(a), id(b)}
    (a * 2.0 * b * plain).sum().backward()
    assert a.grad is not None
    assert b.grad is not None
    assert (a.grad.item(), b.grad.item()) == (12.0, 6.0)


@pytest.mark.parametrize("frozen", ["weight", "input"])
def test_a_frozen_weight_keeps_no_input(frozen: str) -> None:
    rows = Tensor(np.ones((2, 3)), open_backend("cpu"), frozen == "weight")
    weight = Tensor(np.ones((4, 3)), open_backend("cpu"), frozen == "input")
    images = ops.reshape(rows, (2, 1, 3))
    for y, given in (
        (ops.linear(rows, weight), rows), (ops.matmul(rows, weight.T), rows),
        (ops.conv1d(images, ops.reshape(weight, (4, 1, 3))), images),
    ):  # fmt: skip
        assert any(t is given for t in kept_by(y)) == (frozen == "input")
        y.sum().backward()


def test_a_pullback_keeps_nothing_for_an_argument_that_may_be_left_out() -> None:
    @op
    def some_op(xp, a, b=None):
        return a

    with pytest.raises(ConfigurationError, match="pullback of some_op: nothing is named 'a_for_b'"):

        @some_op.pullback
        def _(dy, a_for_b): ...


def test_a_pullback_that_asks_for_what_is_not_there() -> None:
    @op
    def some_op(xp, a):
        return a

    with pytest.raises(
        ConfigurationError,
        match=r"pullback of some_op: nothing is named 'b'; .*: dy, .*, a, a_shape",
    ):

        @some_op.pullback
        def _(dy, b): ...


@pytest.mark.parametrize("name", ["y", "dy", "need"])
def test_an_argument_with_a_name_of_a_pullback(name: str) -> None:
    def clashing(xp, a): ...

    source = f"def clashing(xp, a, {name}): ..."
    space: dict = {"__name__": "somewhere"}
    exec(source, space)
    with pytest.raises(InputError, match=f"op clashing: an argument is named {name}, which means"):
        op(space["clashing"])


def test_a_name_that_another_module_took() -> None:
    def relu(xp, a): ...

    with pytest.raises(
        InputError, match=r"op relu: flagstone.ops.activation defines an op of this"
    ):
        op(relu)
    assert ALL_OPS["relu"] is ops.relu


def test_a_module_may_define_its_op_again() -> None:
    def mine(xp, a):
        return a

    op(mine)
    again = op(mine)
    assert ALL_OPS["mine"] is again


def test_an_op_without_a_pullback() -> None:
    @op
    def one_way(xp, a):
        return a + 1

    a = x(1.0, requires_grad=True)
    with pytest.raises(GradientError, match=r"one_way: has no pullback.*no_grad.*x.detach"):
        one_way(a)
    assert one_way(a.detach()).item() == 2.0
    with fs.no_grad():
        assert one_way(a).item() == 2.0


def test_what_writes_is_never_taped() -> None:
    a = fs.tensor(np.ones(2), requires_grad=True)
    assert ops.accumulate(a, fs.tensor(np.ones(2))) == ()
    np.testing.assert_array_equal(a.numpy(), [2.0, 2.0])
    assert a.node is None


# Kernels


def test_a_kernel_serves_its_op_and_one_that_declines_says_so_once() -> None:
    cpu = open_backend("cpu")
    backend = type(cpu)(cpu.device)
    backend.kernels = {
        "exp": lambda a: np.full_like(a, 7.0),
        "log": declines(lambda a: NotImplemented if a.dtype == np.float64 else a * 0),
    }
    a = Tensor(np.ones(2, np.float32), backend)
    wide = Tensor(np.ones(2), backend)
    np.testing.assert_array_equal(ops.exp(a).numpy(), [7.0, 7.0])
    np.testing.assert_array_equal(ops.sqrt(a).numpy(), [1.0, 1.0])
    np.testing.assert_array_equal(ops.log(a + 1.0).numpy(), [0.0, 0.0])
    with pytest.warns(RuntimeWarning, match=r"log: the kernel of numpy does not serve \(float64\)"):
        y = ops.log(wide + 1.0)
    np.testing.assert_allclose(y.numpy(), np.log(2.0))
    ops.log(wide)  # warnings are errors here: a second one would raise


def test_a_kernel_is_not_asked_for_fewer_values_than_it_serves() -> None:
    cpu = open_backend("cpu")
    backend = type(cpu)(cpu.device)
    backend.kernels = {"exp": Traits(least=3)(declines(lambda a: np.full_like(a, 7.0)))}
    values = np.array([0.0, 1.0, 2.0])
    np.testing.assert_allclose(ops.exp(Tensor(values[:2], backend)).numpy(), np.exp(values[:2]))
    np.testing.assert_array_equal(ops.exp(Tensor(values, backend)).numpy(), [7.0, 7.0, 7.0])
