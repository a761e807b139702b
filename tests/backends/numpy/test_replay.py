"""The replay of a step gives the bits of the step itself, in memory that is planned once."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import losses, nn, ops, optim
from flagstone.backend import Traits
from flagstone.devices import Device
from flagstone.tensors import Tensor
from flagstone.testing import OP_TABLE, Draw, OpRow
from flagstone_numpy.backend import NumpyBackend
from flagstone_numpy.kernels import elementwise
from flagstone_numpy.replay.memory import Buffer, block, place

CPU = NumpyBackend(Device("cpu"))  # without the kernels of plugins


def tensor(a: Any) -> Tensor:
    return fs.tensor(a, device=CPU)


def as_bytes(*results: Any) -> list[bytes]:
    """Dtype, shape and bits of every tensor."""
    found = []
    for x in results:
        if isinstance(x, (tuple, list)):
            found += as_bytes(*x)
        elif isinstance(x, Tensor):
            a = x.numpy()
            found.append(f"{a.dtype}{a.shape}".encode() + a.tobytes())
    return found


def replay_of(captured: Any) -> Any:
    return captured._entries[0][1]._replay


# Every op


@pytest.mark.parametrize("row", [pytest.param(row, id=name) for name, row in OP_TABLE.items()])
def test_every_op(row: OpRow) -> None:
    """Each sample's shapes with three draws of values: two recorded, one replayed."""
    dtype = row.dtypes[0]
    draws = [Draw(seed, dtype) for seed in range(3)]
    rounds = [[*row.samples(draw), *row.value_samples(draw)] for draw in draws]
    with np.errstate(all="ignore"):
        for samples in zip(*rounds, strict=True):
            static = samples[0].static

            def call(*tensors: Any, static: Any = static) -> Any:
                return row.call(*tensors, **static)

            captured = fs.capture(call, strict=True)
            for sample in samples:
                if sample.static != static:
                    break
                given, twins = (
                    [tensor(x.copy()) if isinstance(x, np.ndarray) else x for x in sample.arrays]
                    for _ in range(2)
                )
                expected = call(*given)
                assert as_bytes(captured(*twins)) == as_bytes(expected), sample
                assert as_bytes(*twins) == as_bytes(*given), sample


@pytest.mark.parametrize("row", [pytest.param(row, id=name) for name, row in OP_TABLE.items()])
def test_every_gradient(row: OpRow) -> None:
    if not row.differentiable:
        pytest.skip("no gradient")
    draws = [Draw(seed, row.dtypes[0]) for seed in range(3)]
    with np.errstate(all="ignore"):
        for samples in zip(*[[*row.samples(draw)] for draw in draws], strict=True):
            static = samples[0].static

            def call(*tensors: Any, static: Any = static) -> Any:
                result = row.call(*tensors, **static)
                outputs = [y for y in _all(result) if y.requires_grad and "float" in y.dtype_name]
                if not outputs:
                    return None
                total = ops.sum(outputs[0] * outputs[0])
                for y in outputs[1:]:
                    total = total + ops.sum(y)
                leaves = [x for x in tensors if isinstance(x, Tensor) and x.requires_grad]
                return fs.grad(total, leaves)

            captured = fs.capture(call, strict=True)
            for sample in samples:
                given = []
                for i, x in enumerate(sample.arrays):
                    given.append(tensor(x) if isinstance(x, np.ndarray) else x)
                    if i in row.differentiable and isinstance(given[-1], Tensor):
                        given[-1].requires_grad = True
                assert as_bytes(captured(*given)) == as_bytes(call(*given)), sample


def _all(result: Any) -> Sequence[Tensor]:
    return result if isinstance(result, (tuple, list)) else [result]


# How it does it


def test_a_step_without_allocations() -> None:
    """A replay allocates what it returns and little else."""
    layer = nn.mlp(64, (128, 128), 10).initialize(0, device=CPU)
    optimizer = optim.SGD(layer, 0.1)

    def step(x: Tensor, y: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = losses.cross_entropy(layer(x), y)
        loss.backward()
        optimizer.step()
        return loss

    captured = fs.capture(step, strict=True)
    rng = np.random.default_rng(0)
    x = tensor(rng.standard_normal((100, 64)).astype(np.float32))
    y = tensor(rng.integers(0, 10, 100))
    for _ in range(5):
        captured(x, y)
    tracemalloc.start()
    captured(x, y)
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    captured(x, y)
    assert tracemalloc.get_traced_memory()[1] - before < 40_000  # of which a ufunc's cast is 32 kB
    tracemalloc.stop()
    activations = 4 * 100 * (128 + 128 + 10)
    assert replay_of(captured).memory < 2.2 * activations


def test_what_nothing_depends_on_is_left_out() -> None:
    def step(x: Tensor) -> Tensor:
        ops.exp(x)
        y = ops.tanh(x)
        return y * ops.tanh(x) + (tensor(np.float32([2.0])) * 3.0)

    captured = fs.capture(step, strict=True)
    for _ in range(4):
        x = tensor(np.float32([0.5, 1.0]))
        assert as_bytes(captured(x)) == as_bytes(step(x))
    source = replay_of(captured).source
    assert "exp" not in source
    assert source.count("tanh") == 1, "a call that repeats another"
    assert source.count("multiply") == 1, "a product of constants"


def test_gradients_are_written_where_they_belong() -> None:
    layer = nn.Linear(4, 3).initialize(0, device=CPU)
    optimizer = optim.SGD(layer, 0.1)

    def step(x: Tensor) -> None:
        optimizer.zero_grad()
        ops.sum(layer(x) * layer(x)).backward()
        optimizer.step()

    captured = fs.capture(step, strict=True)
    for _ in range(4):
        captured(tensor(np.ones((5, 4), np.float32)))
    assert "copyto" not in replay_of(captured).source


def test_a_kernel_of_a_plugin_is_called_and_may_write_into_an_array() -> None:
    calls = []

    def relu(x: Any) -> Any:
        calls.append("kernel")
        return elementwise.relu(x)

    backend = NumpyBackend(CPU.device)
    backend.kernels = {**backend.kernels, "relu": relu}

    def step(x: Tensor) -> Tensor:
        return ops.exp(ops.relu(x))

    def run() -> None:
        captured = fs.capture(step, device=backend, strict=True)
        for i in range(4):
            x = Tensor(np.float32([-1.0, i]), backend)
            expected = np.exp(np.maximum(x.array, 0))
            np.testing.assert_array_equal(captured(x).numpy(), expected)

    run()
    assert calls == ["kernel"] * 4

    def into(out: Any, x: Any) -> None:
        calls.append("into")
        np.maximum(x, 0, out=out)

    Traits(into=into)(relu)
    calls.clear()
    run()
    assert calls == ["kernel", "kernel", "into", "into"]


def test_places_do_not_overlap_while_in_use() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        made = []
        for first in range(40):
            last = first + int(rng.integers(0, 8))
            shape = (int(rng.integers(1, 200)),)
            made.append(Buffer(shape, np.float32, (0,), first, last))
        size = place(made)
        memory = block(size)
        assert memory.ctypes.data % 64 == 0
        most = max(sum(b.size for b in made if b.first <= t <= b.last) for t in range(48))
        assert most <= size <= 1.5 * most
        for i, a in enumerate(made):
            for b in made[:i]:
                if a.first <= b.last and b.first <= a.last:
                    assert not np.may_share_memory(a.array(memory), b.array(memory))


def test_an_array_keeps_its_order_of_axes() -> None:
    buffer = Buffer((3, 4, 5), np.float64, (2, 0, 1), 0, 0)
    array = buffer.array(block(place([buffer])))
    assert array.shape == (3, 4, 5)
    assert array.strides == (32, 8, 96)
