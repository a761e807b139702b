"""Metrics against scikit-learn's, over drawn labels, weights and shapes."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flagstone import metrics
from flagstone.errors import FlagstoneError, InputError, ShapeError
from flagstone.plugins import registry

reference = pytest.importorskip("sklearn.metrics", reason="the extra sklearn is not installed")

ALPHABETS = (
    np.array(["rose", "lily", "", "iris"]),
    np.array([3, -1, 7, 0]),
    np.array([0.0, 2.0, -1.0, 4.0]),
    np.array([True, False]),
)


@st.composite
def labelled(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    n = draw(st.integers(1, 30))
    alphabet = ALPHABETS[draw(st.integers(0, 3))]
    codes = hnp.arrays(np.int64, n, elements=st.integers(0, len(alphabet) - 1))
    return alphabet[draw(codes)], alphabet[draw(codes)], draw(weights(n))


def weights(n: int) -> st.SearchStrategy[np.ndarray | None]:
    some = hnp.arrays(np.float64, n, elements=st.floats(0.125, 8))
    return st.none() | some


@st.composite
def measured(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    n = draw(st.integers(2, 20))
    shape = draw(st.sampled_from([(n,), (n, 1), (n, 3)]))
    # a coarse grid, so that equal values and targets that do not vary are drawn often
    grid = hnp.arrays(np.float64, shape, elements=st.integers(-8, 8).map(lambda i: i / 4))
    return draw(grid), draw(grid), draw(weights(n))


def quiet(function: Callable[..., object], *arguments: object, **options: object) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of classes that are never predicted
        return np.asarray(function(*arguments, **options))


@given(labelled())
def test_accuracy(drawn) -> None:
    true, pred, weight = drawn
    expected = reference.accuracy_score(true, pred, sample_weight=weight)
    assert metrics.accuracy(true, pred, sample_weight=weight) == pytest.approx(expected)


@given(labelled())
def test_confusion_matrix(drawn) -> None:
    true, pred, weight = drawn
    expected = quiet(reference.confusion_matrix, true, pred, sample_weight=weight)
    got = metrics.confusion_matrix(true, pred, sample_weight=weight)
    np.testing.assert_allclose(got, expected)
    assert got.dtype == (np.int64 if weight is None else np.float64)


@given(labelled(), st.data())
def test_confusion_matrix_in_the_order_of_labels(drawn, data) -> None:
    true, pred, weight = drawn
    known = np.unique(np.concatenate([true, pred]))
    order = data.draw(st.permutations(range(len(known))))
    labels = known[order[: data.draw(st.integers(1, len(known)))]]
    if not np.isin(labels, true).any():
        with pytest.raises(InputError, match="at least one of labels must occur"):
            metrics.confusion_matrix(true, pred, labels=labels, sample_weight=weight)
        return
    expected = quiet(reference.confusion_matrix, true, pred, labels=labels, sample_weight=weight)
    got = metrics.confusion_matrix(true, pred, labels=labels, sample_weight=weight)
    np.testing.assert_allclose(got, expected)


@given(labelled(), st.sampled_from(["precision", "recall", "f1"]))
def test_macro_averages(drawn, name: str) -> None:
    true, pred, weight = drawn
    expected = quiet(
        getattr(reference, f"{name}_score"),
        true,
        pred,
        average="macro",
        zero_division=0,
        sample_weight=weight,
    )
    got = getattr(metrics, name)(true, pred, sample_weight=weight)
    assert got == pytest.approx(float(expected))


@given(measured())
def test_regression(drawn) -> None:
    true, pred, weight = drawn
    for name, peer in (
        ("mse", "mean_squared_error"),
        ("mae", "mean_absolute_error"),
        ("mape", "mean_absolute_percentage_error"),
        ("r2", "r2_score"),
    ):
        expected = getattr(reference, peer)(true, pred, sample_weight=weight)
        got = getattr(metrics, name)(true, pred, sample_weight=weight)
        assert got == pytest.approx(expected, rel=1e-9, abs=1e-12), name


@given(st.data(), st.sampled_from([np.float32, np.float64]))
def test_log_loss(data, dtype: type) -> None:
    n = data.draw(st.integers(1, 20))
    known = data.draw(st.sampled_from([[2, 5], ["a", "b", "c"], [False, True]]))
    codes = data.draw(hnp.arrays(np.int64, n, elements=st.integers(0, len(known) - 1)))
    raw = data.draw(
        hnp.arrays(np.float64, (n, len(known)), elements=st.integers(0, 1000).map(float))
    )
    raw[raw.sum(axis=1) == 0] = 1
    proba = (raw / raw.sum(axis=1, keepdims=True)).astype(dtype)
    true, weight = np.array(known)[codes], data.draw(weights(n))
    expected = reference.log_loss(true, proba, labels=known, sample_weight=weight)
    got = metrics.log_loss(true, proba, labels=known, sample_weight=weight)
    assert got == pytest.approx(expected, rel=1e-5 if dtype == np.float32 else 1e-12)
    if len(known) == 2 and dtype == np.float64:
        column = metrics.log_loss(true, proba[:, 1], labels=known, sample_weight=weight)
        expected = reference.log_loss(true, proba[:, 1], labels=known, sample_weight=weight)
        assert column == pytest.approx(expected, rel=1e-9)


@st.composite
def scored(draw: st.DrawFn, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Codes in which every class occurs, scores of which many are equal, weights."""
    n = draw(st.integers(classes, 25))
    codes = draw(hnp.arrays(np.int64, n, elements=st.integers(0, classes - 1)))
    codes[:classes] = np.arange(classes)
    grid = hnp.arrays(np.float64, (n, classes), elements=st.integers(0, 4).map(float))
    return draw(st.permutations(codes).map(np.array)), draw(grid), draw(weights(n))


@given(scored(2), st.sampled_from([(0, 1), (False, True), ("a", "b")]))
def test_roc_auc_of_two_labels(drawn, names) -> None:
    codes, score, weight = drawn
    true = np.array(names)[codes]
    expected = reference.roc_auc_score(true, score[:, 1], sample_weight=weight)
    assert metrics.roc_auc(true, score[:, 1], sample_weight=weight) == pytest.approx(expected)
    score[:, 0] = -score[:, 1]
    assert metrics.roc_auc(true, score, sample_weight=weight) == pytest.approx(expected)


@given(scored(4))
def test_roc_auc_of_several_labels(drawn) -> None:
    codes, raw, weight = drawn
    raw += 0.5
    proba = raw / raw.sum(axis=1, keepdims=True)
    expected = reference.roc_auc_score(codes, proba, multi_class="ovr", sample_weight=weight)
    true = np.array(["a", "b", "c", "d"])[codes]
    assert metrics.roc_auc(true, proba, sample_weight=weight) == pytest.approx(expected)


@given(scored(4), st.integers(1, 5))
def test_top_k_accuracy(drawn, k: int) -> None:
    codes, score, weight = drawn
    expected = quiet(reference.top_k_accuracy_score, codes, score, k=k, sample_weight=weight)
    got = metrics.top_k_accuracy(codes, score, k=k, sample_weight=weight)
    assert got == pytest.approx(float(expected))
    expected = quiet(reference.top_k_accuracy_score, codes[:2], score[:2], k=k, labels=range(4))
    got = metrics.top_k_accuracy(codes[:2], score[:2], k=k, labels=[3, 1, 0, 2])
    assert got == pytest.approx(float(expected))


def test_values_worked_out_by_hand() -> None:
    assert metrics.accuracy(["a", "b", "b", "a"], ["a", "b", "a", "a"]) == 0.75
    assert metrics.accuracy([1, 2], [1, 3], sample_weight=[3, 1]) == 0.75
    assert metrics.log_loss([0, 1], [[0.5, 0.5], [0.75, 0.25]]) == pytest.approx(np.log(8) / 2)
    assert metrics.mse([1, 2, 3], [1, 2, 6]) == 3.0
    assert metrics.mae([1, 2, 3], [1, 2, 6]) == 1.0
    assert metrics.r2([1, 2, 3], [1, 2, 6]) == 1 - 9 / 2
    assert metrics.confusion_matrix([0, 0, 1], [0, 1, 1]).tolist() == [[1, 1], [0, 1]]
    assert metrics.mape([1, 2, -4], [2, 2, -2]) == 0.5
    assert metrics.roc_auc([0, 1, 0, 1], [1, 2, 2, 3]) == 3.5 / 4
    assert metrics.roc_auc([0, 1, 1], [1, 0, 2], sample_weight=[1, 3, 1]) == 0.25
    scores = [[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]]
    assert metrics.top_k_accuracy([1, 0], scores, labels=[0, 1, 2]) == 0.5
    assert metrics.top_k_accuracy([1, 0], scores, labels=[0, 1, 2], k=3) == 1.0


def test_r2_of_one_row_is_not_defined() -> None:
    assert np.isnan(metrics.r2([1.0], [2.0]))


def test_labels_as_objects_and_columns() -> None:
    names = np.array(["a", "b"], dtype=object)
    assert metrics.accuracy(names, ["a", "b"]) == 1.0
    assert metrics.accuracy([[0], [1]], [0, 1]) == 1.0
    assert metrics.accuracy([True, False], [1, 0]) == 1.0


def test_every_metric_is_registered() -> None:
    registered = {registry.load("metric", name).__name__ for name in registry.names("metric")}
    assert {*metrics.__all__} <= registered


TWO = [0, 1]
SCORES = np.array([[1.0, 0.5], [0.25, 2.0]])
THREE = np.ones((2, 3))
BAD: dict[str, tuple[str, tuple, dict, type[FlagstoneError], str]] = {
    "lengths": ("accuracy", (TWO, [0]), {}, ShapeError, "must have the same length; got 2 and 1"),
    "no labels": ("accuracy", ([], []), {}, InputError, "y_true is empty"),
    "no rows": ("mse", ([], []), {}, InputError, "y_true is empty"),
    "matrix": ("accuracy", ([TWO, TWO], TWO), {}, ShapeError, r"y_true must be \(n,\); got shape"),
    "text and numbers": ("accuracy", (["a", "b"], TWO), {}, InputError, "labels of one type"),
    "mixed": ("accuracy", (np.array(["a", 1], dtype=object), TWO), {}, InputError, "one type"),
    "nan label": ("accuracy", ([0.0, np.nan], TWO), {}, InputError, "holds NaN, which is no label"),
    "none": ("accuracy", ([None, None], TWO), {}, InputError, "labels of one type"),
    "targets": ("mse", ([TWO, TWO], [[0], [1]]), {}, ShapeError, "same number of targets"),
    "text": ("mae", (["a"], [1]), {}, InputError, "must hold real numbers; got dtype <U1"),
    "nan": ("r2", (TWO, [0, np.nan]), {}, InputError, "y_pred must be finite"),
    "cube": ("mse", (np.ones((1, 1, 1)), TWO), {}, ShapeError, r"\(n,\) or \(n, targets\)"),
    "weights": ("mse", (TWO, TWO), {"sample_weight": [1]}, ShapeError, r"\(n,\) with n = 2"),
    "negative weights": ("mse", (TWO, TWO), {"sample_weight": [1, -1]}, InputError, "not negative"),
    "zero weights": ("mse", (TWO, TWO), {"sample_weight": [0, 0]}, InputError, "not zero every"),
    "above one": ("log_loss", (TWO, [0.5, 1.5]), {}, InputError, "between 0 and 1"),
    "nan probability": ("log_loss", (TWO, [0.5, np.nan]), {}, InputError, "between 0 and 1"),
    "sums": ("log_loss", (TWO, [[0.5, 0.6], [0.5, 0.5]]), {}, InputError, "must sum to one"),
    "columns": ("log_loss", (TWO, np.ones((2, 3)) / 3), {}, ShapeError, "each of the 2 labels"),
    "one label": ("log_loss", ([1, 1], [0.5, 0.5]), {}, InputError, "at least two labels"),
    "unknown label": (
        "log_loss",
        ([0, 2], [0.5, 0.5]),
        {"labels": TWO},
        InputError,
        r"holds 2, which is none of the labels \[0, 1\]",
    ),
    "no k": ("top_k_accuracy", (TWO, SCORES), {"k": 0}, InputError, "k must be a positive integer"),
    "true k": (
        "top_k_accuracy",
        (TWO, SCORES),
        {"k": True},
        InputError,
        "positive integer; got True",
    ),
    "a row of scores": ("top_k_accuracy", (TWO, TWO), {}, ShapeError, r"must be \(n, classes\)"),
    "infinite scores": (
        "top_k_accuracy",
        (TWO, [[np.inf, 0], [0, 1]]),
        {},
        InputError,
        "y_score must be fini",
    ),
    "score columns": (
        "top_k_accuracy",
        (TWO, THREE),
        {},
        ShapeError,
        "each of the 2 labels; got 3",
    ),
    "score lengths": ("roc_auc", ([0, 1, 0], TWO), {}, ShapeError, "same length; got 3 and 2"),
    "score labels": (
        "top_k_accuracy",
        (TWO, SCORES),
        {"labels": ["a", "b"]},
        InputError,
        "labels of one type",
    ),
    "text scores": ("roc_auc", (TWO, ["a", "b"]), {}, InputError, "y_score must hold real numbers"),
    "one label's curve": ("roc_auc", ([1, 1], [[1], [2]]), {}, InputError, "at least 2 labels"),
    "two labels' scores": (
        "roc_auc",
        ([1, 1], TWO),
        {},
        InputError,
        r"2 labels are needed, got \[1\]",
    ),
    "a label without rows": (
        "roc_auc",
        ([0, 0], TWO),
        {"labels": TWO},
        InputError,
        r"\[1\] have no rows",
    ),
    "a label without weight": (
        "roc_auc",
        (TWO, TWO),
        {"sample_weight": [1, 0]},
        InputError,
        r"\[1\] have no rows",
    ),
    "labels twice": ("confusion_matrix", (TWO, TWO), {"labels": [1, 1]}, InputError, "differ"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_measured(case: str) -> None:
    name, arguments, options, error, message = BAD[case]
    with pytest.raises(error, match=message) as caught:
        getattr(metrics, name)(*arguments, **options)
    assert str(caught.value).startswith(f"{name}: ")
