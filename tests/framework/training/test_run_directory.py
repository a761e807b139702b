"""A run's directory survives crashes, damage and other processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from flagstone.errors import ChecksumError, ConfigurationError, InputError, RunError
from flagstone.training import run_directory
from flagstone.training.run_directory import RunDirectory

posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals and locks")


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory.create(tmp_path / "runs", "softmax", {"model": "softmax"})


def _python(code: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _state(epoch: int) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    return {"w": np.full(3, float(epoch))}, {"epoch": epoch}


def test_runs_are_numbered_per_model_after_the_highest(tmp_path: Path) -> None:
    def make(model: str) -> str:
        return RunDirectory.create(tmp_path, model, {}).path.name

    assert [make("mlp"), make("mlp"), make("mlp-regressor")] == [
        "mlp-0001",
        "mlp-0002",
        "mlp-regressor-0001",
    ]
    (tmp_path / "mlp-0041").mkdir()
    (tmp_path / "mlp-9").mkdir()  # not ours: too few digits
    (tmp_path / "mlp-0100.txt").touch()
    assert make("mlp") == "mlp-0042"


def test_a_number_taken_meanwhile_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m-0001").mkdir()
    monkeypatch.setattr(run_directory, "_highest_number", lambda *_: 0)
    assert RunDirectory.create(tmp_path, "m", {}).path.name == "m-0002"


def test_processes_creating_at_once_get_different_directories(tmp_path: Path) -> None:
    code = f"""
        from flagstone.training.run_directory import RunDirectory
        for _ in range(25):
            print(RunDirectory.create({str(tmp_path / "runs")!r}, "m", {{}}).path.name)
    """
    processes = [_python(code) for _ in range(3)]
    names = [name for p in processes for name in p.communicate(timeout=120)[0].split()]
    assert len(names) == 75
    assert sorted(names) == [f"m-{i:04d}" for i in range(1, 76)]


def test_config_comes_back_and_open_finds_the_run(run: RunDirectory) -> None:
    config = {"model": "softmax", "parameters": {"hidden": [256, 256], "lr": 1e-3, "on": True}}
    run.write_config(config)
    assert RunDirectory.open(str(run.path)).read_config() == config


def test_discard_removes_what_create_made_and_no_more(tmp_path: Path) -> None:
    first = RunDirectory.create(tmp_path / "a" / "runs", "m", {})
    first.discard()
    assert list(tmp_path.iterdir()) == []

    first = RunDirectory.create(tmp_path / "a" / "runs", "m", {})
    second = RunDirectory.create(tmp_path / "a" / "runs", "m", {})
    first.discard()
    assert [p.name for p in (tmp_path / "a" / "runs").iterdir()] == ["m-0002"]
    RunDirectory.open(second.path).discard()  # was opened, so it stays
    assert second.path.is_dir()


def test_a_config_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        RunDirectory.create(tmp_path / "runs", "m", {"x": object()})
    assert list(tmp_path.iterdir()) == []


def test_a_parent_that_is_a_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    with pytest.raises(ConfigurationError) as caught:
        RunDirectory.create(tmp_path / "runs", "m", {})
    assert str(caught.value) == (
        f"{tmp_path}/runs: a run directory cannot be made here: File exists; "
        "choose another place with --out"
    )


def test_a_read_only_parent_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, *_: object, **__: object) -> None:  # root may write anywhere
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(ConfigurationError, match=r"cannot be made here: Permission denied; choose"):
        RunDirectory.create(tmp_path / "runs", "m", {})
    assert list(tmp_path.iterdir()) == []


def test_opening_what_is_no_run(run: RunDirectory, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"softmax-0009: no such run directory; .* softmax-0001$"):
        RunDirectory.open(run.path.with_name("softmax-0009"))
    with pytest.raises(InputError, match=r"no such run directory$"):
        RunDirectory.open(tmp_path / "no" / "x")
    with pytest.raises(InputError, match=r"not a run directory; it has no config\.toml"):
        RunDirectory.open(tmp_path)
    (tmp_path / "softmax.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match=r"safetensors: is a file; give a run's directory, such"):
        RunDirectory.open(tmp_path / "softmax.safetensors")


def test_unreadable_config_is_one_clear_line(run: RunDirectory) -> None:
    (run.path / "config.toml").write_text("model = ", encoding="utf-8")
    with pytest.raises(RunError, match=r"config.toml: not readable as TOML"):
        run.read_config()


def test_history_passes_over_a_torn_last_line(run: RunDirectory) -> None:
    assert run.history() == []
    run.append_metrics({"epoch": 1, "train": {"loss": np.float32(0.5)}})
    run.append_metrics({"epoch": 2, "train": {"loss": float("nan")}})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "tra')
    assert run.history() == [
        {"epoch": 1, "train": {"loss": 0.5}},
        {"epoch": 2, "train": {"loss": None}},
    ]


def test_a_torn_line_is_dropped_before_more_is_appended(run: RunDirectory) -> None:
    for epoch in (1, 2, 3):
        run.append_metrics({"epoch": epoch})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"ep')
    run.keep_history(2)
    run.append_metrics({"epoch": 3, "again": True})
    assert run.history() == [{"epoch": 1}, {"epoch": 2}, {"epoch": 3, "again": True}]


def test_a_broken_line_in_the_middle_is_an_error(run: RunDirectory) -> None:
    (run.path / "metrics.jsonl").write_text('{"epoch": 1}\n{"ep\n{"epoch": 3}\n')
    with pytest.raises(RunError, match=r"metrics.jsonl, line 2: not JSON"):
        run.history()


def test_the_newest_whole_checkpoint_is_loaded(run: RunDirectory) -> None:
    assert run.load_checkpoint() is None
    for epoch in (1, 2, 3):
        run.save_checkpoint(*_state(epoch))
    found = run.load_checkpoint()
    assert found is not None
    assert (found.metadata, found.path.name, found.problem) == (
        {"epoch": 3},
        "last.safetensors",
        "",
    )
    np.testing.assert_array_equal(found.arrays["w"], [3.0, 3.0, 3.0])


def test_a_damaged_checkpoint_gives_way_to_the_one_before(run: RunDirectory) -> None:
    run.save_checkpoint(*_state(1))
    run.save_checkpoint(*_state(2))
    last = run.path / "checkpoints" / "last.safetensors"
    content = bytearray(last.read_bytes())
    content[-3] ^= 0x10
    last.write_bytes(content)
    found = run.load_checkpoint()
    assert found is not None
    assert found.metadata == {"epoch": 1}
    assert "last.safetensors: damaged: array 'w'" in found.problem

    (run.path / "checkpoints" / "previous.safetensors").write_bytes(b"")
    with pytest.raises(ChecksumError, match=r"last.*previous.*train anew"):
        run.load_checkpoint()


@posix
@pytest.mark.parametrize(
    ("renames", "expected"),
    [(0, 2), (1, 2), (2, 2), (3, 3)],
    ids=["before-any", "before-last-moves", "between-the-two", "after-both"],
)
def test_killed_while_saving_a_whole_checkpoint_is_left(
    run: RunDirectory, renames: int, expected: int
) -> None:
    for epoch in (1, 2):
        run.save_checkpoint(*_state(epoch))
    code = f"""
        import os, signal
        import numpy as np
        from flagstone.training.run_directory import RunDirectory
        replace, left = os.replace, {renames}
        def kill():
            os.kill(os.getpid(), signal.SIGKILL)
        def counted(a, b):
            global left
            if left == 0:
                kill()
            left -= 1
            replace(a, b)
        os.replace = counted
        run = RunDirectory.open({str(run.path)!r})
        run.save_checkpoint({{"w": np.full(3, 3.0)}}, {{"epoch": 3}})
        kill()
    """
    process = _python(code)
    process.communicate(timeout=60)
    assert process.returncode == -9
    found = run.load_checkpoint()
    assert found is not None
    assert found.metadata == {"epoch": expected}
    run.remove_leftovers()
    run.save_checkpoint(*_state(4))  # and the run goes on
    found = run.load_checkpoint()
    assert found is not None
    assert found.metadata == {"epoch": 4}
    assert not list(run.path.rglob("*.tmp"))


@posix
def test_one_process_at_a_time_trains_a_run(run: RunDirectory) -> None:
    code = f"""
        from flagstone.training.run_directory import RunDirectory
        try:
            with RunDirectory.open({str(run.path)!r}).locked():
                print("free")
        except Exception as error:
            print(error)
    """
    with run.locked():
        held = _python(code).communicate(timeout=60)[0]
    free = _python(code).communicate(timeout=60)[0]
    assert held == f"{run}: another process is training this run\n"
    assert free == "free\n"


def test_complete_means_model_and_summary(run: RunDirectory) -> None:
    assert not run.is_complete
    run.model_file.touch()
    assert not run.is_complete
    run.write_summary({"model": "softmax", "metrics": {"loss": float("inf")}})
    assert run.is_complete
    assert run.read_summary() == {"model": "softmax", "metrics": {"loss": None}}


def test_environment_is_json(run: RunDirectory) -> None:
    run.write_environment({"python": "3.11"})
    text = (run.path / "environment.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"python": "3.11"}


def test_several_epochs_are_appended_at_once(run: RunDirectory) -> None:
    run.append_metrics({"epoch": 1}, {"epoch": 2})
    run.append_metrics()
    assert run.history() == [{"epoch": 1}, {"epoch": 2}]


def test_a_reopened_run_is_not_complete_and_keeps_its_model(run: RunDirectory) -> None:
    run.model_file.touch()
    run.write_summary({"epochs": 2})
    run.reopen({"model": "softmax", "parameters": {"epochs": 4}})
    assert not run.is_complete
    assert run.model_file.exists()
    assert run.read_config()["parameters"] == {"epochs": 4}
    run.reopen({"model": "softmax"})  # once more does no harm


def test_whether_there_is_something_to_resume_from(run: RunDirectory) -> None:
    assert not run.has_checkpoint
    run.save_checkpoint(*_state(1))
    assert run.has_checkpoint
