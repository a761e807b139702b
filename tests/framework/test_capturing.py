"""Capturing: the same numbers as the function itself, and a reason where it cannot be done."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import losses, nn, ops, optim
from flagstone.backend import Backend
from flagstone.capturing import LIMIT, Captured, Recorded
from flagstone.devices import Device
from flagstone.errors import InputError

RNG = np.random.default_rng(0)


def numbers(*shape: int) -> fs.Tensor:
    return fs.tensor(RNG.standard_normal(shape).astype(np.float32), device="cpu")


def capture_of(function: Captured) -> Any:
    """The capture that was used last."""
    return function._entries[0][1]


def is_replayed(function: Captured) -> bool:
    return capture_of(function).program is not None


def bits(*tensors: fs.Tensor) -> bytes:
    return b"".join(t.numpy().tobytes() for t in tensors)


def vector() -> fs.Tensor:
    return numbers(3)


@pytest.fixture
def pair() -> Callable[..., Any]:
    """Makes a step over a new layer, always with the same first values."""

    def make(captured: bool, **options: Any) -> Any:
        layer = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1)).initialize(1)
        optimizer = optim.SGD(layer, 0.1)

        def step(x: fs.Tensor, y: fs.Tensor) -> fs.Tensor:
            optimizer.zero_grad()
            loss = losses.mse(layer(x), y)
            loss.backward()
            optimizer.step()
            return loss

        return (fs.capture(step, strict=True, **options) if captured else step), layer, optimizer

    return make


def test_every_call_counts_as_one_step_from_the_first_on(pair: Any) -> None:
    batches = [(numbers(6, 4), numbers(6, 1)) for _ in range(12)]
    plain, layer, _ = pair(False)
    captured, twin, _ = pair(True)
    for x, y in batches:
        assert bits(plain(x, y)) == bits(captured(x, y))
        assert bits(layer.flat.values) == bits(twin.flat.values)
    assert is_replayed(captured)


def test_a_returned_tensor_is_the_callers(pair: Any) -> None:
    captured, *_ = pair(True)
    x, y = numbers(6, 4), numbers(6, 1)
    got = [captured(x, y) for _ in range(8)]
    values = [loss.item() for loss in got]
    assert len(set(values)) == 8, "a later step wrote over an earlier loss"
    assert not any(loss.requires_grad for loss in got)


def test_other_shapes_are_captured_beside(pair: Any) -> None:
    plain, layer, _ = pair(False)
    captured, twin, _ = pair(True)
    for i in range(30):
        n = 6 if i % 5 else 3
        x, y = numbers(n, 4), numbers(n, 1)
        plain(x, y)
        captured(x, y)
    assert bits(layer.flat.values) == bits(twin.flat.values)
    assert len(captured._entries) == 2
    assert all(step.program is not None for _, step in captured._entries)


def test_the_least_recently_used_capture_goes() -> None:
    double = fs.capture(lambda x: x + x)
    for n in range(1, LIMIT + 3):
        double(numbers(n))
        double(numbers(1))
    assert len(double._entries) == LIMIT
    shapes = [key[0][0] for key, _ in double._entries]
    assert shapes[0] == (1,)
    assert (2,) not in shapes


def test_arguments_of_any_form() -> None:
    def total(x: fs.Tensor, others: Any, factor: float, name: str | None) -> Any:
        return {"sum": (x + others["a"] + others["b"][0]) * factor, "name": name, "all": [x, None]}

    captured = fs.capture(total, strict=True)
    for _ in range(5):
        a, b, c = numbers(2), numbers(2), numbers(2)
        given = (a, {"a": b, "b": (c,)}, 2.0, "n")
        got, expected = captured(*given), total(*given)
        assert bits(got["sum"]) == bits(expected["sum"])
        assert (got["name"], got["all"][1]) == ("n", None)
        assert bits(got["all"][0]) == bits(a)
    assert is_replayed(captured)
    with pytest.raises(InputError, match=r"expected tensors, None, numbers.*got ndarray"):
        captured(np.zeros(2), {}, 1.0, None)


def test_a_number_that_differs_is_another_signature() -> None:
    scaled = fs.capture(lambda x, factor: x * factor, strict=True)
    x = numbers(3)
    for factor in (2, 2.0, 3.0, True):
        for _ in range(3):
            got = scaled(x, factor) if factor is not True else scaled(x, 5.0)
            assert bits(got) == bits(x * (5.0 if factor is True else factor))
    assert len(scaled._entries) == 4


def test_it_is_a_decorator_too() -> None:
    @fs.capture
    def plus(x: fs.Tensor) -> fs.Tensor:
        """Adds one."""
        return x + 1.0

    @fs.capture(strict=True)
    def minus(x: fs.Tensor) -> fs.Tensor:
        return x - 1.0

    assert plus.__name__ == "plus"
    assert plus.__doc__ == "Adds one."
    x = numbers(2)
    assert bits(minus(plus(x))) == bits((x + 1.0) - 1.0)
    with pytest.raises(InputError, match="capture: expected a function; got int"):
        fs.capture(3)


# What it relies on


def test_layers_that_change_between_training_and_predicting_are_captured_anew() -> None:
    layer = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(4)).initialize(0)
    with fs.no_grad():
        forward = fs.capture(layer.forward, strict=True)
        x = numbers(5, 3)
        for mode in (True, False, True, False):
            layer.train(mode)
            twin = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(4)).initialize(0).train(mode)
            for _ in range(4):
                twin.load_state_dict(layer.state_dict())
                assert bits(forward(x)) == bits(twin(x))
    assert len(forward._entries) == 2


def test_a_layer_that_was_initialised_again_is_captured_anew() -> None:
    layer = nn.Linear(3, 2).initialize(0)
    with fs.no_grad():
        forward = fs.capture(layer.forward, strict=True)
        x = numbers(5, 3)
        before = [bits(forward(x)) for _ in range(4)][-1]
        layer.initialize(1)
        assert bits(forward(x)) == bits(layer(x)) != before


def test_frozen_parameters_are_captured_anew(pair: Any) -> None:
    captured, layer, _ = pair(True)
    x, y = numbers(6, 4), numbers(6, 1)
    for _ in range(4):
        captured(x, y)
    nn.freeze(layer[0])
    with pytest.raises(fs.FlagstoneError, match="frozen or unfrozen"):
        captured(x, y)


def test_a_learning_rate_that_is_set_holds_from_the_next_step_on(pair: Any) -> None:
    plain, layer, optimizer = pair(False)
    captured, twin, other = pair(True)
    x, y = numbers(6, 4), numbers(6, 1)
    for i in range(10):
        optimizer.lr = other.lr = 0.01 * (i + 1)
        plain(x, y)
        captured(x, y)
    assert bits(layer.flat.values) == bits(twin.flat.values)


def test_values_that_are_loaded_count(pair: Any) -> None:
    captured, layer, _ = pair(True)
    x, y = numbers(6, 4), numbers(6, 1)
    start = layer.state_dict()
    first = captured(x, y).item()
    for _ in range(5):
        captured(x, y)
    layer.load_state_dict(start)
    assert captured(x, y).item() == first


def test_gradients_on_and_off_are_two_captures() -> None:
    layer = nn.Linear(3, 1).initialize(0)

    def both(x: fs.Tensor) -> fs.Tensor:
        y = ops.sum(layer(x))
        if y.requires_grad:
            y.backward()
            layer.weight.grad = layer.bias.grad = None
        return y

    captured = fs.capture(both, strict=True)
    x = numbers(2, 3)
    for _ in range(4):
        with fs.no_grad():
            assert bits(captured(x)) == bits(ops.sum(layer(x)))
        assert bits(captured(x)) == bits(ops.sum(layer(x)))
    assert [step.program is not None for _, step in captured._entries] == [True, True]


def test_what_only_the_first_run_sets_up_is_no_hindrance() -> None:
    sums: dict[str, fs.Tensor] = {}

    def step(x: fs.Tensor) -> None:
        if "x" not in sums:
            x.numpy()
            sums["x"] = fs.tensor(np.zeros(3, np.float32), device="cpu")
        ops.accumulate(sums["x"], x)

    captured = fs.capture(step, strict=True)
    given = [numbers(3) for _ in range(7)]
    for x in given:
        captured(x)
    assert is_replayed(captured)
    expected = np.zeros(3, np.float32)
    for x in given:
        expected += x.numpy()
    assert bits(sums["x"]) == expected.tobytes()


# Around it


def test_an_exception_in_a_step_is_the_callers_and_changes_nothing_else(pair: Any) -> None:
    fail = False

    def step(x: fs.Tensor) -> fs.Tensor:
        if fail:
            raise KeyError("mine")
        return ops.exp(x)

    captured = fs.capture(step, strict=True)
    captured(vector())
    fail = True
    with pytest.raises(KeyError, match="mine"):
        captured(vector())
    fail = False
    for _ in range(4):
        x = vector()
        assert bits(captured(x)) == bits(ops.exp(x))
    assert is_replayed(captured)


def test_an_error_in_a_replay_is_typed() -> None:
    table = numbers(4, 2)
    pick = fs.capture(lambda i: ops.take(table, i), strict=True)
    for i in (0, 1, 2, 3):
        pick(fs.tensor(np.array([i]), device="cpu"))
    with pytest.raises(InputError, match="out of bounds"):
        pick(fs.tensor(np.array([9]), device="cpu"))
    assert bits(pick(fs.tensor(np.array([2]), device="cpu"))) == table.numpy()[2].tobytes()


def test_one_inside_another_becomes_part_of_it() -> None:
    inner = fs.capture(lambda x: ops.exp(x), strict=True)
    outer = fs.capture(lambda x: inner(x) * 2.0, strict=True)
    for _ in range(5):
        x = vector()
        assert bits(outer(x)) == bits(ops.exp(x) * 2.0)
    assert is_replayed(outer)
    assert not inner._entries


def test_an_observer_sees_the_op_calls() -> None:
    from flagstone.tape import observe

    twice = fs.capture(lambda x: x + x, strict=True)
    for _ in range(4):
        twice(vector())
    seen = []
    with observe(lambda op, *_: seen.append(op.name)):
        twice(vector())
    assert seen == ["add"]


def test_threads_take_turns() -> None:
    weight = numbers(64, 64)
    forward = fs.capture(lambda x: ops.tanh(x @ weight) @ weight, strict=True)
    given = [numbers(16, 64) for _ in range(8)]
    expected = [bits(ops.tanh(x @ weight) @ weight) for x in given]
    wrong = []

    def work(i: int) -> None:
        wrong.extend(i for _ in range(50) if bits(forward(given[i])) != expected[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


class Plain(Backend):
    """A backend that does not capture, over NumPy."""

    name = "plain"
    xp = np


class Replaying(Plain):
    """One that replays the record as it is."""

    def capture(self, step: Callable[..., Any], *_example: Any) -> Callable[..., Any]:
        return Recorded(step, self)


@pytest.mark.parametrize("kind", [Plain, Replaying])
def test_any_backend_gives_the_same_numbers(kind: type[Backend]) -> None:
    backend = kind(Device("plain"))
    results = []
    for captured in (False, True):
        layer = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1))
        layer.initialize(1, device=backend)
        optimizer = optim.Adam(layer, 0.01)

        def step(x: fs.Tensor, y: fs.Tensor, layer: Any = layer, o: Any = optimizer) -> Any:
            o.zero_grad()
            loss = losses.mse(layer(x), y)
            loss.backward()
            o.step()
            return loss

        do = fs.capture(step, strict=True) if captured else step
        rng = np.random.default_rng(2)
        for _ in range(20):
            x, y = (fs.tensor(rng.standard_normal((6, n)), device=backend) for n in (4, 1))
            do(x.astype("float32"), y.astype("float32"))
        results.append(bits(layer.flat.values))
        if captured:
            assert isinstance(capture_of(do), Recorded) is (kind is Replaying)
    assert results[0] == results[1]
