"""Classification models against the lecture's facts, scikit-learn and the course's results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone.errors import ConfigurationError, InputError, ShapeError

XOR = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], float)
XOR_LABELS = np.array([0, 1, 1, 0])


def two_clouds(n: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping, so that the best coefficients are finite."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    x = rng.standard_normal((n, 4)) + y[:, None] * [1.0, 0.5, -0.5, 0.2]
    return x * [1, 5, 0.2, 1] + [0, 50, 0, -3], y


# Logistic


def test_logistic_is_scikit_learns() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model", reason="no scikit-learn")
    x, y = two_clouds()
    theirs = linear_model.LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000).fit(x, y)
    ours = fs.model("logistic", epochs=2000).fit(x, y)
    assert ours.coef_.shape == theirs.coef_.shape == (1, 4)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-3)
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), atol=1e-4)
    np.testing.assert_allclose(
        ours.decision_function(x), theirs.decision_function(x), rtol=1e-3, atol=1e-3
    )


def test_logistic_with_l2_is_scikit_learns() -> None:
    """Ours: mean loss + l2 |w|^2; theirs: C * sum of losses + |w|^2 / 2, so C = 1 / (2 n l2)."""
    linear_model = pytest.importorskip("sklearn.linear_model", reason="no scikit-learn")
    datasets = pytest.importorskip("sklearn.datasets", reason="no scikit-learn")
    x, y = datasets.load_breast_cancer(return_X_y=True)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    l2 = 0.01
    theirs = linear_model.LogisticRegression(C=1 / (2 * len(x) * l2), tol=1e-10, max_iter=10_000)
    theirs.fit(z, y)
    ours = fs.model("logistic", l2=l2, epochs=2000).fit(x, y)
    np.testing.assert_allclose(ours.coef_ * x.std(axis=0), theirs.coef_, atol=1e-3)
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(z), atol=1e-3)


def test_the_threshold_moves_the_boundary() -> None:
    x, y = two_clouds()
    counts = []
    for threshold in (0.1, 0.3, 0.5, 0.7, 0.9):
        model = fs.model("logistic", threshold=threshold).fit(x, y)
        positive = model.predict_proba(x)[:, 1]
        np.testing.assert_array_equal(model.predict(x), (positive > threshold).astype(int))
        counts.append(int(model.predict(x).sum()))
        accuracy = model.score(x, y)
        assert model.evaluate(x, y)["accuracy"] == accuracy
        assert model.history_[-1]["train"]["accuracy"] == pytest.approx(accuracy, abs=0.02)
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[2] > counts[-1]


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.5, float("nan")])
def test_a_threshold_outside_0_and_1_is_refused(threshold: float) -> None:
    with pytest.raises(ConfigurationError, match=r"threshold expected a probability in \(0, 1\)"):
        fs.model("logistic", threshold=threshold).fit(*two_clouds())


def test_logistic_refuses_three_classes() -> None:
    x, _ = two_clouds(30)
    with pytest.raises(InputError, match=r"y expected two classes; got 3: 'a', 'b', 'c'.*softmax"):
        fs.model("logistic").fit(x, np.array(["a", "b", "c"] * 10))


def test_two_classes_of_softmax_are_logistic() -> None:
    x, y = two_clouds()
    logistic = fs.model("logistic", epochs=3000).fit(x, y)
    softmax = fs.model("softmax", epochs=3000, batch_size=None, optimizer="sgd", lr=0.9).fit(x, y)
    np.testing.assert_allclose(softmax.predict_proba(x), logistic.predict_proba(x), atol=1e-3)
    np.testing.assert_allclose(
        softmax.coef_[1] - softmax.coef_[0], logistic.coef_[0], rtol=1e-2, atol=1e-3
    )
    assert softmax.decision_function(x).shape == logistic.decision_function(x).shape == (len(x),)


def test_pass_fail_of_the_lecture() -> None:
    table = fs.data.load("pass-fail")
    model = fs.model("logistic").fit(table.X, table.y)
    assert model.score(table.X, table.y) == 1.0
    proba = model.predict_proba(table.X)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0)


# Softmax and perceptrons


def test_softmax_coefficients_are_in_the_datas_units() -> None:
    x, y = two_clouds()
    model = fs.model("softmax").fit(x, y)
    logits = x @ model.coef_.T + model.intercept_
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict_proba(x), p, atol=1e-4)


@pytest.mark.parametrize("name", ["linear", "softmax", "logistic"])
def test_l2_shrinks_the_weights(name: str) -> None:
    x, y = two_clouds()
    norms = [np.abs(fs.model(name, l2=l2).fit(x, y).coef_).sum() for l2 in (0.0, 0.1, 1.0)]
    assert norms[0] > norms[1] > norms[2]
    with pytest.raises(ConfigurationError, match=r"l2 expected a finite number >= 0; got -0\.1"):
        fs.model(name, l2=-0.1).fit(x, y)


@pytest.mark.parametrize("seed", range(20))
def test_a_perceptron_solves_xor_from_every_seed(seed: int) -> None:
    model = fs.model("mlp", seed=seed).fit(XOR, XOR_LABELS)
    np.testing.assert_array_equal(model.predict(XOR), XOR_LABELS)


def test_no_linear_model_solves_xor() -> None:
    assert fs.model("softmax").fit(XOR, XOR_LABELS).score(XOR, XOR_LABELS) <= 0.75


@pytest.mark.parametrize(
    "options",
    [
        {"hidden": (2,), "activation": "sigmoid", "lr": 0.1, "epochs": 2000, "init": "normal"},
        {"hidden": (10, 10, 10), "activation": "sigmoid", "lr": 0.03, "epochs": 1000,
         "init": "xavier_normal"},
        {"hidden": (8,), "activation": "maxout(pieces=3)", "lr": 0.03},
        {"hidden": (8, 8), "activation": "leaky-relu(negative_slope=0.1)", "lr": 0.03},
        {"hidden": (8,), "activation": "elu", "lr": 0.05},
        {"hidden": (8,), "activation": "tanh", "lr": 0.05},
    ],
)  # fmt: skip
def test_the_lectures_activations_solve_xor(options: dict[str, Any]) -> None:
    """Rung 09 among them: 2-2-1 and 2-10-10-10-1 with sigmoids."""
    solved = [
        fs.model("mlp", seed=seed, **options).fit(XOR, XOR_LABELS).score(XOR, XOR_LABELS) == 1.0
        for seed in range(3)
    ]
    assert any(solved)


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    pytest.importorskip("sklearn", reason="scikit-learn, which carries the digits, is not there")
    data = fs.data.load("digits")
    train, held = fs.data.split(len(data.X), 0.25, seed=0, stratify=data.y)
    return data.X[train], data.y[train], data.X[held], data.y[held]


@pytest.mark.parametrize(("name", "least"), [("softmax", 0.95), ("mlp", 0.96)])
def test_digits_as_tables(name: str, least: float) -> None:
    x, y, x_test, y_test = digits()
    model = fs.model(name, epochs=20).fit(x, y)
    assert model.score(x_test, y_test) >= least


@pytest.mark.parametrize(
    ("name", "options", "least"),
    [
        ("cnn", {"epochs": 4, "batch_size": 50, "lr": 2e-3, "dropout": 0.1}, 0.95),
        ("lenet", {"epochs": 8, "batch_size": 32, "lr": 4e-3}, 0.94),
    ],
)
def test_digits_as_images(name: str, options: dict[str, Any], least: float) -> None:
    x, y, x_test, y_test = digits()
    x, x_test = x.reshape(-1, 8, 8), x_test.reshape(-1, 8, 8)
    model = fs.model(name, **options).fit(x, y)
    assert model.score(x_test, y_test) >= least


@pytest.mark.parametrize(
    ("name", "shape", "parameters"),
    [
        # 3x3x32 + 32, 3x3x32x64 + 64, 3x3x64x128 + 128, 4x4x128x625 + 625, 625x10 + 10
        ("cnn", (28, 28), 320 + 18496 + 73856 + 1_280_625 + 6260),
        # LeNet-5 with full connections: 156 + 2416 + 48120 + 10164 + 850
        ("lenet", (28, 28), 61706),
    ],
)
def test_the_published_networks_sizes(name: str, shape: tuple[int, ...], parameters: int) -> None:
    rng = np.random.default_rng(0)
    model = fs.model(name, epochs=1).fit(rng.random((10, *shape)), np.arange(10))
    assert model.n_parameters_ == parameters


@pytest.mark.parametrize("name", ["cnn", "lenet"])
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 4, 3), (8, 8, 1), (9, 17), (12, 11, 2)])
def test_image_models_take_images_of_any_size(name: str, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).random((8, *shape))
    model = fs.model(name, epochs=1).fit(x, np.arange(8) % 2)
    assert model.predict_proba(x).shape == (8, 2)


@pytest.mark.parametrize("name", ["cnn", "lenet"])
def test_image_models_refuse_a_table_and_say_what_to_do(name: str) -> None:
    x, y = np.ones((4, 64)), np.array([0, 1, 0, 1])
    with pytest.raises(ShapeError, match=r"got a table of shape \(4, 64\). Say image_shape=\(h, w"):
        fs.model(name).fit(x, y)
    with pytest.raises(
        ShapeError, match=r"rows of 63 values, as image_shape=\(7, 9\) says; got 64"
    ):
        fs.model(name, image_shape=(7, 9)).fit(x, y)
    with pytest.raises(ShapeError, match="image_shape"):
        fs.model(name, image_shape=(64,)).fit(x, y)


# The course's tables


def test_the_courses_diabetes_table(shared_data: Path) -> None:
    """Rung 05: the course reports training accuracy 0.7628 after 10 000 steps."""
    table = np.loadtxt(shared_data / "course" / "data-03-diabetes.csv", delimiter=",")
    x, y = table[:, :-1], table[:, -1].astype(int)
    assert x.shape == (759, 8)
    model = fs.model("logistic").fit(x, y)
    assert model.score(x, y) >= 0.7628


def test_the_courses_zoo(shared_data: Path) -> None:
    """Rung 06: the course reports training accuracy 1.00 after 2000 steps of SGD at 0.1."""
    table = np.loadtxt(shared_data / "course" / "data-04-zoo.csv", delimiter=",")
    x, y = table[:, :-1], table[:, -1].astype(int)
    assert (x.shape, len(np.unique(y))) == ((101, 16), 7)
    options = {"optimizer": "sgd", "lr": 0.1, "epochs": 2000, "batch_size": None}
    model = fs.model("softmax", **options).fit(x, y)
    assert model.score(x, y) == 1.0
