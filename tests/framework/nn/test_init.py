"""Initialisers: moments, bounds, fans, and the stream they draw from."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from flagstone import nn, random
from flagstone.errors import InputError, UnknownNameError
from flagstone.nn import init

KEY = random.key(0, "init", "weight")
SHAPE = (300, 200)  # (out, in)
CONV = (64, 3, 5, 32)  # (out, kh, kw, in): fan_in 480, fan_out 960


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((7, 3), (3, 7)), (CONV, (480, 960)), ((5,), (5, 5)), ((), (1, 1)), ((2, 3, 1), (3, 6))],
)
def test_fans(shape: tuple[int, ...], expected: tuple[int, int]) -> None:
    assert init.fans(shape) == expected


# The standard deviation, and the bound of what is uniform, from the papers' equations
SPREAD: list[tuple[Any, tuple[int, ...], float, float | None]] = [
    (init.normal(0.5), SHAPE, 0.5, None),
    (init.uniform(-2.0, 2.0), SHAPE, 2 / math.sqrt(3), 2.0),
    (init.xavier_uniform(), SHAPE, math.sqrt(2 / 500), math.sqrt(6 / 500)),
    (init.xavier_uniform(), CONV, math.sqrt(2 / 1440), math.sqrt(6 / 1440)),
    (init.xavier_uniform(2.0), SHAPE, 2 * math.sqrt(2 / 500), 2 * math.sqrt(6 / 500)),
    (init.xavier_normal(), SHAPE, math.sqrt(2 / 500), None),
    (init.xavier_normal(3.0), CONV, 3 * math.sqrt(2 / 1440), None),
    (init.kaiming_uniform(), SHAPE, math.sqrt(2 / 200), math.sqrt(6 / 200)),
    (init.kaiming_uniform(1.0), CONV, math.sqrt(1 / 480), math.sqrt(3 / 480)),
    (init.kaiming_normal(), SHAPE, math.sqrt(2 / 200), None),
    (init.kaiming_normal(1.0), CONV, math.sqrt(1 / 480), None),
    (init.fan_in_uniform(200), SHAPE, math.sqrt(1 / 600), math.sqrt(1 / 200)),
]


@pytest.mark.parametrize(("make", "shape", "deviation", "bound"), SPREAD)
def test_moments_and_bounds(
    make: Any, shape: tuple[int, ...], deviation: float, bound: float | None
) -> None:
    values = make(shape, KEY)
    assert values.dtype == np.float32
    assert values.shape == shape
    n = values.size
    assert abs(values.mean()) < 5 * deviation / math.sqrt(n)
    assert values.std() == pytest.approx(deviation, rel=5 / math.sqrt(2 * n))
    if bound is not None:
        assert np.abs(values).max() <= bound * (1 + 1e-6)
        assert np.abs(values).max() > 0.99 * bound
        share = (np.abs(values) < bound / 2).mean()  # uniform: half of the values
        assert abs(share - 0.5) < 5 * 0.5 / math.sqrt(n)


def test_a_mean_and_asymmetric_bounds() -> None:
    assert init.normal(0.1, 3.0)(SHAPE, KEY).mean() == pytest.approx(3.0, abs=0.01)
    values = init.uniform(2.0, 5.0)(SHAPE, KEY)
    assert values.min() >= 2.0
    assert values.max() <= 5.0
    assert values.mean() == pytest.approx(3.5, abs=0.02)


def test_pytorchs_formulas_agree() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch, the reference, is not installed")
    for name in ("xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal"):
        for shape in (SHAPE, CONV):
            file_order = (shape[0], shape[-1], *shape[1:-1])
            theirs = torch.empty(file_order)
            options = {"nonlinearity": "relu"} if name.startswith("kaiming") else {}
            torch.manual_seed(0)
            getattr(torch.nn.init, f"{name}_")(theirs, **options)
            ours = init.BY_NAME[name]()(shape, KEY)
            assert ours.std() == pytest.approx(float(theirs.std()), rel=0.03)


def test_constants() -> None:
    np.testing.assert_array_equal(init.zeros((2, 3), KEY), np.zeros((2, 3)))
    np.testing.assert_array_equal(init.ones((2,), KEY), np.ones(2))
    np.testing.assert_array_equal(init.constant(0.5)((2,), KEY), [0.5, 0.5])


@pytest.mark.parametrize(
    "name", sorted(set(init.BY_NAME) - {"zeros", "ones", "orthogonal", "dirac"})
)
@pytest.mark.parametrize("shape", [(), (1,), (3, 1), (2, 3)])
def test_equal_keys_give_equal_values_and_others_do_not(name: str, shape: tuple[int, ...]) -> None:
    make = init.BY_NAME[name]()
    values = make(shape, KEY)
    assert values.shape == shape
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, make(shape, random.key(0, "init", "weight")))
    assert (values != make(shape, random.key(1, "init", "weight"))).all()
    assert (values != make(shape, random.key(0, "init", "other"))).all()


def test_a_layer_takes_a_name_or_a_function() -> None:
    named = nn.Linear(20, 30, init="kaiming_normal").initialize(2)
    given = nn.Linear(20, 30, init=init.kaiming_normal()).initialize(2)
    np.testing.assert_array_equal(named.weight.numpy(), given.weight.numpy())
    expected = init.kaiming_normal()((30, 20), random.key(2, "init", "weight"))
    np.testing.assert_array_equal(named.weight.numpy(), expected)
    assert not named.bias.numpy().any()  # where the weight's start is chosen the bias starts at 0
    assert nn.Linear(20, 30).initialize(2).bias.numpy().any()


def test_a_wrong_initialiser_is_named() -> None:
    with pytest.raises(
        UnknownNameError, match=r"unknown initialiser 'xavier_unifrom'.*Did you mean 'xavier_unifo"
    ):
        nn.Linear(2, 2, init="xavier_unifrom")
    with pytest.raises(InputError, match=r"init: expected a name or a function .*; got 3"):
        nn.Conv2d(2, 2, 1, init=3)
