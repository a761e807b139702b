"""The command on runs that were really trained, as the command line runs it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from flagstone.testing import run_command


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory with two runs that differ in their learning rate."""
    before, where = Path.cwd(), tmp_path_factory.mktemp("compare")
    os.chdir(where)
    for lr in ("0.1", "0.001"):
        done = run_command(
            "train", "mlp", "--data", "xor", "--validation", "0", "--epochs", "3",
            "--device", "cpu", "--lr", lr,
        )  # fmt: skip
        assert done.exit_code == 0, done.stderr
    yield where
    os.chdir(before)


def test_it_shows_what_differs() -> None:
    done = run_command("compare", "runs/mlp-0001", "runs/mlp-0002")
    assert done.exit_code == 0, done.stderr
    lines = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert lines["runs/mlp-0001"] == ["runs/mlp-0002"]
    assert lines["lr"] == ["0.1", "0.001"]
    assert "epochs" not in lines
    assert "train" in lines


def test_everything_and_json(folder: Path) -> None:
    document = run_command("compare", "runs/mlp-0001", "runs/mlp-0002", "--all", "--json").json
    assert document["runs/mlp-0001"]["lr"] == "0.1"
    assert document["runs/mlp-0002"]["epochs"] == "3"
    summary = json.loads((folder / "runs" / "mlp-0001" / "summary.json").read_text())
    told = float(document["runs/mlp-0001"]["train loss"])
    assert told == pytest.approx(summary["metrics"]["train"]["loss"], rel=1e-3)


def test_what_is_no_run_is_refused() -> None:
    done = run_command("compare", "runs")
    assert done.exit_code == 2
    assert done.stderr.startswith("error: runs: not a run directory: ")
