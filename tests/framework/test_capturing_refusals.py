"""What cannot be captured: the reason is told once, and the step runs as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn, ops
from flagstone.backend import Backend, open_backend
from flagstone.devices import Device
from flagstone.errors import CaptureError
from flagstone.ops.door import ALL_OPS, op

RNG = np.random.default_rng(0)


class Plain(Backend):
    """Another device, over NumPy."""

    name = "plain"
    xp = np


def reason(function: Any, *make: Callable[[], Any]) -> str:
    """Why it cannot be captured; it must run as it is and give its results meanwhile."""
    captured = fs.capture(function)
    with pytest.warns(RuntimeWarning, match=r"cannot be captured: .*It runs uncaptured"):
        run(captured, *make)
    assert isinstance(captured.reason, CaptureError)
    run(captured, *make)  # and it is said once only
    with pytest.raises(CaptureError):
        run(fs.capture(function, strict=True), *make)
    return str(captured.reason)


def run(function: Any, *make: Callable[[], Any]) -> None:
    for _ in range(6):
        function(*[m() for m in make])


def vector() -> fs.Tensor:
    return fs.tensor(RNG.standard_normal(3).astype(np.float32), device="cpu")


@pytest.mark.parametrize(
    "read",
    [
        lambda x: ops.sum(x).item(),
        lambda x: bool(ops.sum(x) > 0),
        lambda x: float(ops.sum(x)),
        lambda x: np.asarray(x),
        lambda x: x.numpy(),
        lambda x: repr(x),
    ],
)
def test_a_step_that_reads_values(read: Any) -> None:
    def step(x: fs.Tensor) -> fs.Tensor:
        read(x)
        return x + 1.0

    assert "reads a tensor of shape" in reason(step, vector)


def test_a_step_whose_calls_depend_on_state() -> None:
    counted = iter(range(100))

    def step(x: fs.Tensor) -> fs.Tensor:
        return ops.exp(x) if next(counted) % 2 else ops.tanh(x)

    assert "where one run calls" in reason(step, vector)


def test_a_step_with_another_number_of_calls() -> None:
    counted = iter(range(100))

    def step(x: fs.Tensor) -> fs.Tensor:
        for _ in range(1 + next(counted) % 2):
            x = ops.exp(x)
        return x

    assert "op calls, the next" in reason(step, vector)


def test_a_step_with_a_changing_number_or_array() -> None:
    counted = iter(range(100))
    assert "multiply: b is" in reason(lambda x: x * float(next(counted)), vector)

    def clipped(x: fs.Tensor) -> fs.Tensor:
        return ops.clip(x, high=float(next(counted)))

    assert "clip: high is" in reason(clipped, vector)

    def shifted(x: fs.Tensor) -> fs.Tensor:
        return x + fs.tensor(np.full(3, next(counted), np.float32), device="cpu")

    assert "changes from step to step and is no argument" in reason(shifted, vector)


def test_dropout_outside_of_a_trainer_counts_its_calls() -> None:
    drop = nn.Dropout(0.5)
    assert "random_bits: counter is an array that changes" in reason(drop.forward, vector)
    place = fs.tensor(np.zeros(2, np.uint64), device="cpu")

    def step(x: fs.Tensor, place: fs.Tensor) -> fs.Tensor:
        with nn.stream_position(place):
            return drop(x)

    captured = fs.capture(step, strict=True)
    for i in range(6):
        place = fs.tensor(np.array([i, 7], np.uint64), device="cpu")
        x = fs.tensor(RNG.standard_normal(20).astype(np.float32), device="cpu")
        np.testing.assert_array_equal(captured(x, place).numpy(), step(x, place).numpy())


def test_what_outlives_a_step() -> None:
    seen: list[fs.Tensor] = []

    def keeping(x: fs.Tensor) -> None:
        seen.append(ops.sum(x))

    assert "that sum made lives on" in reason(keeping, vector)

    def leaving(x: fs.Tensor) -> None:
        seen.append(ops.exp(x).detach())

    assert "that exp made lives on" in reason(leaving, vector)
    leaf = fs.tensor([1.0, 2.0, 3.0], device="cpu", requires_grad=True)

    def grad(x: fs.Tensor) -> None:
        leaf.grad = None
        ops.sum(leaf * x).backward()

    assert "as the grad of a leaf" in reason(grad, vector)


def test_a_tape_that_would_be_lost() -> None:
    layer = nn.Linear(3, 1).initialize(0)
    text = reason(lambda x: layer(x), vector)
    assert "gradients could still pass" in text
    assert "no_grad()" in text


def test_a_view_without_an_op_and_a_write_to_something_new() -> None:
    def view(x: fs.Tensor) -> fs.Tensor:
        y = ops.exp(x)
        return fs.Tensor(y.array[1:], y.backend) * 2.0

    assert "a view that was made without an op" in reason(view, vector)

    def write(x: fs.Tensor) -> fs.Tensor:
        zeros = fs.tensor(np.zeros(3, np.float32), device="cpu")
        ops.accumulate(zeros, x)
        return zeros

    assert "writes to an array that every step makes anew" in reason(write, vector)


def test_a_shape_that_depends_on_values() -> None:
    @op(differentiable=False)
    def positive(xp: Any, x: Any) -> Any:
        return x[x > 0]

    try:
        rng = np.random.default_rng(1)
        made = iter([rng.standard_normal(50).astype(np.float32) for _ in range(50)])
        text = reason(lambda x: ops.sum(positive(x)), lambda: fs.tensor(next(made), device="cpu"))
    finally:
        del ALL_OPS["positive"]
    assert "its shape depends on values" in text


def test_a_changing_python_result() -> None:
    counted = iter(range(100))
    assert "another Python value" in reason(lambda x: (x + 1.0, next(counted)), vector)


def test_a_tensor_of_another_device() -> None:
    other = Plain(Device("plain"))
    here = open_backend("cpu")

    def step(x: fs.Tensor) -> fs.Tensor:
        ops.exp(fs.Tensor(np.zeros(2, np.float32), other))
        return x + 1.0

    captured = fs.capture(step, device=here, strict=True)
    with pytest.raises(CaptureError, match="exp works on plain, not on cpu"):
        run(captured, vector)
