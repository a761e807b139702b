"""Training from one command: what it prints, what it leaves, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

QUICK = "train softmax --data iris --epochs 3"


def test_the_first_command_reaches_its_accuracy(spawn: Callable[..., Any]) -> None:
    done = spawn("train softmax --data digits --json")
    assert done.code == 0, done.err
    assert done.json["metrics"]["validation"]["accuracy"] >= 0.95
    assert done.json["seconds"] < 10


def test_the_document(run: Callable[..., Any], folder: Path) -> None:
    done = run(f"{QUICK} --seed 5 --json")
    document = done.json
    assert list(document) == [
        "model", "data", "device", "backend", "precision", "seed", "epochs", "seconds",
        "parameters", "metrics", "run",
    ]  # fmt: skip
    assert {k: document[k] for k in ("model", "data", "device", "backend", "seed", "epochs")} == {
        "model": "softmax",
        "data": "iris",
        "device": "cpu",
        "backend": "numpy",
        "seed": 5,
        "epochs": 3,
    }
    assert document["parameters"] == 4 * 3 + 3
    assert document["run"] == os.path.join("runs", "softmax-0001")
    assert list(document["metrics"]) == ["train", "validation"]
    for metrics in document["metrics"].values():
        assert {"loss", "accuracy"} <= metrics.keys()
    summary = json.loads((folder / document["run"] / "summary.json").read_text())
    assert summary == document


def test_what_people_see(run: Callable[..., Any]) -> None:
    done = run(QUICK)
    first, *epochs, last = done.err.splitlines()
    assert first.startswith("softmax on cpu (numpy ")
    assert first.endswith("), iris: 135 train / 15 validation, 15 parameters, runs/softmax-0001")
    assert [line.split("  ")[0] for line in epochs] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert all("loss" in line and "validation loss" in line for line in epochs)
    assert last.endswith("next: flagstone evaluate runs/softmax-0001")
    train, validation = done.out.splitlines()
    assert train.startswith("train       loss ")
    assert validation.startswith("validation  loss ")


def test_what_a_run_holds(run: Callable[..., Any], folder: Path) -> None:
    path = folder / run(f"{QUICK} --lr 0.5 --json").json["run"]
    assert sorted(entry.name for entry in path.iterdir()) == [
        "checkpoints",
        "config.toml",
        "environment.json",
        "metrics.jsonl",
        "model.safetensors",
        "summary.json",
    ]
    config = tomllib.loads((path / "config.toml").read_text())
    assert (config["model"], config["data"], config["validation"]) == ("softmax", "iris", 0.1)
    assert (config["parameters"]["lr"], config["parameters"]["device"]) == (0.5, "cpu")
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    environment = json.loads((path / "environment.json").read_text())
    assert {"python", "numpy", "flagstone", "backend", "platform"} <= environment.keys()


def test_a_runs_config_does_the_same_again(run: Callable[..., Any]) -> None:
    first = run(f"{QUICK} --lr 0.03 --seed 4 --validation 0.2 --json").json
    again = run("train --config runs/softmax-0001/config.toml --json").json
    assert again["run"] == "runs/softmax-0002"
    assert again["metrics"] == first["metrics"]


def test_a_dry_run_makes_nothing(run: Callable[..., Any], folder: Path) -> None:
    done = run(f"{QUICK} --dry-run --json")
    assert done.code == 0
    assert done.json["rows"] == {"train": 135, "validation": 15}
    assert "a dry run, nothing was made" in done.err
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "line",
    [
        "cnn --data digits --augment crop(padding=9)",
        "cnn --data digits --augment flop",
        "cnn --data iris",
        "cnn --data iris --image-shape 3,3",
        "kmeans --data iris --n-clusters 99999",
        "pca --data iris --n-components 99",
        "mlp --data iris --hidden 0",
        "mlp --data iris --dropout 1",
        "mlp --data iris --lr none",
        "mlp --data iris --optimizer adam(foo=1)",
        "mlp --data iris --optimizer lbfgs",
        "mlp --data iris --schedule foo",
        "ensemble --data iris --member mlp(hidden=(0,))",
        "speedrun --data digits --depth 3",
    ],
)
def test_a_dry_run_refuses_what_training_refuses(
    run: Callable[..., Any], folder: Path, line: str
) -> None:
    words = line.split(" ")
    dry = run("train --dry-run --validation 0.2", *words)
    trained = run("train --validation 0.2", *words)
    assert (dry.code, trained.code) == (2, 2)
    assert dry.error == trained.error
    assert list(folder.rglob("*.toml")) == []


@pytest.mark.parametrize("place", ["file", "file/runs", "file/new/runs"])
def test_a_dry_run_refuses_a_place_where_no_run_can_be(
    run: Callable[..., Any], folder: Path, place: str
) -> None:
    (folder / "file").touch()
    dry = run(f"train softmax --data iris --dry-run --out {place}")
    trained = run(f"train softmax --data iris --out {place}")
    assert (dry.code, trained.code) == (2, 2)
    told = f"{place}: a run directory cannot be made here: "
    assert dry.error.startswith(told)
    assert trained.error.startswith(told)


@pytest.mark.parametrize(
    "line",
    [
        "linear --data diabetes", "logistic --data breast-cancer", "softmax --data iris",
        "mlp --data iris --optimizer lbfgs --batch-size none", "kmeans --data iris",
        "pca --data iris", "cnn --data digits", "speedrun --data digits --epochs 9.9",
        "ensemble --data iris --member mlp",
    ],
)  # fmt: skip
def test_a_dry_run_of_what_can_be_trained(run: Callable[..., Any], folder: Path, line: str) -> None:
    done = run("train --dry-run", *line.split(" "))
    assert (done.code, "a dry run, nothing was made" in done.err) == (0, True)
    assert "epoch" not in done.err
    assert list(folder.iterdir()) == []


def test_the_test_split_is_evaluated_at_the_end(run: Callable[..., Any], folder: Path) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 2)), np.arange(60) % 2
    X[:, 0] += 4 * y
    np.savez(folder / "d.npz", X=X, y=y, X_test=X[:10], y_test=y[:10])
    done = run("train softmax --data d.npz --epochs 2 --json")
    assert list(done.json["metrics"]) == ["train", "validation", "test"]
    assert "d: 54 train / 6 validation / 10 test" in done.err
    assert done.json["data"] == "d.npz"


def test_few_rows_are_not_divided_unless_asked(run: Callable[..., Any]) -> None:
    assert "xor: 4 train, " in run("train mlp --data xor --epochs 2").err
    assert "iris: 150 train, " in run(f"{QUICK} --validation 0").err
    done = run("train linear --data line --validation 0.2 --epochs 1 --json")
    assert list(done.json["metrics"]) == ["train", "validation"]


def test_exact_linear_regression_gives_the_lectures_line(
    run: Callable[..., Any], folder: Path
) -> None:
    from flagstone.estimator import load

    done = run("train linear --data line --solver exact --json")
    model: Any = load(folder / done.json["run"] / "model.safetensors")
    np.testing.assert_allclose([*model.coef_, model.intercept_], [0.6, 1.2], atol=1e-6)


def test_text_labels_and_a_named_target(run: Callable[..., Any], iris_csv: Path) -> None:
    lines = iris_csv.read_text().splitlines()
    moved = [",".join([line.split(",")[-1], *line.split(",")[:-1]]) for line in lines]
    iris_csv.write_text("\n".join(moved))
    done = run("train softmax --data iris.csv --target species --epochs 20 --lr 0.1 --json")
    assert done.code == 0, done.err
    assert done.json["metrics"]["train"]["accuracy"] > 0.9


GOOD = "a,b,label\n" + "".join(f"{i}.5,{i % 7},{'xy'[i % 2]}\n" for i in range(30))
BAD_FILES = {
    "empty": ("", "the file is empty"),
    "header only": ("a,b,label\n", "no row below it"),
    "missing column": (GOOD + "1,2\n", "line 32: expected 3 cells"),
    "text for a number": (GOOD + "1,red,x\n", "line 32, column 'b': a feature must be a number"),
    "nan": (GOOD + "nan,2,x\n", "line 32, column 'a': a feature must be finite; got nan"),
    "empty cell": (GOOD + ",2,x\n", "line 32, column 'a': the cell is empty"),
    "one class": ("a,label\n" + "1,x\n" * 30, "needs at least 2 classes"),
    "one column": ("a\n1\n2\n", "no feature column is left"),
    "not text": (b"\xff\xfe\x00a,b\n", "not UTF-8"),
    "numbers for labels": ("a,y\n" + "1,0.5\n2,1.5\n" * 15, "is not a whole number"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_one_clear_line_and_leaves_nothing(
    run: Callable[..., Any], folder: Path, kind: str
) -> None:
    content, message = BAD_FILES[kind]
    path = folder / "d.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    done = run("train softmax --data d.csv --epochs 1")
    assert message in done.error
    assert "d" in done.error
    assert (done.code, done.out) == (2, "")
    assert [entry.name for entry in folder.iterdir()] == ["d.csv"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train softmax --data d.csv --target colour", "unknown target column of d.csv 'colour'"),
        ("train softmax --data d.csv --target 7", "target column 7 does not exist"),
        ("train softmax --data nix.csv", "nix.csv: no such file or directory"),
        ("train logistic --data iris", "binary"),
        ("train cnn --data iris", "expected images"),
        ("train linear --data d.csv", "a regression target must be a number"),
        ("train softmax --data d.csv --batch-size 0", "--batch-size: expected a positive integer"),
        ("train mlp --data d.csv --hidden 8,0", "--hidden: expected positive integers; got (8, 0)"),
        ("train mlp --data d.csv --schedule multi-step", "cannot be made without milestones"),
        ("train mlp --data d.csv --activation batch-norm", "cannot be made without num_features"),
        ("train mlp --data d.csv --dropout 1", "--dropout: expected a probability in [0, 1)"),
        (
            "train mlp --data d.csv --validation-fraction 2",
            "--validation-fraction: expected a frac",
        ),
        ("train softmax --data d.csv --validation 0.999", "leaves none for training"),
        ("train softmax --data d.csv --out d.csv/runs", "a run directory cannot be made here"),
    ],
)
def test_what_cannot_be_trained_leaves_nothing(
    run: Callable[..., Any], folder: Path, line: str, message: str
) -> None:
    (folder / "d.csv").write_text(GOOD)
    done = run(line)
    assert message in done.error
    assert (done.code, done.out) == (2, "")
    assert [entry.name for entry in folder.iterdir()] == ["d.csv"]


def test_a_class_that_only_the_test_split_has_is_refused(
    run: Callable[..., Any], folder: Path
) -> None:
    X = np.arange(80.0).reshape(40, 2)
    np.savez(folder / "d.npz", X=X, y=np.arange(40) % 2, X_test=X[:3], y_test=np.array([0, 1, 2]))
    done = run("train softmax --data d.npz --epochs 1")
    assert "the test split has classes that the training rows do not have: 2" in done.error
    assert (done.code, list(folder.glob("runs*"))) == (2, [])


def test_every_class_stays_in_training(run: Callable[..., Any], folder: Path) -> None:
    rows = "".join(f"{i}.5,{i % 7},c{min(i, 3)}\n" for i in range(40))  # c0, c1, c2 once each
    (folder / "d.csv").write_text("a,b,label\n" + rows)
    done = run("train softmax --data d.csv --epochs 1 --validation 0.3 --json")
    assert done.code == 0, done.err


def test_cuda_without_a_backend_says_what_to_install(run: Callable[..., Any], folder: Path) -> None:
    from flagstone.plugins import registry

    specs = [spec for spec in registry.specs("backend") if "cuda" in spec.devices]
    if any(spec.run_probe().ok for spec in specs):
        pytest.skip("a CUDA backend works here")
    done = run(f"{QUICK} --device cuda")
    assert "install flagstone[cuda13x]" in done.error
    assert done.code == 3
    assert list(folder.iterdir()) == []


def test_divergence_is_a_failed_run_that_is_kept(run: Callable[..., Any], folder: Path) -> None:
    line = "train linear --data line --batch-size none --optimizer sgd --lr 1e6 --epochs 500"
    done = run(line)
    assert done.code == 1
    *before, last = done.err.splitlines()
    assert last.startswith("error: the loss is ")
    assert "training diverged. Lower --lr (now " in last
    assert "limit gradients with --optimizer 'adam(clip_norm=1.0)'" in last
    assert re.search(r"runs/linear-0001 keeps the state after epoch \d+; ", last)
    again = "flagstone train --config runs/linear-0001/config.toml --lr X"
    assert last.endswith(again)
    assert all(line.startswith(("linear on ", "epoch ")) for line in before)
    assert run(again.removeprefix("flagstone ").replace("X", "0.001")).code == 0
    assert (folder / "runs" / "linear-0001" / "metrics.jsonl").is_file()
    assert done.out == ""


PLUGIN = """
    from dataclasses import dataclass
    import flagstone as fs
    from flagstone import nn

    @dataclass(kw_only=True, eq=False, repr=False)
    class Broken(fs.Classifier):
        '''Breaks.'''
        when: str = "build"
        def build(self, inputs, outputs):
            if self.when == "build":
                raise KeyError("what the author forgot")
            return nn.Linear(inputs.size, outputs.size)
        def predict_proba(self, X):
            raise ZeroDivisionError

    @fs.hookimpl
    def flagstone_models():
        yield fs.ModelSpec("broken", "test_plugin:Broken", task="classification")
"""


def test_a_model_that_breaks_is_one_line_with_a_hint(
    run: Callable[..., Any], plugin: Callable[[str], Path], folder: Path
) -> None:
    plugin(PLUGIN)
    done = run("train broken --data iris")
    assert done.code == 1
    assert done.error == (
        "unexpected KeyError while training model 'broken' of plugin 'test-plugin' (registered in "
        "this process, test_plugin): 'what the author forgot'; set FLAGSTONE_DEBUG=1 to see where "
        "it comes from"
    )
    assert list(folder.iterdir()) == []
    done = run("train broken --data iris --when later --epochs 1")
    assert done.code == 1
    assert done.err.splitlines()[-2:] == [
        "runs/broken-0001 keeps what was done until then",
        "error: unexpected ZeroDivisionError: no message; set FLAGSTONE_DEBUG=1 to see where it "
        "comes from",
    ]


def test_the_measures_of_a_run_that_went_back_are_of_the_model_that_is_kept(
    run: Callable[..., Any],
) -> None:
    line = "train mlp --data iris --lr 0.5 --epochs 40 --patience 2 --validation 0.3 --json"
    trained = run(line).json
    assert trained["epochs"] < 40
    for split, metrics in trained["metrics"].items():
        assert run(f"evaluate runs/mlp-0001 --split {split} --json").json["metrics"] == metrics


def test_debugging_shows_the_traceback_before_the_line(
    run: Callable[..., Any], plugin: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin(PLUGIN)
    monkeypatch.setenv("FLAGSTONE_DEBUG", "1")
    done = run("train broken --data iris")
    assert done.code == 1
    assert done.err.startswith("Traceback")
    assert 'raise KeyError("what the author forgot")' in done.err
    assert done.err.splitlines()[-1].startswith("error: unexpected KeyError")
    monkeypatch.setenv("FLAGSTONE_DEBUG", "0")
    assert "Traceback" not in run("train nix --data iris").err


def test_callbacks_of_plugins_see_the_run(
    run: Callable[..., Any], plugin: Callable[[str], Path], folder: Path
) -> None:
    plugin(
        """
        import flagstone as fs

        class Stop(fs.Callback):
            def __init__(self, run):
                self.run = run
            def on_epoch_end(self, trainer, epoch, metrics):
                trainer.stop = epoch == 2
            def on_train_end(self, trainer):
                (self.run.path / "seen").write_text(str(trainer.epoch))

        @fs.hookimpl
        def flagstone_callbacks(run):
            yield fs.CallbackSpec("stop", "test_plugin:Stop")
        """
    )
    done = run("train softmax --data iris --epochs 9 --json")
    assert done.json["epochs"] == 2
    assert (folder / done.json["run"] / "seen").read_text() == "2"
