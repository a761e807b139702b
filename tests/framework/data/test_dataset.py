"""Dataset: what its construction accepts, refuses and says."""

from __future__ import annotations

import re

import numpy as np
import pytest

from flagstone.data import Dataset
from flagstone.data.dataset import infer_task
from flagstone.errors import ConfigurationError, FlagstoneError, InputError

X = np.arange(6.0).reshape(3, 2)
Y = np.array([0, 1, 0])


def make(**changes: object) -> Dataset:
    arguments = {"name": "toy", "task": "classification", "X": X, "y": Y, **changes}
    return Dataset(**arguments)  # type: ignore[arg-type]  # wrong arguments are the point


BAD = {
    "no name": ({"name": ""}, "name must be non-empty text; got ''"),
    "task": (
        {"task": "ranking"},
        "task must be one of classification, regression, clustering, transform; got 'ranking'",
    ),
    "list": ({"X": X.tolist()}, "X must be a NumPy array; got list. Convert it with numpy.asarray"),
    "one axis": ({"X": np.ones(3)}, "X must be (n, features), (n, height, width) or"),
    "no rows": ({"X": np.ones((0, 2)), "y": np.ones(0)}, "X holds no values; its shape is (0, 2)"),
    "no columns": ({"X": np.ones((3, 0))}, "X holds no values"),
    "text X": ({"X": np.array([["a"], ["b"], ["c"]])}, "X must hold real numbers; got dtype <U1"),
    "complex X": ({"X": X + 0j}, "X must hold real numbers; got dtype complex128"),
    "length": ({"y": Y[:2]}, "y must have one entry for each of the 3 rows of X; got shape (2,)"),
    "scalar y": ({"y": np.array(1)}, "y must have one entry for each of the 3 rows"),
    "nan X": ({"X": np.where(X == 3, np.nan, X)}, "X must be finite; X[1, 1] is nan"),
    "inf X": ({"X": np.where(X == 4, np.inf, X)}, "X must be finite; X[2, 0] is inf"),
    "nan y": ({"y": np.array([0, np.nan, 1])}, "y must be finite; y[1] is nan"),
    "column y": ({"y": Y[:, None]}, "y must be (n,) for classification; got shape (3, 1). Flatten"),
    "object y": ({"y": Y.astype(object)}, "y must hold text, whole numbers or booleans"),
    "fractions": ({"y": np.array([0, 0.5, 1])}, "not whole, such as 0.5; they are no class labels"),
    "text target": (
        {"task": "regression", "y": np.array(["a", "b", "c"])},
        "y must hold real numbers for regression; got dtype <U1",
    ),
    "3-d target": (
        {"task": "regression", "y": np.ones((3, 1, 1))},
        "y must be (n,) or (n, targets)",
    ),
    "half a test split": ({"X_test": X}, "X_test and y_test come together or not at all"),
    "test width": (
        {"X_test": np.ones((2, 5)), "y_test": Y[:2]},
        "X_test must have the shape of X after the first axis, (2,); got (5,)",
    ),
    "few names": ({"feature_names": ("a",)}, "feature_names must be 2, one per column; got 1"),
    "same names": ({"feature_names": ("a", "a")}, "feature_names must differ; 'a' is there twice"),
    "empty name": ({"feature_names": ("a", "")}, "feature_names must be non-empty text"),
    "target names": ({"target_names": ("a", "b")}, "target_names must be 1, one per column; got 2"),
    "named pixels": (
        {"X": np.ones((3, 2, 2)), "feature_names": ("a", "b")},
        "feature_names name the columns of a table; X has shape (3, 2, 2)",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_dataset_is_refused_with_its_reason(case: str) -> None:
    changes, message = BAD[case]
    with pytest.raises(FlagstoneError, match=re.escape(message)) as caught:
        make(**changes)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_labels_keep_their_type() -> None:
    for labels in (["a", "b", "a"], [True, False, True], [-1, 1, 1], [0.0, 1.0, 0.0]):
        y = np.array(labels)
        assert make(y=y).y is y


def test_images_and_their_test_split() -> None:
    images = np.zeros((3, 4, 5, 3), dtype=np.uint8)
    dataset = make(X=images, X_test=images[:1], y_test=Y[:1])
    assert dataset.image_shape == (4, 5, 3)
    assert make().image_shape is None


def test_a_dataset_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        make().name = "other"  # type: ignore[misc]  # the assignment is what must fail


def test_names_become_tuples() -> None:
    assert make(feature_names=["a", "b"]).feature_names == ("a", "b")


def test_aligned_takes_columns_by_name() -> None:
    dataset = make(feature_names=("a", "b"), X_test=X[:1] + 10, y_test=Y[:1])
    swapped = dataset.aligned(["b", "a"])
    assert swapped.feature_names == ("b", "a")
    np.testing.assert_array_equal(swapped.X, X[:, ::-1])
    np.testing.assert_array_equal(swapped.X_test, X[:1, ::-1] + 10)
    assert dataset.aligned(["b"]).X.shape == (3, 1)
    assert dataset.aligned(("a", "b")) is dataset
    with pytest.raises(
        InputError,
        match=r"^dataset toy: column 'bbb' is missing; the file has a, bb\. Did you mean 'bb'\?$",
    ):
        make(feature_names=("a", "bb")).aligned(["a", "bbb"])
    with pytest.raises(
        InputError, match=r"^p\.csv: columns 'x1', 'x2' are missing; the file has a"
    ):
        dataset.aligned(["x1", "a", "x2"], "p.csv")
    with pytest.raises(InputError, match=r"^p\.csv: column 'c' is the target here, and what the"):
        make(feature_names=("a", "b"), target_names=("c",)).aligned(["a", "c"], "p.csv")
    with pytest.raises(ConfigurationError, match="columns have no names"):
        make().aligned(["a"])


def test_with_task() -> None:
    dataset = make()
    assert dataset.with_task("classification") is dataset
    assert dataset.with_task("regression").task == "regression"
    with pytest.raises(ConfigurationError, match="toy is for classification; it cannot be used"):
        make(y=np.array(["a", "b", "a"])).with_task("regression")
    with pytest.raises(ConfigurationError, match="toy is for regression; it cannot be used"):
        make(task="regression").with_task("classification")
    with pytest.raises(ConfigurationError, match="task must be one of"):
        dataset.with_task("ranking")  # type: ignore[arg-type]  # a wrong task is the point


@pytest.mark.parametrize(
    ("y", "task"),
    [
        (np.array(["a", "b"]), "classification"),
        (np.array([True, False]), "classification"),
        (np.array([0, 1, 0, 1]), "classification"),
        (np.array([0, 1, 1]), "regression"),  # fewer than two rows a value
        (np.arange(20).repeat(2), "classification"),
        (np.arange(21).repeat(2), "regression"),  # more than twenty values
        (np.array([0.0, 1.0, 0.0, 1.0]), "regression"),  # written as decimals
        (np.array([[0, 1], [1, 0], [0, 1], [1, 0]]), "regression"),
        (np.array([3, 1, 2, 5, 4]), "regression"),
    ],
)
def test_the_rule_that_infers_a_task(y: np.ndarray, task: str) -> None:
    assert infer_task(y) == task


def test_errors_are_built_in_errors_too() -> None:
    with pytest.raises(ValueError, match="X must be finite"):
        make(X=X * np.nan)
    assert issubclass(InputError, ValueError)
