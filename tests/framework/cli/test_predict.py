"""One prediction per row, from a file or standard input, columns by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

RUN = "runs/softmax-0001"


@pytest.fixture
def rows(run: Callable[..., Any], iris_csv: Path) -> str:
    """Text of seven rows with a header; a run is trained on the file that they are from."""
    done = run("train softmax --data iris.csv --epochs 20 --lr 0.1 --validation 0")
    assert done.code == 0, done.err
    header, *lines = iris_csv.read_text().splitlines()
    return "\n".join(line.rpartition(",")[0] for line in (header, *lines[::24])) + "\n"


@pytest.fixture
def expected(rows: str) -> list[str]:
    """What the model itself says of those rows."""
    from flagstone.estimator import load

    X = np.array([list(map(float, line.split(","))) for line in rows.splitlines()[1:]])
    model: Any = load(f"{RUN}/model.safetensors")
    labels: list[str] = model.predict(X).tolist()
    assert len(set(labels)) == 3
    return labels


def test_one_line_per_row(
    run: Callable[..., Any], rows: str, expected: list[str], folder: Path
) -> None:
    (folder / "rows.csv").write_text(rows)
    done = run(f"predict {RUN} rows.csv")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == expected


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_standard_input(
    run: Callable[..., Any], rows: str, expected: list[str], newline: str
) -> None:
    done = run(f"predict {RUN} -", stdin=rows.replace("\n", newline))
    assert done.out.splitlines() == expected


def test_a_pipe_between_processes(
    spawn: Callable[..., Any], rows: str, expected: list[str]
) -> None:
    done = spawn(f"predict {RUN} -", stdin=rows)
    assert done.out.splitlines() == expected
    assert done.code == 0


def test_columns_are_found_by_name(run: Callable[..., Any], rows: str, expected: list[str]) -> None:
    lines = [line.split(",")[::-1] for line in rows.splitlines()]
    text = "\n".join(",".join([f"x{i}", *line]) for i, line in enumerate(lines))
    assert run(f"predict {RUN} -", stdin=text).out.splitlines() == expected


def test_the_target_may_be_there_still(
    run: Callable[..., Any], rows: str, expected: list[str], iris_csv: Path
) -> None:
    lines = iris_csv.read_text().splitlines()
    with_target = "\n".join([lines[0], *lines[1::24]])
    assert run(f"predict {RUN} -", stdin=with_target).out.splitlines() == expected
    bare = with_target.partition("\n")[2]  # no header either: the last column is passed over
    done = run(f"predict {RUN} -", stdin=bare)
    assert done.out.splitlines() == expected
    assert done.err == (
        "note: standard input: column 4 was ignored as the target (counted from 0; the file has "
        "no header)\n"
    )


def test_probabilities(run: Callable[..., Any], rows: str, expected: list[str]) -> None:
    header, *lines = run(f"predict {RUN} - --proba", stdin=rows).out.splitlines()
    classes = header.split(",")
    assert classes == ["kind setosa", "kind versicolor", "kind virginica"]
    values = np.array([list(map(float, line.split(","))) for line in lines])
    np.testing.assert_allclose(values.sum(axis=1), 1)
    assert [classes[i] for i in values.argmax(axis=1)] == expected


def test_a_file_to_write_to(
    run: Callable[..., Any], rows: str, expected: list[str], folder: Path
) -> None:
    done = run(f"predict {RUN} - -o out.csv", stdin=rows)
    assert done.out == ""
    assert done.err.endswith(": 7 predictions in out.csv\n")
    assert (folder / "out.csv").read_text().splitlines() == expected
    for place, why in (
        ("no/out.csv", "No such file"),
        ("out.csv/x", "Not a dir"),
        (".", "is a dir"),
    ):
        done = run(f"predict {RUN} no-such-rows.csv -o {place}")  # before anything is read
        assert done.code == 2
        assert done.error.startswith(f"--output {place}: ")
        assert why in done.error


def test_json(run: Callable[..., Any], rows: str, expected: list[str]) -> None:
    done = run(f"predict {RUN} - --json", stdin=rows)
    assert done.json["predictions"] == expected
    assert (done.json["model"], done.json["run"]) == ("softmax", RUN)
    document = json.loads(run(f"predict {RUN} - --json --proba", stdin=rows).out)
    assert document["classes"] == ["kind setosa", "kind versicolor", "kind virginica"]
    assert np.shape(document["probabilities"]) == (7, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "standard input: the file is empty"),
        ("a,b,c,d\n1,2,3,4\n", "standard input: columns 'sepal length (cm)', 'sepal width (cm)', "),
        ("1,2,3\n", "the model takes 4 feature columns; the file has 3"),
        ("1,2,3,4,5,6\n", "the model takes 4 feature columns; the file has 6"),
        ("1,2,3,x\n", "a feature must be a number"),
        ("1,2,3,nan\n", "a feature must be finite"),
    ],
)
def test_rows_that_cannot_be_used(
    run: Callable[..., Any], rows: str, text: str, message: str
) -> None:
    done = run(f"predict {RUN} -", stdin=text)
    assert message in done.error
    assert (done.code, done.out) == (2, "")


def test_missing_things(run: Callable[..., Any], rows: str) -> None:
    assert run(f"predict {RUN} nix.csv").error == "nix.csv: no such file or folder"
    assert "no such run directory" in run("predict runs/nix -").error
    assert "missing argument 'INPUT'" in run(f"predict {RUN}").error


def test_several_targets_are_columns(run: Callable[..., Any], folder: Path) -> None:
    run("train linear --data exam-scores-two-targets --solver exact")
    (folder / "x.csv").write_text("73,80,75\n93,88,93\n")
    done = run("predict runs/linear-0001 x.csv")
    values = [list(map(float, line.split(","))) for line in done.out.splitlines()]
    assert np.shape(values) == (2, 2)
    assert "gives no probabilities" in run("predict runs/linear-0001 x.csv --proba").error


def test_images_come_as_flat_rows_or_as_they_are(run: Callable[..., Any], folder: Path) -> None:
    rng = np.random.default_rng(0)
    images, y = rng.integers(0, 255, (40, 8, 8)).astype(np.uint8), np.arange(40) % 2
    np.savez(folder / "d.npz", X=images, y=y)
    assert run("train softmax --data d.npz --epochs 2").code == 0
    np.savez(folder / "x.npz", X=images[:3])
    np.savetxt(folder / "x.csv", images[:3].reshape(3, 64), delimiter=",")
    by_shape = run(f"predict {RUN} x.npz --proba").out
    assert by_shape == run(f"predict {RUN} x.csv --proba").out
    assert len(by_shape.splitlines()) == 4
