"""The fused forms that are claimed on a card do what their two ops do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import fusion, nn
from flagstone.backend import Backend, open_backend
from flagstone.tape import observe
from flagstone.testing.form_checks import check_form, claimed
from flagstone_cupy.kernels import elementwise, fused
from flagstone_cupy.signature import local_sources
from flagstone_cupy.table import KERNELS

CLAIMED = sorted(fusion.FORMS.keys() & KERNELS.keys())


def test_what_is_claimed(simulated: Backend) -> None:
    assert claimed(simulated) == CLAIMED
    assert set(fusion.FORMS) - set(CLAIMED) == {"linear_sigmoid", "linear_tanh"}


@pytest.mark.parametrize("name", CLAIMED)
def test_a_form_does_what_its_ops_do(name: str, simulated: Backend) -> None:
    check_form(name, simulated)


@pytest.mark.parametrize("precision", ["exact", "tf32", "mixed-fp16"])
def test_a_convolutions_bias_has_its_gradient_in_the_pass_of_the_weight(
    precision: str, simulated: Backend
) -> None:
    there = open_backend("simulated", precision)
    x = np.random.default_rng(3).standard_normal((3, 6, 5, 8)).astype("float32")
    found = {}
    for device, second in (("cpu", False), (there, False), (there, True)):
        layer = nn.Conv2d(8, 16, 3, padding=1).initialize(1, device=device)
        called: list[str] = []
        y = layer(fs.tensor(x, device=device))
        with observe(lambda op, *_, called=called: called.append(op.name)):
            gradients = fs.grad((y * y).sum(), layer.parameters(), create_graph=second)
        found[str(device), second] = [np.array(g.numpy()) for g in gradients]  # type: ignore[union-attr]
        in_one = device is there and not second
        assert ("conv_weight_bias_grad" in called) is in_one
        assert ("conv_weight_grad" in called) is not in_one
    expected = found["cpu", False]
    for got in found.values():
        for a, b in zip(got, expected, strict=True):
            error = np.linalg.norm(a - b) / np.linalg.norm(b)
            assert error < {"exact": 1e-6, "tf32": 1e-3, "mixed-fp16": 2e-3}[precision]


@pytest.mark.covers("elementwise.cu:add_relu")
@pytest.mark.parametrize("shapes", [((3, 500), (500,)), ((1100,), (1100,)), ((5,), (2, 5))])
def test_add_relu(shapes: tuple[Any, Any], card: Any) -> None:
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal(shape).astype("float32") for shape in shapes)
    a.reshape(-1)[0] = np.nan
    expected = elementwise.relu(np.add(a, b))
    np.testing.assert_array_equal(fused.add_relu(a, b), expected)
    assert fused.add_relu(a, b.astype("float64")) is NotImplemented
    assert fused.add_relu(a, 1.0) is NotImplemented
    assert fused.add_relu(np.ones((2, 3)), np.ones((2, 1))) is NotImplemented


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("b[period == n ? i : i % period]", "b[i]", id="read past the end"),
        pytest.param("rounded<T>(Relu<W>::of(sum, W(0)))", "rounded<T>(sum)", id="not activated"),
    ],
)
def test_a_planted_bug_is_caught(old: str, new: str, card: Any, simulator: Any) -> None:
    a, b = np.full((40, 30), -1, "float32"), np.full(30, 0.5, "float32")

    def check() -> None:
        assert not fused.add_relu(a, b).any(), "a value is wrong"

    check()
    source = "elementwise.cu"
    text = local_sources(source)[source]
    assert text.count(old) == 1, "the source changed; plant this bug where it is now"
    changed = {source: text.replace(old, new)}
    card.libraries[source] = simulator.Library(source, changed, [fused.ADD_RELU["float"]])
    with pytest.raises(AssertionError):
        check()
