"""Truncated normal, orthogonal and Dirac initialisers, gains, fan modes."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest

from flagstone import nn, random
from flagstone.errors import InputError, ShapeError, UnknownNameError
from flagstone.nn import init
from flagstone.nn.normal_quantile import normal_quantile

KEY = random.key(0, "init", "weight")
SHAPE = (300, 200)


def test_the_quantile_is_the_inverse_of_the_distribution() -> None:
    special = pytest.importorskip("scipy.special", reason="SciPy, the reference, is not installed")
    p = np.concatenate([np.logspace(-300, -1, 5000), np.linspace(0.01, 0.99, 5000)])
    p = np.concatenate([p, 1 - np.logspace(-15, -2, 500)])
    np.testing.assert_allclose(normal_quantile(p), special.ndtri(p), rtol=4e-15, atol=1e-15)


@pytest.mark.parametrize(
    ("std", "mean", "low", "high"),
    [
        (1.0, 0.0, -2.0, 2.0), (0.02, 0.0, -2.0, 2.0), (1.0, 0.0, -0.5, 3.0), (2.0, 1.0, -1.0, 1.5),
        (1.0, 0.0, 3.0, 5.0), (1.0, 0.0, -9.0, -7.0), (0.5, 1.0, 8.0, 9.0), (1.0, 0.0, -0.1, 0.1),
    ],
)  # fmt: skip
def test_truncated_normal_has_scipys_distribution(
    std: float, mean: float, low: float, high: float
) -> None:
    stats = pytest.importorskip("scipy.stats", reason="SciPy, the reference, is not installed")
    values = init.truncated_normal(std, mean, low, high)(SHAPE, KEY)
    assert values.dtype == np.float32
    assert values.shape == SHAPE
    assert np.float32(low) <= values.min()
    assert values.max() <= np.float32(high)
    expected = stats.truncnorm((low - mean) / std, (high - mean) / std, loc=mean, scale=std)
    if low < 7 < 9 < abs(high):
        assert values.mean() == pytest.approx(expected.mean(), rel=1e-3)
    else:
        assert stats.kstest(values.ravel().astype(float), expected.cdf).pvalue > 1e-4


def test_a_word_gives_a_value_so_that_a_shorter_draw_begins_a_longer_one() -> None:
    make = init.truncated_normal()
    np.testing.assert_array_equal(make((5,), KEY), make((100,), KEY)[:5])


def test_truncated_normal_agrees_with_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch, the reference, is not installed")
    torch.manual_seed(0)
    for options in ({}, {"std": 0.5, "mean": 0.5, "a": -0.25, "b": 1.0}):
        theirs = torch.nn.init.trunc_normal_(torch.empty(SHAPE), **options)
        names = {"a": "low", "b": "high"}
        ours = init.truncated_normal(**{names.get(k, k): v for k, v in options.items()})(SHAPE, KEY)
        assert ours.mean() == pytest.approx(float(theirs.mean()), abs=0.01)
        assert ours.std() == pytest.approx(float(theirs.std()), rel=0.02)


@pytest.mark.parametrize("gain", [1.0, math.sqrt(2)])
@pytest.mark.parametrize("shape", [(20, 30), (30, 20), (7, 7), (1, 5), (8, 3, 3, 2), (64, 3, 3, 4)])
def test_orthogonal_rows_or_columns(shape: tuple[int, ...], gain: float) -> None:
    w = init.orthogonal(gain)(shape, KEY)
    assert w.dtype == np.float32
    assert w.shape == shape
    m = w.reshape(shape[0], -1).astype(float) / gain
    product = m @ m.T if m.shape[0] <= m.shape[1] else m.T @ m
    np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-6)


def test_orthogonal_matrices_are_uniformly_random() -> None:
    # Without the correction of signs LAPACK's Q has a diagonal that leans to one side.
    keys = [random.key(seed, "init", "w") for seed in range(600)]
    diagonal = np.array([np.diagonal(init.orthogonal()((3, 3), key)) for key in keys])
    # Every entry of a uniformly random 3x3 rotation or reflection has mean 0 and variance 1/3.
    assert np.abs(diagonal.mean(0)).max() < 5 * math.sqrt(1 / 3 / 600)
    np.testing.assert_allclose(diagonal.var(0), 1 / 3, rtol=0.25)
    assert not np.array_equal(
        init.orthogonal()((3, 3), keys[0]), init.orthogonal()((3, 3), keys[1])
    )
    np.testing.assert_array_equal(
        init.orthogonal()((4, 3), KEY), init.orthogonal()((4, 3), random.key(0, "init", "weight"))
    )


@pytest.mark.parametrize("groups", [1, 2, 3])
@pytest.mark.parametrize(
    "shape", [(6, 3, 6), (6, 5, 3), (6, 3, 3, 2), (6, 3, 5, 4), (6, 2, 4, 6), (6, 3, 3, 3, 2)]
)
def test_dirac_is_pytorchs(shape: tuple[int, ...], groups: int) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch, the reference, is not installed")
    theirs = torch.empty((shape[0], shape[-1], *shape[1:-1]))
    torch.nn.init.dirac_(theirs, groups)
    ours = init.dirac(groups)(shape, KEY)
    np.testing.assert_array_equal(np.moveaxis(ours, -1, 1), theirs.numpy())


def test_a_dirac_convolution_passes_its_input_on() -> None:
    import flagstone as fs

    x = np.random.default_rng(0).standard_normal((2, 5, 6, 3)).astype(np.float32)
    y = nn.Conv2d(3, 3, 3, padding=1, init="dirac").initialize(0)(fs.tensor(x))
    np.testing.assert_array_equal(y.numpy(), x)


@pytest.mark.parametrize("name", [*init.GAINS, "leaky_relu"])
def test_gains_are_pytorchs(name: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch, the reference, is not installed")
    theirs = torch.nn.init.calculate_gain
    if name == "identity":  # PyTorch writes it "linear"
        assert init.calculate_gain(name) == theirs("linear")
        return
    assert init.calculate_gain(name) == pytest.approx(theirs(name), rel=1e-15)
    if name == "leaky_relu":
        for slope in (0.1, 0, 1, -0.5):
            assert init.calculate_gain(name, slope) == pytest.approx(theirs(name, slope), rel=1e-15)


@pytest.mark.parametrize("shape", [SHAPE, (64, 3, 5, 32)])
@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
def test_fan_modes(mode: str, shape: tuple[int, ...]) -> None:
    count = math.prod(shape[1:]) if mode == "fan_in" else shape[0] * math.prod(shape[1:-1])
    normal = init.kaiming_normal(mode=mode)(shape, KEY)
    assert normal.std() == pytest.approx(math.sqrt(2 / count), rel=0.02)
    uniform = init.kaiming_uniform(1.0, mode)(shape, KEY)
    assert np.abs(uniform).max() == pytest.approx(math.sqrt(3 / count), rel=1e-3)


@pytest.mark.parametrize("name", init.BY_NAME)
def test_every_initialiser_starts_a_convolution_and_can_be_pickled(name: str) -> None:
    layer = nn.Conv2d(2, 4, 3, init=name).initialize(3)
    again = pickle.loads(pickle.dumps(nn.Conv2d(2, 4, 3, init=name))).initialize(3)
    np.testing.assert_array_equal(layer.weight.numpy(), again.weight.numpy())
    assert np.isfinite(layer.weight.numpy()).all()


REFUSED: list[tuple[Any, type[Exception], str]] = [
    (lambda: init.truncated_normal(0), InputError, "std expected a number > 0; got 0"),
    (lambda: init.truncated_normal(low=1, high=1), InputError, "expected low < high; got low 1"),
    (
        lambda: init.truncated_normal(low=40, high=50), InputError,
        "expected bounds within 37 standard deviations of mean 0.0; got low 40, high 50",
    ),
    (lambda: init.orthogonal()((3,), KEY), ShapeError, r"at least two axes; got \(3,\)"),
    (lambda: init.dirac(0), InputError, "groups expected a positive integer; got 0"),
    (lambda: init.dirac()((3, 3), KEY), ShapeError, r"at least three axes.*got \(3, 3\)"),
    (lambda: init.dirac(2)((3, 3, 3), KEY), ShapeError, r"multiple of groups=2; got \(3, 3, 3\)"),
    (
        lambda: init.kaiming_normal(mode="fan"), InputError,
        "mode expected 'fan_in' or 'fan_out'; got 'fan'",
    ),
    (lambda: init.calculate_gain("rely"), UnknownNameError, "Did you mean 'relu'"),
    (lambda: init.calculate_gain("leaky_relu", "a"), InputError, "param expected a finite number"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), REFUSED)
def test_wrong_arguments_are_named(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
