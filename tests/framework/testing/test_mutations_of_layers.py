"""Mistakes planted in a layer, each found by ``flagstone check`` and named."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

LAYER = """
class Planted(nn.Layer):
    def __init__(self, features: int = 4) -> None:
        self.features = features
        self.weight = nn.Parameter((features,), nn.init.ones)
        {init}

    def forward(self, x):
        fs.nn.layer.require_tensor("Planted", x)
        if not x.ndim or x.shape[-1] != self.features:
            raise fs.errors.ShapeError(f"x expected (n, {{self.features}}); got {{x.shape}}")
        {forward}

@hookimpl
def flagstone_layers():
    yield LayerSpec("planted", "planted_plugin:Planted")
"""
GOOD = "return x * self.weight"

MISTAKES = {
    "a wrong gradient": (
        "pass", "return x * x.detach() * self.weight",
        "gradients", "gradient with respect to input 0.*central differences",
    ),
    "a gradient that does not reach a parameter": (
        "pass", "return x * self.weight.detach()",
        "gradients", "gradient with respect to weight",
    ),
    "a state that save forgets": (
        "self.seen = 0.0",
        "if self.training: self.seen += 1.0\n        return x * self.weight + self.seen",
        "save_and_load", "the loaded layer's output: expected .* exactly; got",
    ),
    "hidden use of numpy.random": (
        "pass", "return x * self.weight * float(np.random.uniform(0.5, 1))",
        "determinism",
        r"global generator of numpy\.random, at .*planted_plugin\.py:\d+$",
    ),
    "hidden use of random": (
        "pass", "return x * self.weight * (1.0 + random.random())",
        "determinism", r"global generator of random, at .*planted_plugin\.py:\d+$",
    ),
    "an unseeded generator": (
        "pass", "return x * self.weight * float(np.random.default_rng().uniform(0.5, 1))",
        "determinism",
        r"a second layer of the same seed: expected .* exactly.*it may be because "
        r".*planted_plugin\.py:\d+ draws from numpy\.random without a seed",
    ),
    "a silent float64": (
        "pass", "return ops.astype(ops.astype(x * self.weight, 'float64') * 2.0, x.dtype_name)",
        "dtypes", "expected float32 throughout; got float64 from the op",
    ),
    "a float64 result": (
        "pass", "return ops.astype(x * self.weight, 'float64')",
        "dtypes", "expected float32 throughout; got float64 from the op (cast|astype)",
    ),
    "a host read in the step": (
        "pass", "y = x * self.weight\n        return y if float(y.sum()) > 0 else y * 1.0",
        "capture_safe", r"host reads no value.*planted_plugin\.py, line \d+: return y if float",
    ),
    "a host read of the array itself": (
        "pass", "y = x * self.weight\n        return y if y.array.sum() > 0 else y * 1.0",
        "capture_safe", r"host reads no value.*planted_plugin\.py",
    ),
    "an output without the batch axis": (
        "pass", "return ops.sum(x * self.weight, axis=0)",
        "shapes", r"expected \(5, \.\.\.\) for 5 examples; got \(4,\)",
    ),
    "a batch of one that loses its axis": (
        "pass",
        "y = x * self.weight\n"
        "        return ops.reshape(y, y.shape[1:]) if y.shape[0] == 1 else y",
        "shapes", r"expected \(1, \.\.\.\) for 1 examples; got \(4,\)",
    ),
    "a parameter that is not registered": (
        "self.hidden = fs.tensor(np.ones(features), requires_grad=True)",
        "return x * self.weight * ops.astype(self.hidden, x.dtype_name)",
        "parameters", "a Parameter set as an attribute.*got another one, the attribute hidden",
    ),
    "a prediction that depends on its batch": (
        "pass", "return (x - ops.mean(x, axis=0)) * self.weight",
        "batch_independence", "example 0 predicted alone",
    ),
    "an input that is written to": (
        "pass",
        "y = x * self.weight\n"
        "        ops.assign(x.detach(), y.detach() * 2.0)\n"
        "        return y + 0.5",
        "purity", "the input after a call",
    ),
    "a prediction that changes the layer": (
        "self.mean = nn.Buffer((features,))",
        "ops.assign(self.mean, ops.mean(x.detach(), axis=tuple(range(x.ndim - 1))))\n"
        "        return x * self.weight + self.mean * 0.0",
        "purity", "mean after predicting",
    ),
    "float32 that is not float64": (
        "pass", "return x * self.weight * (1.0 if x.dtype_name == 'float64' else 1.01)",
        "parity", "float32 on generic-numpy: expected",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named(check: Callable[..., Any], mistake: str) -> None:
    init, forward, point, words = MISTAKES[mistake]
    found = check(LAYER.format(init=init, forward=forward), "planted")
    assert found.code == 1
    assert point in found.of("failed")
    reason = found.of("failed")[point]
    assert reason.startswith(f"layer 'planted', {point}: ")
    assert re.search(words, reason), reason


def test_every_consequence_of_a_draw_names_its_line(check: Callable[..., Any]) -> None:
    draw = "return x * self.weight * float(np.random.uniform(0.5, 1))"
    failed = check(LAYER.format(init="pass", forward=draw), "planted").of("failed")
    assert {"gradients", "batch_independence"} <= set(failed)
    assert all("planted_plugin.py:" in reason for reason in failed.values()), failed


def test_a_wrong_pullback_is_blamed_on_its_op(check: Callable[..., Any]) -> None:
    wrong = """
    @ops.op
    def squashed(xp, x):
        return xp.tanh(x)

    @squashed.pullback
    def _(dy, y):
        return dy * (1.0 - y)

    class Planted(nn.Layer):
        def __init__(self):
            self.inner = nn.Linear(4, 4)

        def forward(self, x):
            return squashed(self.inner(x))

    @hookimpl
    def flagstone_layers():
        yield LayerSpec("planted", "planted_plugin:Planted")
    """
    reason = check(wrong, "planted", "--point", "gradients").of("failed")["gradients"]
    assert "the op 'squashed' has a wrong gradient with respect to x by itself" in reason


def test_a_shape_error_without_a_message(check: Callable[..., Any]) -> None:
    careless = """
    class Planted(nn.Layer):
        def __init__(self, features: int = 4) -> None:
            self.weight = nn.Parameter((features,), nn.init.ones)

        def forward(self, x):
            n, features = x.shape
            return x * self.weight

    @hookimpl
    def flagstone_layers():
        yield LayerSpec("planted", "planted_plugin:Planted")
    """
    found = check(careless, "planted")
    reason = found.of("failed")["error_messages"]
    assert "expected an error of flagstone's" in reason
    assert "got ValueError: not enough values to unpack" in reason


def test_a_layer_without_mistakes_passes(check: Callable[..., Any]) -> None:
    found = check(LAYER.format(init="pass", forward=GOOD), "planted")
    assert (found.code, found.of("failed"), found.of("skipped")) == (0, {}, {})
    assert len(found.points) >= 12
