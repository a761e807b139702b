"""The solvers of linear models: which one is taken, what each refuses, where they end."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone.errors import ConfigurationError

RNG = np.random.default_rng(2)
X = RNG.standard_normal((300, 5)) @ RNG.standard_normal((5, 5)) * [1, 20, 0.1, 1, 5] + [
    0,
    9,
    0,
    4,
    0,
]
Z = (X - X.mean(axis=0)) / X.std(axis=0)
SCORES = Z @ RNG.standard_normal((5, 3)) + RNG.gumbel(size=(300, 3))
LABELS = {"linear": SCORES[:, 0], "logistic": SCORES[:, 0] > 0, "softmax": SCORES.argmax(axis=1)}
NAMES = sorted(LABELS)


def fitted(name: str, *more: Any, **params: Any) -> Any:
    return fs.model(name, **params).fit(X, LABELS[name], *more)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("params", "solver"),
    [
        ({}, "lbfgs"),
        ({"l2": 0.1, "weight_decay": 0.1, "patience": 3}, "lbfgs"),
        ({"batch_size": None}, "lbfgs"),
        ({"optimizer": "lbfgs(history_size=5)"}, "lbfgs"),
        ({"optimizer": "adam", "epochs": 1}, "sgd"),
        ({"lr": 0.01, "epochs": 1}, "sgd"),
        ({"batch_size": 50, "epochs": 1}, "sgd"),
        ({"schedule": "cosine", "epochs": 1}, "sgd"),
        ({"solver": "sgd", "epochs": 1}, "sgd"),
    ],
)
def test_auto_does_what_was_asked(name: str, params: dict[str, Any], solver: str) -> None:
    model = fitted(name, **params)
    own = name == "linear" and set(params) <= {"batch_size"}
    assert model.solver_ == ("normal" if own else solver)
    if solver == "sgd":
        assert len(model.history_) == 1


@pytest.mark.parametrize("name", NAMES)
def test_images_are_for_descent(name: str) -> None:
    images = X[:, :4].reshape(-1, 2, 2)
    assert fs.model(name, epochs=2).fit(images, LABELS[name]).solver_ == "sgd"
    assert fs.model(name, solver="lbfgs").fit(images, LABELS[name]).solver_ == "lbfgs"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"solver": "lbfgs", "lr": 0.1}, "lr belongs to solver='sgd'; got 0.1 with lbfgs"),
        ({"solver": "lbfgs", "batch_size": 9}, "batch_size belongs to solver='sgd'; got 9 with l"),
        ({"solver": "lbfgs", "optimizer": "adam"}, "optimizer belongs to solver='sgd'; got 'adam'"),
        ({"solver": "lbfgs", "schedule": "cosine"}, "schedule belongs to solver='sgd'; got 'cos"),
        ({"optimizer": "lbfgs", "lr": 0.1}, "lr belongs to solver='sgd'; got 0.1 with lbfgs"),
        ({"solver": "sgd", "optimizer": "lbfgs"}, "optimizer expected one of descent with solver"),
        ({"solver": "newton"}, "solver expected"),
        ({"l2": float("inf")}, "l2 expected a finite number >= 0; got inf"),
    ],
)
def test_what_the_solver_does_not_use_is_refused(
    name: str, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        fitted(name, **params)


@pytest.mark.parametrize("params", [{"lr": 0.1}, {"batch_size": 9}, {"patience": 2}])
def test_so_it_is_with_exact(params: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=f"{next(iter(params))} belongs to"):
        fitted("linear", solver="exact", **params)


@pytest.mark.parametrize("l2", [0.0, 0.02])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ["logistic", "softmax"])
def test_the_optimum_is_scikit_learns(name: str, weighted: bool, l2: float) -> None:
    """Theirs: C * sum of losses + |w|^2 / 2 in units that are standardised by hand. Without a
    penalty softmax has a free direction, the same for all classes; theirs is centred there."""
    linear_model = pytest.importorskip("sklearn.linear_model", reason="no scikit-learn")
    weight = RNG.random(300) if weighted else np.ones(300)
    weight /= weight.mean()
    mean = np.average(X, axis=0, weights=weight)
    scale = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weight))
    theirs = linear_model.LogisticRegression(
        C=1 / (2 * 300 * l2) if l2 else np.inf, tol=1e-11, max_iter=10_000
    ).fit((X - mean) / scale, LABELS[name], sample_weight=weight)
    ours = fitted(name, weight if weighted else None, l2=l2)
    coef = ours.coef_ * scale
    coef -= coef.mean(axis=0) if name == "softmax" else 0
    expected = theirs.coef_ - (theirs.coef_.mean(axis=0) if name == "softmax" else 0)
    np.testing.assert_allclose(coef, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(
        ours.predict_proba(X), theirs.predict_proba((X - mean) / scale), atol=1e-5
    )
    assert len(ours.history_) < 40


def test_least_squares_by_lbfgs_are_the_exact_ones() -> None:
    for params in ({}, {"l2": 0.05}, {"standardize": False}):
        ours = fitted("linear", solver="lbfgs", **params)
        exact = fitted("linear", solver="exact", **params)
        assert ours.solver_ == "lbfgs"
        np.testing.assert_allclose(ours.predict(X), exact.predict(X), rtol=0, atol=1e-4)
    two = fs.model("linear", solver="lbfgs").fit(X, SCORES[:, :2])
    np.testing.assert_allclose(
        two.predict(X), fs.model("linear", solver="exact").fit(X, SCORES[:, :2]).predict(X),
        atol=1e-5,
    )  # fmt: skip


def test_weight_decay_is_that_of_descent() -> None:
    """The same optimum: of the loss and half the squares, biases among them."""
    options = {"standardize": False, "weight_decay": 0.3}
    one = fs.model("logistic", **options).fit(Z, LABELS["logistic"])
    other = fs.model("logistic", lr=0.5, epochs=3000, **options).fit(Z, LABELS["logistic"])
    np.testing.assert_allclose(one.coef_, other.coef_, rtol=0, atol=1e-5)
    np.testing.assert_allclose(one.intercept_, other.intercept_, rtol=0, atol=1e-5)
    text = fs.model("logistic", optimizer="lookahead(base='sgd')", epochs=3000, lr=0.5, **options)
    np.testing.assert_allclose(text.fit(Z, LABELS["logistic"]).coef_, one.coef_, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_loaded_model_has_the_solver_that_was_used(name: str, tmp_path: Any) -> None:
    model = fitted(name)
    model.save(tmp_path / "m.safetensors")
    loaded = fs.load(tmp_path / "m.safetensors")
    assert loaded.solver_ == ("normal" if name == "linear" else "lbfgs")
    np.testing.assert_array_equal(loaded.coef_, model.coef_)


def test_any_model_may_go_by_all_the_data() -> None:
    """A perceptron too, where it is said that a step takes all examples."""
    y = LABELS["logistic"]
    model = fs.model("mlp", optimizer="lbfgs", lr=1.0, batch_size=None, epochs=30).fit(X, y)
    assert model.history_[-1]["train"]["loss"] < 0.5 * model.history_[0]["train"]["loss"]
    with pytest.raises(ConfigurationError, match="batch_size: expected None, for all examples"):
        fs.model("mlp", optimizer="lbfgs").fit(X, y)


def test_a_subclass_elsewhere_needs_no_import_for_inherited_annotations() -> None:
    """Annotations are resolved in the module that writes them."""
    assert "solver" in fs.model("logistic").hyperparameters()
