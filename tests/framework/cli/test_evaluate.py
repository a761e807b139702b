"""Evaluating a run, on its own data as divided then, and on other data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

RUN = "runs/softmax-0001"


@pytest.fixture
def trained(run: Callable[..., Any]) -> Any:
    """A trained run's document."""
    return run("train softmax --data iris --epochs 20 --lr 0.1 --json").json


def test_the_validation_rows_are_those_of_the_run(run: Callable[..., Any], trained: Any) -> None:
    done = run(f"evaluate {RUN} --json")
    assert done.json["split"] == "validation"
    assert done.json["rows"] == 15
    assert done.json["metrics"] == trained["metrics"]["validation"]
    assert {k: done.json[k] for k in ("model", "device", "backend", "run", "data")} == {
        "model": "softmax",
        "device": "cpu",
        "backend": "numpy",
        "run": RUN,
        "data": "iris",
    }


def test_the_measures_are_right(run: Callable[..., Any], trained: Any) -> None:
    from sklearn.metrics import accuracy_score, log_loss

    from flagstone.data import load, split
    from flagstone.estimator import load as load_model

    iris = load("iris")
    rows, _ = split(150, 0.1, seed=0, stratify=iris.y)
    model: Any = load_model(f"{RUN}/model.safetensors")
    metrics = run(f"evaluate {RUN} --split train --json").json["metrics"]
    assert metrics["accuracy"] == accuracy_score(iris.y[rows], model.predict(iris.X[rows]))
    expected = log_loss(iris.y[rows], model.predict_proba(iris.X[rows]))
    np.testing.assert_allclose(metrics["log_loss"], expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["logistic", "softmax"])
def test_the_loss_is_that_of_the_epochs_where_probabilities_are_clipped(name: str) -> None:
    import flagstone as fs

    x = np.array([[-1.0], [1.0]] * 20)
    y = np.array([0, 1] * 20)
    wrong = x * 1e4, 1 - y  # logits of thousands on the wrong side
    model: Any = fs.model(name, epochs=3, validation_fraction=0.0)
    told = model.fit(x, y, validation_data=wrong).history_[-1]["validation"]["loss"]
    found = model.evaluate(*wrong)
    assert told > 1000
    np.testing.assert_allclose(found["loss"], told, rtol=1e-5)
    assert found["log_loss"] == pytest.approx(-np.log(np.finfo(np.float64).eps))


def test_a_minimum_decides_the_exit_code(run: Callable[..., Any], trained: Any) -> None:
    done = run(f"evaluate {RUN} --min accuracy=0.8 --max log-loss=9")
    assert done.code == 0
    assert done.out.splitlines()[1].startswith("accuracy  ")
    done = run(f"evaluate {RUN} --split train --min accuracy=0.999999 --json")
    assert done.code == 1
    assert done.json["minimum"] == {"accuracy": 0.999999}
    assert done.json["passed"] is False
    assert "error: accuracy is 0.9" in done.err
    assert "below the minimum 0.999999" in done.err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--min acc=0.9", "unknown measure in --min 'acc'; known: accuracy, log_loss, loss."),
        ("--min accuracy", "--min: expected MEASURE=X such as accuracy=0.9; got 'accuracy'"),
        ("--data wine.csv --target 9", "target column 9 does not exist"),
        ("--split test", "--split test: the run has no test rows; it has train, validation"),
        ("--data wine.csv --target 4 --split validation", "--split validation: --data has none"),
        ("--data wine.csv --target 4 --split test", "--split test: wine.csv has no test split"),
        ("--data digits", "X: expected examples of shape (4,), as in fit"),
        ("--data wine", "wine: columns 'sepal length (cm)', "),
        (
            "--min accuracy=nan",
            "--min: expected MEASURE=X such as accuracy=0.9; got 'accuracy=nan'",
        ),
        ("--max loss=nan", "--max: expected MEASURE=X such as loss=0.5; got 'loss=nan'"),
        ("--max acc=0.9", "unknown measure in --max 'acc'; known: accuracy, log_loss, loss."),
        ("--min loss=0.1", "--min loss: of loss, lower is better; say --max loss=0.1"),
        ("--min log-loss=0.1", "--min log_loss: of log_loss, lower is better"),
        ("--min mae=0.1", "--min mae: of mae, lower is better"),
        ("--data -", "--data -: standard input is not supported here"),
        ("--data nix.csv", "nix.csv: no such file or directory"),
        ("--data line", "for regression"),
        ("--target 0", "--target is for --data."),
        ("--split all", "'all' is not one of"),
        ("--device tpu", "unknown device 'tpu'"),
    ],
)
def test_what_cannot_be_evaluated(
    run: Callable[..., Any], trained: Any, folder: Path, line: str, message: str
) -> None:
    (folder / "wine.csv").write_text("5.1,3.5,1.4,0.2,setosa\n")
    done = run(f"evaluate {RUN} {line}")
    assert done.code == 2
    assert message in done.err.splitlines()[-1]
    assert "Traceback" not in done.err
    assert done.out == ""


def test_the_runs_own_data_named_again_is_divided_again(
    run: Callable[..., Any], trained: Any
) -> None:
    assert run(f"evaluate {RUN} --data iris --json").out == run(f"evaluate {RUN} --json").out
    assert run(f"evaluate {RUN} --data iris --split train --json").json["rows"] == 135


def test_other_data_is_evaluated_whole_by_its_columns_names(
    run: Callable[..., Any], iris_csv: Path
) -> None:
    from flagstone.data import load
    from flagstone.estimator import load as load_model

    run("train softmax --data iris.csv --epochs 20 --lr 0.1")
    lines = [line.split(",") for line in iris_csv.read_text().splitlines()]
    iris_csv.with_name("other.csv").write_text(
        "\n".join(",".join(["1" if i else "id", *line[::-1]]) for i, line in enumerate(lines))
    )
    done = run(f"evaluate {RUN} --data other.csv --json").json
    assert (done["split"], done["rows"]) == ("all", 150)
    model: Any = load_model(f"{RUN}/model.safetensors")
    iris = load("iris.csv")
    assert done["metrics"]["accuracy"] == np.mean(model.predict(iris.X) == iris.y)


def test_labels_that_training_did_not_have(
    run: Callable[..., Any], trained: Any, iris_csv: Path
) -> None:
    done = run(f"evaluate {RUN} --data iris.csv --target species")
    assert done.code == 2
    assert "error: y: expected the classes of the training data" in done.err


def test_one_class_is_enough_to_evaluate(
    run: Callable[..., Any], trained: Any, folder: Path
) -> None:
    (folder / "one.csv").write_text("5.1,3.5,1.4,0.2,setosa\n4.9,3.0,1.4,0.2,setosa\n")
    done = run(f"evaluate {RUN} --data one.csv --target 4 --json")
    assert done.json["metrics"]["accuracy"] == 1


def test_changed_data_is_not_divided_again(run: Callable[..., Any], iris_csv: Path) -> None:
    run("train softmax --data iris.csv --epochs 2")
    with iris_csv.open("a") as file:
        file.write("5.1,3.5,1.4,0.2,kind setosa\n")
    done = run(f"evaluate {RUN}")
    assert done.code == 2
    assert "is not what it was when this run began; name it with --data" in done.error
    assert run(f"evaluate {RUN} --data iris.csv --json").json["rows"] == 151


def test_the_test_split_comes_first(run: Callable[..., Any], folder: Path) -> None:
    X, y = np.arange(80.0).reshape(40, 2), np.arange(40) // 20
    np.savez(folder / "d.npz", X=X, y=y, X_test=X[::4], y_test=y[::4])
    trained = run("train softmax --data d.npz --epochs 2 --json").json
    done = run(f"evaluate {RUN} --json").json
    assert (done["split"], done["rows"]) == ("test", 10)
    assert done["metrics"] == trained["metrics"]["test"]
    assert run(f"evaluate {RUN} --data d.npz --json").json["split"] == "test"


def test_what_is_no_finished_run(run: Callable[..., Any], trained: Any, folder: Path) -> None:
    assert "no such run directory; runs holds softmax-0001" in run("evaluate runs/nix").error
    (folder / RUN / "model.safetensors").unlink()
    done = run(f"evaluate {RUN}")
    assert f"no trained model yet; finish it with `flagstone train --resume {RUN}`" in done.error
    assert done.code == 1


def test_a_damaged_model_is_noticed(run: Callable[..., Any], trained: Any, folder: Path) -> None:
    path = folder / RUN / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    done = run(f"evaluate {RUN}")
    assert "does not match its checksum" in done.error
    assert done.code == 1


def test_a_regression(run: Callable[..., Any]) -> None:
    run("train linear --data exam-scores --epochs 20 --validation 0 --json")
    done = run("evaluate runs/linear-0001 --json")
    assert done.json["split"] == "train"
    assert {"loss", "mse", "mae", "r2"} <= done.json["metrics"].keys()


def test_a_maximum_decides_the_exit_code(run: Callable[..., Any], trained: Any) -> None:
    loss = run(f"evaluate {RUN} --json").json["metrics"]["loss"]
    done = run(f"evaluate {RUN} --max loss={loss} --min accuracy=0.5 --json")
    assert (done.code, done.json["passed"]) == (0, True)
    assert (done.json["maximum"], done.json["minimum"]) == ({"loss": loss}, {"accuracy": 0.5})
    done = run(f"evaluate {RUN} --max loss={loss / 2} --json")
    assert (done.code, done.json["passed"]) == (1, False)
    assert f"error: loss is {loss:.6g}, above the maximum {loss / 2:g}" in done.err.splitlines()


def test_columns_that_other_data_lacks_are_all_named(
    run: Callable[..., Any], iris_csv: Path, folder: Path
) -> None:
    run("train softmax --data iris.csv --epochs 1")
    (folder / "p.csv").write_text("sepal length (cm),z,species\n1,2,kind 0\n")
    done = run(f"evaluate {RUN} --data p.csv")
    assert done.err.splitlines()[-1] == (
        "error: p.csv: columns 'sepal width (cm)', 'petal length (cm)', 'petal width (cm)' are "
        "missing; the file has sepal length (cm), z"
    )
    (folder / "q.csv").write_text("a,kind\n1,x\n")
    done = run(f"evaluate {RUN} --data q.csv")
    assert done.error == (
        "q.csv: column 'species', the target that the run was trained on, is missing; --target "
        "names another. The file has a, kind"
    )
    assert done.code == 2
