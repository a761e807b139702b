"""A run that stops, by Ctrl-C, by kill -9 or by a raised number of epochs, goes on exactly."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flagstone.training.files import read_arrays
from flagstone.training.run_directory import RunDirectory

posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
TEXT = "train mlp --data digits --hidden 32 --dropout 0.2 --batch-size 25 --epochs 40 --json"
LINE = TEXT.split()


@pytest.fixture
def stop(command: list[str]) -> Callable[..., tuple[int, str, str]]:
    """Start a command line and send a signal once a line of its progress begins so."""

    def start(arguments: list[str], at: str, number: int) -> tuple[int, str, str]:
        process = subprocess.Popen(
            [*command, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        seen = ""
        for line in process.stderr:
            seen += line
            if line.startswith(at):
                process.send_signal(number)
                break
        out, err = process.communicate(timeout=60)
        return process.returncode, out, seen + err

    return start


@pytest.fixture
def whole(run: Callable[..., Any]) -> dict[str, np.ndarray]:
    """The model of the same run, never stopped."""
    done = run(f"{TEXT} --out whole")
    assert done.code == 0, done.err
    return read_arrays(Path(done.json["run"]) / "model.safetensors")[0]


def _assert_same(path: Path, expected: dict[str, np.ndarray]) -> None:
    found = read_arrays(path / "model.safetensors")[0]
    assert found.keys() == expected.keys()
    for name in expected:
        assert found[name].tobytes() == expected[name].tobytes(), name


@posix
def test_ctrl_c_saves_and_the_printed_command_goes_on_exactly(
    stop: Callable[..., Any], spawn: Callable[..., Any], folder: Path, whole: dict[str, Any]
) -> None:
    code, out, err = stop(LINE, "epoch 4/", signal.SIGINT)
    assert (code, out) == (130, "")
    assert "Traceback" not in err
    *_, told, hint = err.splitlines()
    assert told == "interrupted; what was done is kept. To go on:"
    assert hint == "  flagstone train --resume runs/mlp-0001"
    done = spawn(f"{hint.split(maxsplit=1)[1]} --json")
    assert done.code == 0, done.err
    assert done.json["epochs"] == 40
    _assert_same(folder / "runs" / "mlp-0001", whole)
    assert [row["epoch"] for row in RunDirectory("runs/mlp-0001").history()] == [*range(1, 41)]
    environment = json.loads((folder / "runs" / "mlp-0001" / "environment.json").read_text())
    assert environment["command"][-len(LINE) :] == LINE
    (session,) = environment["sessions"]
    assert session["command"][1:3] == ["train", "--resume"]
    last = done.err.splitlines()[-1]
    assert (found := re.match(r"done in ([\d.]+) s, ([\d.]+) s with the earlier sessions;", last))
    assert float(found[1]) <= float(found[2]) == round(done.json["seconds"], 1)


@posix
def test_sigterm_saves_as_well_and_has_a_code_of_its_own(
    stop: Callable[..., Any], folder: Path
) -> None:
    code, out, err = stop(LINE, "epoch 2/", signal.SIGTERM)
    assert (code, out) == (143, "")
    assert "Traceback" not in err
    told = ["ended; what was done is kept. To go on:", "  flagstone train --resume runs/mlp-0001"]
    assert err.splitlines()[-2:] == told
    checkpoint = RunDirectory("runs/mlp-0001").load_checkpoint()
    assert checkpoint is not None
    assert checkpoint.metadata["epoch"] >= 2


@posix
def test_killed_twice_it_still_goes_on_exactly(
    stop: Callable[..., Any], run: Callable[..., Any], folder: Path, whole: dict[str, Any]
) -> None:
    assert stop(LINE, "epoch 3/", signal.SIGKILL)[0] == -9
    resume = ["train", "--resume", "runs/mlp-0001"]
    code, _, err = stop(resume, "epoch 15/", signal.SIGKILL)
    assert code == -9
    assert "going on after epoch " in err
    assert run(" ".join(resume)).code == 0
    _assert_same(folder / "runs" / "mlp-0001", whole)
    assert not list(folder.rglob("*.tmp"))


@posix
def test_killed_before_the_first_epoch_it_starts_over(
    run: Callable[..., Any], folder: Path, whole: dict[str, Any]
) -> None:
    assert run(TEXT).code == 0
    path = folder / "runs" / "mlp-0001"  # leave what such a run leaves
    for name in ("checkpoints/last", "checkpoints/previous", "model"):
        (path / f"{name}.safetensors").unlink()
    (path / "summary.json").unlink()
    metrics = path / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes().partition(b"\n")[0] + b"\n")
    done = run("train --resume runs/mlp-0001")
    assert "no epoch was finished; starting over" in done.err
    _assert_same(path, whole)


@pytest.mark.parametrize("gone", ["folder", "files", "files of a run that was stopped"])
def test_checkpoints_that_were_deleted(run: Callable[..., Any], folder: Path, gone: str) -> None:
    run("train softmax --data iris --epochs 2")
    path = folder / "runs" / "softmax-0001"
    shutil.rmtree(path / "checkpoints")
    if gone != "folder":
        (path / "checkpoints").mkdir()
    if "stopped" in gone:
        (path / "summary.json").unlink()
        (path / "model.safetensors").unlink()
    before = {file: file.read_bytes() for file in path.iterdir() if file.is_file()}
    done = run("train --resume runs/softmax-0001 --epochs 3")
    assert done.code == 1
    message, _, command = done.error.partition("; train anew: flagstone ")
    assert message == "runs/softmax-0001: its checkpoints are gone, so it cannot go on"
    assert {file: file.read_bytes() for file in path.iterdir() if file.is_file()} == before
    assert run(command).code == 0
    assert (folder / "runs" / "softmax-0002" / "model.safetensors").is_file()


@pytest.mark.parametrize("epochs", ["20", "19.6"])
def test_more_epochs_are_as_if_asked_for_at_once(
    epochs: str, run: Callable[..., Any], folder: Path, whole: dict[str, Any]
) -> None:
    assert run(TEXT.replace("--epochs 40", f"--epochs {epochs}")).code == 0
    done = run("train --resume runs/mlp-0001 --epochs 40")
    assert done.code == 0
    assert f"going on after epoch {int(float(epochs))}\n" in done.err
    _assert_same(folder / "runs" / "mlp-0001", whole)
    assert [row["epoch"] for row in RunDirectory("runs/mlp-0001").history()] == [*range(1, 41)]
    assert RunDirectory("runs/mlp-0001").read_config()["parameters"]["epochs"] == 40


def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    run: Callable[..., Any], folder: Path, whole: dict[str, Any]
) -> None:
    assert run(TEXT.replace("--epochs 40", "--epochs 20")).code == 0
    last = folder / "runs" / "mlp-0001" / "checkpoints" / "last.safetensors"
    last.write_bytes(last.read_bytes()[:-1])
    done = run("train --resume runs/mlp-0001 --epochs 40")
    assert done.code == 0
    assert "warning: " in done.err
    assert "last.safetensors: damaged" in done.err
    _assert_same(folder / "runs" / "mlp-0001", whole)


def test_a_run_that_cannot_be_written_to(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("train softmax --data iris --epochs 2")

    def refused(**_: Any) -> None:  # the superuser, as which CI may run, may write anywhere
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    done = run("train --resume runs/softmax-0001 --epochs 3")
    assert done.code == 2
    assert done.error.endswith("softmax-0001/config.toml: cannot be written: Permission denied")
    assert RunDirectory("runs/softmax-0001").is_complete  # nothing was touched


def test_a_complete_run_says_so(run: Callable[..., Any]) -> None:
    first = run("train softmax --data iris --epochs 2 --json")
    done = run("train --resume runs/softmax-0001 --json")
    assert done.code == 0
    assert done.err == (
        "runs/softmax-0001 is complete (2 epochs); raise --epochs to train it further\n"
    )
    assert done.json == first.json
    assert run("train --resume runs/softmax-0001 --epochs 2").out == ""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--epochs 1", "--epochs 1: the run has 2; they can only be raised"),
        ("--epochs x", "--epochs: expected a whole number; got 'x'"),
        ("--lr 3", "--lr does not go with --resume; only --epochs can be raised"),
        ("--data wine", "--data does not go with --resume"),
        ("--device cpu", "--device does not go with --resume"),
        ("--set lr=3", "--set does not go with --resume"),
        ("mlp", "runs/softmax-0001 is not a run of mlp; leave MODEL out"),
    ],
)
def test_only_epochs_can_be_changed(run: Callable[..., Any], line: str, message: str) -> None:
    run("train softmax --data iris --epochs 2")
    done = run(f"train --resume runs/softmax-0001 {line}")
    assert message in done.error
    assert done.code == 2


def test_naming_the_model_too_is_fine(run: Callable[..., Any]) -> None:
    run("train softmax --data iris --epochs 2")
    assert run("train softmax --resume runs/softmax-0001 --epochs 3").code == 0


def test_the_environment_does_not_change_a_resumed_run(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("train softmax --data iris --epochs 2")
    monkeypatch.setenv("FLAGSTONE_LR", "1e9")
    monkeypatch.setenv("FLAGSTONE_DEVICE", "nonsense")
    assert run("train --resume runs/softmax-0001 --epochs 3").code == 0


def test_changed_data_is_refused(run: Callable[..., Any], iris_csv: Path) -> None:
    run("train softmax --data iris.csv --epochs 2")
    iris_csv.write_text(iris_csv.read_text().replace("5.1,", "5.2,", 1))
    done = run("train --resume runs/softmax-0001 --epochs 4")
    assert "the data 'iris' is not what it was when this run began" in done.error
    assert done.code == 2
    assert RunDirectory("runs/softmax-0001").is_complete  # nothing was touched


def test_a_file_is_found_from_another_folder(
    run: Callable[..., Any], iris_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("train softmax --data iris.csv --epochs 2")
    monkeypatch.chdir(tmp_path)
    assert run("train --resume here/runs/softmax-0001 --epochs 3").code == 0
    assert run("evaluate here/runs/softmax-0001").code == 0


@pytest.mark.parametrize(
    ("path", "message"),
    [("runs/nix", "no such run directory"), (".", "not a run directory; it has no config.toml")],
)
def test_what_is_no_run(run: Callable[..., Any], path: str, message: str) -> None:
    done = run(f"train --resume {path}")
    assert message in done.error
    assert done.code == 2


@posix
def test_a_run_that_another_process_trains_is_left_alone(run: Callable[..., Any]) -> None:
    run("train softmax --data iris --epochs 2")
    with RunDirectory("runs/softmax-0001").locked():
        done = run("train --resume runs/softmax-0001 --epochs 3")
    assert done.error == "runs/softmax-0001: another process is training this run"
    assert done.code == 1
    assert RunDirectory("runs/softmax-0001").is_complete


@posix
def test_interrupted_before_training_nothing_is_kept(
    run: Callable[..., Any], plugin: Callable[[str], Path], folder: Path
) -> None:
    plugin(
        """
        import flagstone as fs

        @fs.hookimpl
        def flagstone_callbacks(run):
            raise KeyboardInterrupt
        """
    )
    done = run("train softmax --data iris --epochs 2")
    assert done.code == 130
    assert done.err == "interrupted before training began; nothing is kept\n"
    assert list(folder.iterdir()) == []


def test_runs_that_there_are_are_named(run: Callable[..., Any], folder: Path) -> None:
    for number in range(1, 12):
        path = folder / "runs" / f"mlp-{number:04d}"
        path.mkdir(parents=True)
        (path / "config.toml").touch()
        error = run("train --resume runs/mlp-0021").error
        assert "..." not in error
        if number <= 8:
            names = ", ".join(f"mlp-{n:04d}" for n in range(1, number + 1))
            assert error.endswith(f"no such run directory; runs holds {names}")
    assert "; of 11 runs in runs the nearest are " in error
    assert "mlp-0001" in error


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("", "runs/softmax-0001/config.toml: 'model' is missing"),
        ('model="softmax"\ndata="iris"\nvalidation=0.1\n[parameters]\n', "'run' is missing"),
        (
            'model="softmax"\ndata="iris"\nvalidation=0.1\n[parameters]\n[run]\ntask=""',
            "its [run] table is incomplete",
        ),
        ("oh no", "runs/softmax-0001/config.toml: not readable as TOML"),
    ],
)
def test_a_run_whose_settings_were_lost_is_told_alike_by_all(
    run: Callable[..., Any], folder: Path, written: str, message: str
) -> None:
    run("train softmax --data iris --epochs 1")
    (folder / "runs" / "softmax-0001" / "config.toml").write_text(written)
    for line in ("train --resume", "evaluate", "profile"):
        done = run(f"{line} runs/softmax-0001")
        assert done.code == 1
        assert message in done.error


def test_a_run_whose_plugin_is_gone_is_told_alike_by_all(
    run: Callable[..., Any], folder: Path
) -> None:
    run("train softmax --data iris --epochs 1")
    path = folder / "runs" / "softmax-0001" / "config.toml"
    path.write_text(path.read_text().replace('"softmax"', '"gone"'))
    for line in ("train --resume", "evaluate", "profile"):
        done = run(f"{line} runs/softmax-0001")
        assert done.code == 3
        assert "a run of the model 'gone', which no plugin provides now" in done.error
