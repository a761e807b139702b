"""A parameter's first gradient is written to its place, with the numbers of one that is copied."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import losses, nn, ops, optim
from flagstone.ops import unrolled
from flagstone.ops.written_pullback import places_of
from flagstone.tape import grad, observe
from flagstone.tensors import Tensor, kind_of

TIMES = unrolled.AFTER + 2
RNG = np.random.default_rng(0)


def images(n: int = 8) -> Tensor:
    return fs.tensor(RNG.standard_normal((n, 12, 12, 3), np.float32), device="cpu")


def rows(n: int = 8) -> Tensor:
    return fs.tensor(RNG.standard_normal((n, 128), np.float32), device="cpu")


class Twice(nn.Layer):
    """Its weight is used two times."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(128, 128)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(ops.relu(self.inner(x)))


class Gram(nn.Layer):
    """One op takes its weight twice."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter((128, 128), nn.init.kaiming_uniform())

    def forward(self, x: Tensor) -> Tensor:
        return ops.matmul(x, ops.matmul(self.weight, self.weight))


def frozen_below() -> nn.Layer:
    first = nn.Linear(128, 128)
    first.weight.requires_grad = False
    return nn.Sequential(first, nn.ReLU(), nn.Linear(128, 64))


LAYERS: dict[str, tuple[Callable[[], nn.Layer], Callable[[], Tensor]]] = {
    "mlp": (lambda: nn.mlp(128, (64, 64), 10), rows),
    "batches of rows": (
        lambda: nn.Linear(128, 64),
        lambda: ops.reshape(rows(), 2, 4, 128),
    ),
    "shared": (Twice, rows),
    "twice in one op": (Gram, rows),
    "conv": (
        lambda: nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.Flatten()),
        images,
    ),
    "conv without bias": (
        lambda: nn.Sequential(nn.Conv2d(3, 32, 3), nn.Conv2d(32, 64, 3, bias=False)),
        images,
    ),
    "frozen below": (frozen_below, rows),
}


def gradients(layer: nn.Layer, *batches: Tensor) -> list[Any]:
    """Of all batches together, after calls that the pullbacks are learnt from."""
    for p in layer.parameters():
        p.grad = None
    for x in batches:
        y = layer(x)
        ops.sum(y * y).backward()
    return [None if p.grad is None else p.grad.numpy().copy() for p in layer.parameters()]


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("micro_batches", [1, 3])
def test_the_numbers_are_those_of_copies(name: str, micro_batches: int) -> None:
    make, draw = LAYERS[name]
    layer = make().initialize(0, device="cpu")
    flat = optim.SGD(layer, 0.1).flat
    flat.need_gradients()
    batches = [draw() for _ in range(micro_batches)]
    for _ in range(TIMES):
        found = gradients(layer, *batches)
    with observe(lambda *_: None):  # where each is made apart and assigned
        wanted = gradients(layer, *batches)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a, b)
    for p in layer.parameters():
        assert p.grad is (p.gradient if p.requires_grad else None)


def peak(function: Callable[[], object]) -> int:
    """Bytes that a call takes at its highest."""
    for _ in range(TIMES):
        function()
    tracemalloc.start()
    try:
        function()
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        function()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def test_a_step_takes_no_more_than_its_activations() -> None:
    """The step by hand needs four arrays of 100 x 256; no weight's gradient is made apart."""
    x = fs.tensor(RNG.standard_normal((100, 784), np.float32), device="cpu")
    labels = fs.tensor(RNG.integers(0, 10, 100), device="cpu")
    layer = nn.mlp(784, (256, 256), 10).initialize(0, device="cpu")
    optimizer = optim.SGD(layer, 0.01)

    def step() -> None:
        optimizer.zero_grad()
        losses.cross_entropy(layer(x), labels).backward()

    optimizer.flat.need_gradients()
    hidden = 100 * 256 * 4
    assert peak(step) < 5.5 * hidden < 784 * 256 * 4


def test_what_a_pullback_is_given_goes_after_its_last_use() -> None:
    """Back through the first of two activations it needs both, the gradient and what it becomes."""
    shape = (64, 1024)
    x = fs.tensor(RNG.standard_normal(shape, np.float32), device="cpu", requires_grad=True)
    weight = fs.tensor(RNG.standard_normal(shape, np.float32), device="cpu")

    def forward_and_back() -> None:
        x.grad = None
        ops.sum(ops.tanh(ops.tanh(x * 2.0)) * weight).backward()

    assert peak(forward_and_back) < 4.5 * x.size * 4


def test_places_are_for_one_gradient_and_not_for_what_is_read() -> None:
    layer = nn.Linear(4, 4, bias=False)
    layer.initialize(0, device="cpu")
    flat = optim.SGD(layer, 0.1).flat.need_gradients()
    p, own = layer.weight, layer.weight.gradient
    assert own is not None
    kind, other = kind_of(own), np.zeros(3, np.float32)
    edges = [p, p, None, (None, 0), fs.tensor(own.numpy(), device="cpu", requires_grad=True)]
    for read in ([own.array], [own.array[1:].T], [other, flat.array]):
        assert places_of(edges, (0,), (kind,), read) is None
    for ends in ((0, 1), (0, 2), (0, 3), (0, 4)):
        assert places_of(edges, ends, (kind, kind), ()) is None
    assert places_of(edges, (0,), (kind_of(flat),), ()) is None
    assert p is not None
    assert p.grad is None
    found = places_of(edges, (0,), (kind,), [other, other[1:]])
    assert found is not None
    assert found[0] is own.array
    assert p.grad is own
    assert places_of(edges, (1,), (kind,), ()) is None


def test_derivatives_that_are_returned_leave_gradients_alone() -> None:
    layer = nn.Linear(128, 64)
    layer.initialize(0, device="cpu")
    flat = optim.SGD(layer, 0.1).flat.need_gradients()
    x = rows()
    for _ in range(TIMES):
        gradients(layer, x)
        held = flat.numpy().copy()
        layer.weight.grad = None
        (found,) = grad(ops.sum(layer(x)), [layer.weight])
        assert found is not None
        np.testing.assert_array_equal(flat.numpy(), held)
        np.testing.assert_allclose(found.numpy()[0], x.numpy().sum(axis=0), rtol=1e-5, atol=1e-5)
        assert layer.weight.grad is None


def test_gradients_of_gradients() -> None:
    """Of the squared length of a gradient, beside differences."""
    layer = nn.Linear(128, 64)
    layer.initialize(0, device="cpu", dtype="float64")
    optim.SGD(layer, 0.1).flat.need_gradients()
    x = ops.astype(rows(), "float64")

    def slope() -> Tensor:
        y = ops.tanh(layer(x))
        (g,) = grad(ops.sum(y), [layer.weight], create_graph=True)
        assert g is not None
        return ops.sum(g * g)

    for _ in range(TIMES):
        for p in layer.parameters():
            p.grad = None
        slope().backward()
    assert layer.weight.grad is not None
    found = float(layer.weight.grad.numpy()[3, 5])
    ends = []
    for change in (1e-6, -2e-6):
        layer.weight.array[3, 5] += change
        ends.append(slope().item())
    assert found == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5)


@pytest.mark.parametrize("as_input", [True, False])
def test_old_gradients_that_a_step_reads(as_input: bool) -> None:
    """They lie where the new ones go, so those are made apart first."""
    layer = nn.Linear(128, 128, bias=False)
    layer.initialize(0, device="cpu")
    optim.SGD(layer, 0.1).flat.need_gradients()
    start = RNG.standard_normal((128, 128), np.float32)
    x = rows(128)
    for _ in range(TIMES):
        own = layer.weight.gradient
        assert own is not None
        own.array[...] = start
        layer.weight.grad = None
        if as_input:
            ops.sum(layer(own)).backward()
            wanted = np.broadcast_to(start.sum(axis=0), start.shape)
        else:
            layer(x).backward(own)
            wanted = start.T @ x.numpy()
        assert layer.weight.grad is own
        np.testing.assert_allclose(own.numpy(), wanted, rtol=1e-4, atol=1e-4)


def test_parameters_without_an_optimizer() -> None:
    layer = nn.Linear(128, 64)
    layer.initialize(0, device="cpu")
    x = rows()
    found = [gradients(layer, x) for _ in range(TIMES)]
    assert layer.weight.gradient is None
    np.testing.assert_array_equal(found[0][0], found[-1][0])
