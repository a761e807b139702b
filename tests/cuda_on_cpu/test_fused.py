"""The fused forms that are claimed on a card do what their two ops do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flagstone import fusion
from flagstone.backend import Backend
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
