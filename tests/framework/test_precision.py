"""What a backend computes in: one instance for each precision, and refusals before any work."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import plugins
from flagstone.backend import Backend, declines, open_backend
from flagstone.devices import Device
from flagstone.errors import ConfigurationError, DeviceMismatchError
from flagstone.kernels import in_front
from flagstone.plugins import BackendSpec, hookimpl


def linear(x: Any, w: Any, b: Any = None, *, precision: str = "exact") -> Any:
    """A kernel that shows what it was told."""
    y = x @ w.T if b is None else x @ w.T + b
    return y if precision == "exact" else np.round(y)


def exp(x: Any) -> Any:
    """A kernel that knows nothing of precisions."""
    return np.exp(x)


class Rough(Backend):
    name = "rough"
    xp = np
    kernels = {"linear": linear, "exp": exp}  # noqa: RUF012
    precisions = ("exact", "rounded")
    lacks = {"tf32": "it has no card"}  # noqa: RUF012


def open_rough(index: int | None) -> Backend:
    return Rough(Device("rough"))


class Plugin:
    @hookimpl
    def flagstone_backends(self) -> Iterator[BackendSpec]:
        yield BackendSpec("rough", f"{__name__}:open_rough", summary="", devices=("rough",))


@declines
def half_a_linear(x: Any, w: Any, b: Any = None) -> Any:
    """A plugin's kernel without the argument; it serves no biases."""
    return x @ w.T if b is None else NotImplemented


@pytest.fixture(scope="module")
def rough() -> Iterator[str]:
    plugins.register(Plugin(), "rough-backend")
    yield "rough"
    plugins.unregister("rough-backend")


def test_there_is_one_instance_for_each(rough: str) -> None:
    exact, rounded = open_backend(rough), open_backend(rough, "rounded")
    assert (exact.precision, rounded.precision) == ("exact", "rounded")
    assert exact is open_backend(rough, "exact") is rounded.with_precision("exact")
    assert rounded is open_backend(rough, "rounded") is open_backend(rounded)
    assert open_backend(exact, "rounded") is rounded
    assert repr(rounded) == "<Rough rough on rough in rounded>"
    for again in (copy.deepcopy(rounded), pickle.loads(pickle.dumps(rounded))):
        assert again is rounded


def test_a_kernel_is_told(rough: str) -> None:
    x, w = np.full((1, 2), 0.3, "float32"), np.ones((1, 2), "float32")
    for precision, expected in (("exact", 0.6), ("rounded", 1.0)):
        here = open_backend(rough, precision)
        y = fs.ops.linear(fs.tensor(x, device=here), fs.tensor(w, device=here))
        assert y.item() == pytest.approx(expected)
        assert fs.ops.exp(fs.tensor(x, device=here)).backend is here


def test_a_plugins_kernel_may_know_nothing_of_it() -> None:
    both = in_front(half_a_linear, linear)
    x, w = np.full((1, 2), 0.3), np.ones((1, 2))
    assert both(x, w, precision="rounded") == pytest.approx(0.6)  # the plugin's
    assert both(x, w, np.zeros(1), precision="rounded") == 1.0  # the backend's, which is told


def test_layers_keep_it(rough: str) -> None:
    here = open_backend(rough, "rounded")
    layer = fs.nn.Linear(2, 1).initialize(0, device=here)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert other.backend is here
    assert layer.with_dtype("float64").backend is here
    assert fs.nn.fold_batch_norm(layer).backend is here


def test_tensors_of_two_precisions_do_not_meet(rough: str) -> None:
    a, b = (fs.tensor([1.0], device=open_backend(rough, p)) for p in ("exact", "rounded"))
    with pytest.raises(DeviceMismatchError, match="rough on rough and rough on rough in rounded"):
        a + b
    assert (a.to(b.backend) + b).item() == 2.0


@pytest.mark.parametrize(
    ("device", "precision", "told"),
    [
        ("rough", "tf32", "expected exact or rounded, which rough on rough has; got 'tf32': it has"
         " no card"),
        ("rough", "half", "got 'half': it has none of this name"),
        ("cpu", "mixed-bf16", "got 'mixed-bf16': NumPy has no bfloat16"),
        ("cpu", "mixed-fp16", "computes float16 by way of float32"),
        ("cpu", "tf32", "NVIDIA"),
    ],
)  # fmt: skip
def test_a_precision_that_is_not_there(rough: str, device: str, precision: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(told)):
        open_backend(device, precision)
    model: Any = fs.model("mlp", device=device, precision=precision)
    with pytest.raises(ConfigurationError, match=re.escape(told)):
        model.fit(np.zeros((4, 2)), np.array([0, 1, 0, 1]))
    assert not hasattr(model, "layer_")


def test_models_of_float64_are_exact(rough: str) -> None:
    model: Any = fs.model("logistic", device=rough, precision="rounded")
    with pytest.raises(ConfigurationError, match="'exact', for it trains in float64 here; got 'ro"):
        model.fit(np.zeros((4, 2)), np.array([0, 1, 0, 1]))


def test_a_model_predicts_as_it_was_trained(rough: str, tmp_path: Any) -> None:
    x = np.random.default_rng(0).standard_normal((20, 3))
    model: Any = fs.model("mlp", device=rough, precision="rounded", epochs=1, batch_size=5)
    model.fit(x, (x[:, 0] > 0).astype(int))
    model.save(tmp_path / "m.safetensors")
    again: Any = fs.load(tmp_path / "m.safetensors")
    assert again.precision == "rounded"
    np.testing.assert_array_equal(again.predict_proba(x), model.predict_proba(x))
    assert (
        fs.load(tmp_path / "m.safetensors", precision="exact").layer_.backend.precision == "exact"
    )
    with pytest.raises(ConfigurationError, match="was trained so; precision='exact' predicts"):
        fs.load(tmp_path / "m.safetensors", device="cpu")
    model = fs.load(tmp_path / "m.safetensors", device="cpu", precision="exact")
    assert model.precision == "exact"
