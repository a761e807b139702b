"""``linear`` finds a step with which gradient descent is sure to descend."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import flagstone as fs

RNG = np.random.default_rng(11)


def correlated(n: int, features: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns that are nearly one column: the curvature is about the number of features."""
    X = RNG.normal(size=(n, 1)) + 0.1 * RNG.normal(size=(n, features))
    return X, X @ RNG.normal(size=features) + RNG.normal(size=n)


@pytest.mark.parametrize("batch_size", [None, 16])
@pytest.mark.parametrize("standardize", [True, False])
def test_the_loss_never_rises_where_a_fixed_rate_diverges(
    batch_size: int | None, standardize: bool
) -> None:
    X, y = correlated(200, 40)
    with pytest.raises(fs.FlagstoneError, match="diverged"):
        fs.model("linear", lr=0.1, epochs=300).fit(X, y)
    options = {"solver": "sgd", "epochs": 60, "batch_size": batch_size}
    model = fs.model("linear", standardize=standardize, **options).fit(X, y)
    losses = [epoch["train"]["loss"] for epoch in model.history_]
    assert losses[-1] < 0.5 * losses[0]
    if batch_size is None:
        assert all(after <= before for before, after in itertools.pairwise(losses))


def test_the_rate_is_at_most_the_inverse_of_the_largest_curvature() -> None:
    X, y = correlated(300, 7)
    model = fs.model("linear", solver="sgd", epochs=1, standardize=False, l2=0.25).fit(X, y)
    ones = np.concatenate([X, np.ones((300, 1))], axis=1)
    largest = 2 * np.linalg.eigvalsh(ones.T @ ones / 300)[-1] + 2 * 0.25
    rate = model.history_[0]["lr"]
    assert 0.1 / largest < rate <= 1 / largest * (1 + 1e-9)


def test_other_models_want_a_number() -> None:
    X, y = correlated(20, 2)
    with pytest.raises(fs.FlagstoneError, match="MLPRegressor: lr expected a number; got None"):
        fs.model("mlp-regressor", lr=None).fit(X, y)
