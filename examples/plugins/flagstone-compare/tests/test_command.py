"""The command on runs that were really trained, as the command line runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


def flagstone(where: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flagstone", *arguments]
    return subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs that differ in their learning rate."""
    where = tmp_path_factory.mktemp("compare")
    for lr in ("0.1", "0.001"):
        done = flagstone(
            where, "train", "mlp", "--data", "xor", "--validation", "0", "--epochs", "3",
            "--device", "cpu", "--lr", lr,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    return where


def test_it_shows_what_differs(folder: Path) -> None:
    done = flagstone(folder, "compare", "runs/mlp-0001", "runs/mlp-0002")
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert lines["runs/mlp-0001"] == ["runs/mlp-0002"]
    assert lines["lr"] == ["0.1", "0.001"]
    assert "epochs" not in lines
    assert "train" in lines


def test_everything_and_json(folder: Path) -> None:
    done = flagstone(folder, "compare", "runs/mlp-0001", "runs/mlp-0002", "--all", "--json")
    document = json.loads(done.stdout)
    assert document["runs/mlp-0001"]["lr"] == "0.1"
    assert document["runs/mlp-0002"]["epochs"] == "3"
    summary = json.loads((folder / "runs" / "mlp-0001" / "summary.json").read_text())
    told = float(document["runs/mlp-0001"]["train loss"])
    assert told == pytest.approx(summary["metrics"]["train"]["loss"], rel=1e-3)


def test_what_is_no_run_is_refused(folder: Path) -> None:
    done = flagstone(folder, "compare", "runs")
    assert done.returncode == 2
    assert done.stderr.startswith("error: runs: not a run directory: ")
