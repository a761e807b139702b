"""Regression models against the lecture's numbers and against closed forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone.errors import ConfigurationError

X = np.array([[1.0], [2.0], [3.0], [4.0], [5.0]])
Y = np.array([3.0, 1.0, 2.0, 5.0, 4.0])  # the lecture's five points: least squares 0.6 x + 1.2


def made_up(n: int = 60, targets: int = 1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 3)) @ rng.standard_normal((3, 3)) * [1, 10, 0.1] + [0, 5, 100]
    y = x @ rng.standard_normal((3, targets)) + 0.5 * rng.standard_normal((n, targets)) + 7
    return x, y[:, 0] if targets == 1 else y


@pytest.mark.parametrize("standardize", [False, True])
def test_the_lectures_line_exactly(standardize: bool) -> None:
    model = fs.model("linear", solver="exact", standardize=standardize).fit(X, Y)
    np.testing.assert_allclose(model.W_, [[0.6]], atol=1e-6)
    np.testing.assert_allclose(model.b_, [1.2], atol=1e-6)
    np.testing.assert_allclose(model.predict([[6.0]]), [4.8], atol=1e-6)


def test_the_lectures_line_by_gradient_descent() -> None:
    model = fs.model("linear").fit(X, Y)
    assert model.coef_ == pytest.approx([0.6], abs=1e-3)
    assert model.intercept_ == pytest.approx(1.2, abs=1e-3)
    raw = fs.model("linear", standardize=False, lr=0.05, epochs=2000).fit(X, Y)
    assert raw.coef_ == pytest.approx([0.6], abs=1e-3)
    assert raw.intercept_ == pytest.approx(1.2, abs=1e-3)


def test_the_courses_line() -> None:
    model = fs.model("linear").fit(np.array([[1.0], [2.0], [3.0]]), np.array([1.0, 2.0, 3.0]))
    assert model.coef_ == pytest.approx([1.0], abs=1e-6)
    assert model.intercept_ == pytest.approx(0.0, abs=1e-5)


def test_the_exam_table_of_two_targets() -> None:
    table = fs.data.load("exam-scores-two-targets")
    w, *_ = np.linalg.lstsq(np.column_stack([table.X, np.ones(len(table.X))]), table.y, rcond=None)
    exact = fs.model("linear", solver="exact").fit(table.X, table.y)
    assert exact.W_.shape == (3, 2)
    assert exact.coef_.shape == (2, 3)
    assert exact.b_.shape == exact.intercept_.shape == (2,)
    np.testing.assert_allclose(exact.predict(table.X), table.X @ w[:3] + w[3], atol=1e-8)
    if np.linalg.matrix_rank(table.X - table.X.mean(axis=0)) == 3:  # then W itself is settled
        np.testing.assert_allclose(exact.W_, w[:3], atol=1e-8)
        np.testing.assert_allclose(exact.b_, w[3], atol=1e-6)


@pytest.mark.parametrize("targets", [1, 2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("standardize", [False, True])
def test_exact_is_least_squares(targets: int, weighted: bool, standardize: bool) -> None:
    x, y = made_up(targets=targets)
    weight = np.random.default_rng(1).random(len(x)) if weighted else None
    root = np.ones(len(x)) if weight is None else np.sqrt(weight)
    design = np.column_stack([x, np.ones(len(x))]) * root[:, None]
    w, *_ = np.linalg.lstsq(design, (y.T * root).T, rcond=None)
    model = fs.model("linear", solver="exact", standardize=standardize).fit(x, y, weight)
    np.testing.assert_allclose(model.coef_, w[:3].T, rtol=1e-7)
    np.testing.assert_allclose(model.intercept_, w[3], rtol=1e-7)
    np.testing.assert_allclose(model.predict(x), x @ w[:3] + w[3], rtol=1e-9)


@pytest.mark.parametrize("targets", [1, 2])
@pytest.mark.parametrize("weighted", [False, True])
def test_l2_exactly_by_descent_and_in_closed_form(targets: int, weighted: bool) -> None:
    """``mean((X W + b - y)**2) + l2 * sum(W**2)`` in standardised units; the mean is over targets
    too, so the normal equations' ridge is n * targets * l2."""
    x, y = made_up(targets=targets)
    weight = np.random.default_rng(1).random(len(x)) if weighted else np.ones(len(x))
    weight = weight / weight.mean()
    l2, columns = 0.05, y.reshape(len(y), -1)
    x_mean, y_mean = (np.average(a, axis=0, weights=weight) for a in (x, columns))
    x_scale, y_scale = (
        np.sqrt(np.average((a - m) ** 2, axis=0, weights=weight))
        for a, m in ((x, x_mean), (columns, y_mean))
    )
    z, t = (x - x_mean) / x_scale, (columns - y_mean) / y_scale
    gram = (z * weight[:, None]).T @ z + len(x) * targets * l2 * np.eye(3)
    w = np.linalg.solve(gram, (z * weight[:, None]).T @ t)  # the intercept is 0 in these units
    expected = z @ w * y_scale + y_mean

    given = weight if weighted else None
    exact = fs.model("linear", solver="exact", l2=l2).fit(x, y, given)
    descent = fs.model("linear", l2=l2, epochs=3000, lr=0.3).fit(x, y, given)
    for model in (exact, descent):
        predicted = model.predict(x).reshape(len(y), -1)
        np.testing.assert_allclose(predicted, expected, rtol=1e-6, atol=1e-6)
    if not weighted:
        linear_model = pytest.importorskip("sklearn.linear_model", reason="no scikit-learn")
        theirs = linear_model.Ridge(alpha=len(x) * targets * l2).fit(z, t)
        np.testing.assert_allclose(
            theirs.predict(z).reshape(len(z), -1) * y_scale + y_mean, expected, rtol=1e-9
        )


def test_coefficients_are_in_the_datas_units_for_images_too() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (40, 2, 3), dtype=np.uint8)
    flat = images.reshape(40, 6).astype(float)
    y = flat @ np.arange(6.0) + 3
    model = fs.model("linear", solver="exact").fit(images, y)
    np.testing.assert_allclose(model.coef_, np.arange(6.0), atol=1e-8)
    np.testing.assert_allclose(model.predict(images), y, rtol=1e-9)


def test_a_constant_column_and_more_features_than_rows() -> None:
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.standard_normal(5), np.full(5, 3.0), rng.standard_normal((5, 6))])
    y = rng.standard_normal(5)
    model = fs.model("linear", solver="exact").fit(x, y)
    np.testing.assert_allclose(model.predict(x), y, atol=1e-8)
    assert model.coef_[1] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"l2": -1.0}, "LinearRegression: l2 expected a finite number >= 0; got -1.0"),
        ({"solver": "svd"}, "solver expected .*'normal', 'exact'.*; got 'svd'"),
        (
            {"solver": "exact", "weight_decay": 0.1},
            "weight_decay belongs to the other solvers; with solver='exact' use l2",
        ),
    ],
)
def test_a_wrong_hyperparameter_is_named(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        fs.model("linear", **params).fit(X, Y)


def test_a_perceptron_learns_a_curve() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-3, 3, (300, 1))
    y = np.column_stack([np.sin(x[:, 0]), x[:, 0] ** 2])
    model = fs.model("mlp-regressor", lr=0.01, activation="tanh").fit(x[:200], y[:200])
    assert model.predict(x).shape == (300, 2)
    assert model.score(x[200:], y[200:]) > 0.99
    one = fs.model("mlp-regressor", lr=0.01, dropout=0.1).fit(x[:200], y[:200, 1])
    assert one.predict(x).shape == (300,)
    assert one.score(x[200:], y[200:, 1]) > 0.9


def test_the_courses_exam_scores(shared_data: Path) -> None:
    """Rung 04: the course reports cost 24.72 after 2000 steps of SGD at 1e-5."""
    table = np.loadtxt(shared_data / "course" / "data-01-test-score.csv", delimiter=",")
    x, y = table[:, :-1], table[:, -1]
    assert x.shape == (25, 3)
    for options in ({"solver": "exact"}, {"epochs": 2000}):
        model = fs.model("linear", **options).fit(x, y)
        assert np.mean((model.predict(x) - y) ** 2) <= 24.72
        assert model.evaluate(x, y)["mse"] <= 24.72
    raw = fs.model("linear", standardize=False, lr=1e-5, epochs=2000).fit(x, y)
    assert raw.history_[-1]["train"]["loss"] <= 24.72
