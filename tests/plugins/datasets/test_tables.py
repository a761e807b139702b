"""The built-in tables: their facts, from the lecture and from scikit-learn."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import flagstone_datasets
from flagstone.data import load
from flagstone.errors import ConfigurationError, InputError, UnavailableError

SPECS = {spec.name: spec for spec in flagstone_datasets.flagstone_datasets()}

# name -> rows, columns, task, distinct labels or targets
SMALL = {
    "line": (5, 1, "regression", 1),
    "exam-scores": (25, 3, "regression", 1),
    "exam-scores-two-targets": (5, 3, "regression", 2),
    "pass-fail": (6, 2, "classification", 2),
    "xor": (4, 2, "classification", 2),
}
SKLEARN = {
    "iris": (150, 4, "classification", 3),
    "wine": (178, 13, "classification", 3),
    "breast-cancer": (569, 30, "classification", 2),
    "diabetes": (442, 10, "regression", 1),
}
COURSE = {"pima": (759, 8, "classification", 2), "zoo": (101, 16, "classification", 7)}
DOWNLOADS = {"mnist", "fashion-mnist", "cifar10"}


def check(name: str, facts: tuple[int, int, str, int]) -> None:
    rows, columns, task, targets = facts
    dataset = load(name)
    assert (dataset.name, dataset.task) == (name, task)
    assert dataset.X.shape == (rows, columns)
    assert dataset.X.dtype == np.float64
    assert dataset.feature_names is not None
    assert dataset.target_names is not None
    if task == "classification":
        assert len(np.unique(dataset.y)) == targets
    else:
        assert dataset.y.shape == ((rows,) if targets == 1 else (rows, targets))


def test_every_dataset_is_in_a_table_of_this_test() -> None:
    assert set(SPECS) == {"digits", *SMALL, *SKLEARN, *COURSE, *DOWNLOADS}


@pytest.mark.parametrize("name", SPECS)
def test_a_spec_is_valid_and_says_what_it_brings(name: str) -> None:
    assert not list(SPECS[name].problems())
    assert SPECS[name].summary
    assert callable(SPECS[name].load())


@pytest.mark.parametrize("name", SMALL)
def test_the_lectures_tables_need_no_files(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLAGSTONE_DATA", raising=False)
    check(name, SMALL[name])


@pytest.mark.parametrize("name", SKLEARN)
def test_scikit_learns_tables(name: str) -> None:
    datasets = pytest.importorskip("sklearn.datasets", reason="the extra sklearn is not installed")
    check(name, SKLEARN[name])
    bunch = getattr(datasets, f"load_{name.replace('-', '_')}")()
    dataset = load(name)
    np.testing.assert_array_equal(dataset.X, bunch.data)
    if dataset.y.dtype.kind == "U":
        assert dataset.y.tolist() == [bunch.target_names[i] for i in bunch.target]
    else:
        np.testing.assert_array_equal(dataset.y, bunch.target)


def test_scikit_learns_digits_are_images() -> None:
    datasets = pytest.importorskip("sklearn.datasets", reason="the extra sklearn is not installed")
    dataset, bunch = load("digits"), datasets.load_digits()
    assert dataset.X.shape == (1797, 8, 8)
    np.testing.assert_array_equal(dataset.X, bunch.images)
    np.testing.assert_array_equal(dataset.y, bunch.target)


def test_the_lectures_line_is_the_least_squares_line_it_is_said_to_be() -> None:
    dataset = load("line")
    np.testing.assert_allclose(np.polyfit(dataset.X[:, 0], dataset.y, 1), [0.6, 1.2])


def test_the_second_target_is_the_mean_of_the_exams() -> None:
    dataset = load("exam-scores-two-targets")
    np.testing.assert_array_equal(dataset.y[:, 0], [152, 185, 180, 196, 142])
    np.testing.assert_allclose(dataset.y[:, 1], [76, 274 / 3, 90, 98, 209 / 3])


def test_no_line_separates_xor() -> None:
    dataset = load("xor")
    signs = np.where(dataset.y == 1, 1.0, -1.0)
    design = np.c_[dataset.X, np.ones(4)]
    assert not any(
        (signs * (design @ w) > 0).all() for w in np.random.default_rng(0).normal(size=(500, 3))
    )


def test_exam_scores_are_the_courses(data_home: Path) -> None:
    file = load(data_home / "course" / "data-01-test-score.csv", task="regression")
    np.testing.assert_array_equal(load("exam-scores").X, file.X)
    np.testing.assert_array_equal(load("exam-scores").y, file.y)


@pytest.mark.parametrize("name", COURSE)
def test_the_courses_tables(name: str, data_home: Path) -> None:
    check(name, COURSE[name])


def test_the_courses_tables_as_the_file_has_them(data_home: Path) -> None:
    zoo = np.loadtxt(data_home / "course" / "data-04-zoo.csv", delimiter=",", comments="#")
    np.testing.assert_array_equal(load("zoo").X, zoo[:, :-1])
    np.testing.assert_array_equal(load("zoo").y, zoo[:, -1])
    pima = np.loadtxt(data_home / "course" / "data-03-diabetes.csv", delimiter=",")
    np.testing.assert_array_equal(load("pima").X, pima[:, :-1])
    np.testing.assert_array_equal(load("pima").y, pima[:, -1])


@pytest.mark.parametrize(
    ("name", "file"), [("pima", "data-03-diabetes.csv"), ("zoo", "data-04-zoo.csv")]
)
def test_a_missing_course_file_says_where_to_put_it(
    name: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FLAGSTONE_DATA", raising=False)
    with pytest.raises(UnavailableError, match=f"set FLAGSTONE_DATA to .* holds course/{file}"):
        load(name)
    monkeypatch.setenv("FLAGSTONE_DATA", str(tmp_path))
    with pytest.raises(UnavailableError, match=f"{tmp_path}/course/{file} is missing"):
        load(name)
    monkeypatch.setenv("FLAGSTONE_DATA", str(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match=r"FLAGSTONE_DATA=.*none is not a directory"):
        load(name)
    (tmp_path / "course").mkdir()
    (tmp_path / "course" / file).write_text("1,2,0\n3,4,1\n")
    monkeypatch.setenv("FLAGSTONE_DATA", str(tmp_path))
    with pytest.raises(InputError, match=r"expected \d+ feature columns and the target; got 2"):
        load(name)


def test_the_entry_module_is_light() -> None:
    script = (
        "import sys, flagstone.plugins\n"
        "before = set(sys.modules)\n"
        "import flagstone_datasets; list(flagstone_datasets.flagstone_datasets())\n"
        "print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['flagstone_datasets']"
