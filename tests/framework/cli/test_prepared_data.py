"""Dividing data, and recognising it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from flagstone.cli.prepared_data import fingerprint, prepare
from flagstone.data import Dataset


def _dataset(**changes: object) -> Dataset:
    fields = {
        "name": "d",
        "task": "classification",
        "X": np.arange(12.0).reshape(6, 2),
        "y": np.array(["a", "b"] * 3),
        "feature_names": ("p", "q"),
    }
    return Dataset(**{**fields, **changes})  # type: ignore[arg-type]  # by name, checked inside


@pytest.mark.parametrize(
    "changed",
    [
        {"X": np.arange(12.0).reshape(6, 2) + 1e-12},
        {"X": np.arange(12.0, dtype=np.float32).reshape(6, 2)},
        {"X": np.arange(12.0).reshape(6, 2)[::-1]},
        {"y": np.array(["a", "b"] * 2 + ["b", "a"])},
        {"y": np.array(["a", "ü"] * 3)},
        {"feature_names": ("q", "p")},
        {"feature_names": None},
        {"X_test": np.ones((1, 2)), "y_test": np.array(["a"])},
    ],
)
def test_any_change_is_noticed(changed: dict[str, object]) -> None:
    assert fingerprint(_dataset(**changed)) != fingerprint(_dataset())


def test_equal_data_is_equal_whatever_its_memory() -> None:
    X = np.asfortranarray(np.arange(12.0).reshape(6, 2))
    assert fingerprint(_dataset(X=X, name="other")) == fingerprint(_dataset())
    assert fingerprint(dataclasses.replace(_dataset())) == fingerprint(_dataset())


def test_images_and_integers_too() -> None:
    images = np.zeros((2, 3, 3), np.uint8)
    a = Dataset("i", "classification", images, np.array([0, 1]))
    b = Dataset("i", "classification", images.reshape(2, 9), np.array([0, 1]))
    assert fingerprint(a) != fingerprint(b)


def test_the_split_is_stratified_and_the_same_every_time() -> None:
    first, second = (prepare("iris", None, "classification", 0.2, 3) for _ in range(2))
    assert first.validation is not None
    assert second.validation is not None
    assert np.unique(first.validation[1], return_counts=True)[1].tolist() == [10, 10, 10]
    np.testing.assert_array_equal(first.validation[0], second.validation[0])
    other = prepare("iris", None, "classification", 0.2, 4)
    assert other.validation is not None
    assert not np.array_equal(first.validation[0], other.validation[0])
    assert str(first) == "iris: 120 train / 30 validation"
    rows = np.concatenate([first.train[0], first.validation[0]])
    np.testing.assert_array_equal(np.sort(rows, axis=0), np.sort(first.dataset.X, axis=0))


def test_few_rows_are_left_whole_by_default() -> None:
    assert prepare("line", None, "regression", None, 0).validation is None
    held_out = prepare("exam-scores", None, "regression", None, 0).validation
    assert held_out is not None
    assert len(held_out[0]) == 3
