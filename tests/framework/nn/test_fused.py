"""Fused forms: each does what its ops do, on every backend here, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

import flagstone as fs
from flagstone import fusion, nn, ops
from flagstone.backend import Backend, open_backend
from flagstone.plugins import KernelSpec, hookimpl
from flagstone.plugins.registry import PluginWarning
from flagstone.tape import observe
from flagstone.tensors import Tensor
from flagstone.testing import OP_TABLE, form_checks, isolated_plugins
from flagstone.testing.form_checks import CASES, check_form, claimed, claiming

CPU = open_backend("cpu")
X = np.random.default_rng(1).standard_normal((6, 4)).astype("float32")


def calls(layer: Callable[[Tensor], Tensor], x: np.ndarray = X) -> list[str]:
    """The ops of a forward pass."""
    seen: list[str] = []
    with observe(lambda op, *_: seen.append(op.name)):
        layer(fs.tensor(x))
    return seen


def test_every_form_has_a_row_and_a_case() -> None:
    assert fusion.FORMS.keys() <= OP_TABLE.keys()
    assert form_checks.untested() == []


def test_a_form_without_a_test_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    planted = {**fusion.FORMS, "conv_tanh": ("conv", "tanh")}
    monkeypatch.setattr(form_checks, "FORMS", planted)
    assert form_checks.untested() == ["conv_tanh"]
    backend = type(CPU)(CPU.device)
    backend.kernels = {**CPU.kernels, "conv_tanh": lambda *_: None}
    assert "conv_tanh" in claimed(backend)
    with pytest.raises(AssertionError, match="conv_tanh: expected a case"):
        check_form("conv_tanh", backend)


@pytest.mark.parametrize("name", sorted(fusion.FORMS))
def test_a_form_does_what_its_ops_do(name: str) -> None:
    assert name in claimed(CPU)
    check_form(name, CPU)


def test_without_plugins_too() -> None:
    """The kernels that a plugin of compiled ones replaces."""
    plain = type(CPU)(CPU.device)
    assert claimed(plain) == sorted(fusion.FORMS)
    before = CPU.kernels
    CPU.kernels = plain.kernels
    table, CPU.table = CPU.table, plain.table
    try:
        for name in CASES:
            check_form(name, CPU)
    finally:
        CPU.kernels, CPU.table = before, table


def test_a_wrong_form_is_noticed() -> None:
    before, table = CPU.kernels, dict(CPU.table)
    CPU.kernels = {**before, "linear_tanh": lambda x, w, b: np.tanh(x @ w.T)}
    CPU.table.clear()
    try:
        with pytest.raises(AssertionError, match="linear_tanh on numpy: the output, training"):
            check_form("linear_tanh", CPU)
    finally:
        CPU.kernels = before
        CPU.table.clear()
        CPU.table.update(table)


def test_where_nothing_is_claimed_the_ops_run() -> None:
    layer = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    with claiming(CPU):
        assert calls(layer) == ["linear", "relu"]
    assert calls(layer) == ["linear_relu"]


def test_pooling_takes_the_activation_before_it() -> None:
    """So its derivative is at pooled size."""
    x = np.ones((1, 4, 4, 2), "float32")
    layer = nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU(), nn.MaxPool2d(2), nn.ReLU())
    assert calls(layer, x) == ["conv", "max_pool_relu", "relu"]
    with claiming(CPU, "conv_relu"):
        assert calls(layer, x) == ["conv_relu", "max_pool", "relu"]


class Halved(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # knows of no activation
        return super().forward(x) * 0.5


class Loud(nn.ReLU):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * 2.0


def test_layers_that_are_changed_are_called_as_ever() -> None:
    assert calls(nn.Sequential(Halved(4, 3), nn.ReLU())) == ["linear", "multiply", "relu"]
    assert calls(nn.Sequential(nn.Linear(4, 3), Loud())) == ["linear", "relu", "multiply"]
    layer = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    plain, seen = layer[1].forward, []

    def hook(x: Tensor) -> Tensor:
        seen.append(x.shape)
        return plain(x)

    vars(layer[1])["forward"] = hook
    assert calls(layer) == ["linear", "relu"]
    assert seen == [(6, 3)]


def test_one_layer_may_stand_in_several_places() -> None:
    shared = nn.Linear(4, 4)
    layer = nn.Sequential(shared, nn.ReLU(), shared, nn.Sigmoid(), shared)
    assert calls(layer) == ["linear_relu", "linear_sigmoid", "linear"]
    assert list(layer.state_dict()) == ["0.weight", "0.bias"]
    weight, bias = (np.array(p.numpy(), np.float64) for p in layer.parameters())
    y = np.maximum(X @ weight.T + bias, 0) @ weight.T + bias
    y = (1 / (1 + np.exp(-y))) @ weight.T + bias
    np.testing.assert_allclose(layer(fs.tensor(X)).numpy(), y, rtol=1e-5, atol=1e-6)


def test_frozen_parameters_get_no_gradient() -> None:
    layer = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    layer(fs.tensor(X))
    nn.freeze(layer[0])
    layer(fs.tensor(X)).sum().backward()
    assert [p.grad is None for p in layer.parameters()] == [True, True, False, False]


def test_dropout_after_an_activation_drops_the_same() -> None:
    layer = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5)).initialize(2)
    place = Tensor(np.array([3, 1], np.uint64), CPU)
    with nn.stream_position(place):
        fused = layer(fs.tensor(X)).numpy()
        with claiming(CPU):
            apart = layer(fs.tensor(X)).numpy()
    np.testing.assert_array_equal(fused == 0, apart == 0)
    np.testing.assert_allclose(fused, apart, rtol=1e-6)


def test_a_summary_shows_every_layer() -> None:
    rows = nn.summary(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), (4,)).rows
    assert [(r.kind, r.output_shape, r.multiply_adds) for r in rows[1:]] == [
        ("Linear", (3,), 12), ("ReLU", (3,), 0), ("Linear", (2,), 6),
    ]  # fmt: skip


class Slow:
    """A plugin with a product of its own."""

    @hookimpl
    def flagstone_kernels(self, backend: Backend) -> Iterator[KernelSpec]:
        if backend.name == "numpy":
            yield KernelSpec("linear", "numpy:inner", overrides=True)


def test_a_plugin_that_replaces_an_op_is_not_passed_by() -> None:
    own = {"linear": 1, "linear_relu": 2, "conv_relu": 3}
    assert fusion.without_stale(own, {"linear": 4}) == {"linear": 4, "conv_relu": 3}
    both = {"linear": 4, "linear_relu": 5}
    assert fusion.without_stale(own, both) == {**both, "conv_relu": 3}
    with isolated_plugins(Slow()), pytest.warns(PluginWarning, match="kernel 'linear'"):
        there = claimed(open_backend("cpu"))
    assert [name for name in there if name.startswith("linear")] == []
    assert "conv_relu" in there


def test_a_captured_step_takes_the_forms_too() -> None:
    layer = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1), nn.Tanh()).initialize(1)

    def predict(x: Tensor) -> Tensor:
        with fs.no_grad():
            return layer(x)

    captured = fs.capture(predict, strict=True)
    expected = predict(fs.tensor(X)).numpy()
    for _ in range(5):
        np.testing.assert_array_equal(captured(fs.tensor(X)).numpy(), expected)


def test_the_activation_is_an_argument_of_the_layer_as_well() -> None:
    layer = nn.Linear(4, 3)
    x = fs.tensor(X)
    np.testing.assert_array_equal(layer(x, "relu").numpy(), ops.relu(layer(x)).numpy())
