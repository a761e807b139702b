"""Models without targets on the command line: train, evaluate, predict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

Run = Any
ROWS = "a,b,c\n" + "".join(f"{i % 3 * 10 + i % 2},{i % 3},{i / 7}\n" for i in range(30))


@pytest.fixture(autouse=True)
def _table() -> None:
    Path("t.csv").write_text(ROWS)


def test_clusters_of_a_table(run: Run) -> None:
    """All columns are features, where no target is named."""
    trained = run("train kmeans --data t.csv --n-clusters 3 --validation 0.2 --json").json
    assert (trained["model"], trained["parameters"]) == ("kmeans", 9)
    assert set(trained["metrics"]) == {"train", "validation"}
    evaluated = run("evaluate runs/kmeans-0001 --split train --max inertia=1e6 --json").json
    assert evaluated["passed"]
    assert evaluated["metrics"] == pytest.approx(trained["metrics"]["train"])
    assert "of inertia, lower is better" in run("evaluate runs/kmeans-0001 --min inertia=1").error
    predicted = run("predict runs/kmeans-0001 t.csv").out.splitlines()
    assert len(predicted) == 30
    assert set(predicted) == {"0", "1", "2"}
    assert len(set(predicted[::3])) == 1


def test_what_target_names_is_left_out(run: Run) -> None:
    run("train kmeans --data t.csv --target c --n-clusters 3")
    assert run("evaluate runs/kmeans-0001 --json").json["rows"] == 3
    without = run("predict runs/kmeans-0001 -", stdin="a,b\n0,0\n10,1\n")
    assert len(without.out.splitlines()) == 2


def test_components_of_a_table(run: Run) -> None:
    trained = run("train pca --data t.csv --n-components 2 --validation 0 --json").json
    assert set(trained["metrics"]["train"]) == {"mse", "explained_variance_ratio"}
    rows = run("predict runs/pca-0001 t.csv").out.splitlines()
    assert len(rows) == 30
    assert all(len(row.split(",")) == 2 for row in rows)


def test_help_and_advice_are_of_what_there_is(run: Run) -> None:
    """Without targets and epochs, nothing speaks of them."""
    for model in ("kmeans", "pca"):
        text = " ".join(run(f"train {model} --help").out.split())
        assert "--target COLUMN Columns of a file that are no features. [default: none]" in text
        assert "--epochs" not in text
    assert "cluster_centers" not in text
    text = " ".join(run("train mlp --help").out.split())
    assert "--target COLUMN The target column of a file. [default: last]" in text
    assert "--resume RUN [--epochs N]" in text
    run("train pca --data t.csv --n-components 2")
    again = run("train --resume runs/pca-0001")
    assert again.code == 0
    assert "is complete" in again.err
    assert "--epochs" not in again.err
    assert "--epochs" not in run("train --resume runs/pca-0001 --data t.csv").error


def test_labels_of_a_dataset_are_passed_over(run: Run) -> None:
    pytest.importorskip("sklearn", reason="iris comes with scikit-learn")
    assert run("train kmeans --data iris --n-clusters 3").code == 0
    assert "no such option '--epochs'" in run("train pca --data iris --epochs 3").error
