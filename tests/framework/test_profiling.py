"""Profiling: every op call once, with its layer, its bytes, and what is in use."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import flagstone as fs
from flagstone import losses, nn, ops, optim
from flagstone.backend import open_backend
from flagstone.profiling import OpCall, Profiler, by, chrome_trace

CPU = open_backend("cpu")


def numbers(*shape: int) -> fs.Tensor:
    return fs.tensor(np.ones(shape, np.float32), device="cpu")


def test_calls_with_bytes_and_what_is_in_use() -> None:
    x = numbers(10, 10)
    with Profiler(CPU) as profiler:
        y = ops.exp(x)
        z = ops.reshape(y, 100)
        del y
        s = ops.sum(z)
        del z
        ops.tanh(s)
    assert [c.op for c in profiler.calls] == ["exp", "reshape_to", "sum", "tanh"]
    assert [c.bytes for c in profiler.calls] == [400, 0, 4, 4]
    assert [c.live for c in profiler.calls][:2] == [400, 400]
    assert profiler.calls[3].live <= 8
    assert all(c.phase == "rest" and c.layer == "" for c in profiler.calls)
    assert all(a.start <= b.start for a, b in zip(profiler.calls, profiler.calls[1:], strict=False))


def test_layers_forward_and_backward() -> None:
    layer = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).initialize(0, device="cpu")
    optimizer = optim.SGD(layer, 0.1)
    with Profiler(CPU, layer) as profiler:
        loss = losses.mse(layer(numbers(5, 4)), numbers(5, 2))
        loss.backward()
        optimizer.step()
    of = {(c.op, c.layer, c.phase) for c in profiler.calls}
    assert {
        ("linear_tanh", "0 Linear", "forward"),  # with the activation behind it
        ("linear", "2 Linear", "forward"),
        ("linear_weight_grad", "0 Linear", "backward"),
        ("linear_weight_grad", "2 Linear", "backward"),
        ("batched_matmul", "2 Linear", "backward"),
        ("sgd_update", "", "rest"),
    } <= of
    assert ("multiply", "0 Linear", "backward") in of
    assert not any(phase == "forward" and not path for _, path, phase in of)


def test_the_backend_is_as_before_and_numbers_are_the_same() -> None:
    table = CPU.table
    x = numbers(3)
    with Profiler(CPU):
        inside = ops.exp(x)
    assert CPU.table is table
    np.testing.assert_array_equal(inside.numpy(), ops.exp(x).numpy())


def test_a_slow_kernel_is_seen() -> None:
    from flagstone.devices import Device

    backend = type(CPU)(Device("cpu"))

    def exp(x: Any) -> Any:
        time.sleep(0.02)
        return np.exp(x)

    backend.kernels = {**backend.kernels, "exp": exp}
    with Profiler(backend) as profiler:
        ops.exp(fs.Tensor(np.ones(2, np.float32), backend))
    assert 0.02 <= profiler.calls[0].seconds < 1


def call(op: str, seconds: float, start: float = 0.0) -> OpCall:
    return OpCall(op, "l", "forward", start, seconds, 100, 700)


def test_groups_and_the_trace() -> None:
    calls = [call("a", 1.0), call("b", 5.0, 1.0), call("a", 2.0, 6.0), call("b", 1.0, 8.0)]
    first, second = by(lambda c: c.op, calls, steps=2)
    assert (first.name, first.calls, first.seconds, first.bytes) == ("b", 1.0, 3.0, 100.0)
    assert (second.name, second.seconds) == ("a", 1.5)
    events = chrome_trace(calls)["traceEvents"]
    assert events[2] == {
        "name": "b", "cat": "forward", "ph": "X", "pid": 1, "tid": 1, "ts": 1e6, "dur": 5e6,
        "args": {"layer": "l", "bytes": 100},
    }  # fmt: skip
    assert events[3]["ph"] == "C"
    assert events[3]["ts"] == 6e6
    assert events[3]["args"] == {"bytes": 700}
