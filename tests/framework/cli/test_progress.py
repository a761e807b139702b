"""Plain lines, and a bar on a terminal."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from flagstone.cli.progress import BarProgress, LineProgress, progress

METRICS = {
    "train": {"loss": 0.123456, "accuracy": 0.98765},
    "validation": {"loss": 0.2, "accuracy": 0.9},
    "seconds": 1.234,
}


def _trainer(epochs: int) -> Any:
    return SimpleNamespace(epochs=epochs, epoch=0, stop=False)


def test_a_line_per_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    LineProgress().on_epoch_end(_trainer(3), 2, METRICS)
    LineProgress().on_epoch_end(_trainer(3), 3, {"train": {"mse": 1e-9}, "seconds": 0.1})
    assert capsys.readouterr().err == (
        "epoch 2/3  loss 0.1235  accuracy 0.9877  validation loss 0.2  accuracy 0.9  1.23 s\n"
        "epoch 3/3  mse 1e-09  0.10 s\n"
    )


@pytest.mark.parametrize(("epochs", "most"), [(100, 100), (101, 22), (5000, 22)])
def test_many_epochs_are_few_lines(
    capsys: pytest.CaptureFixture[str], epochs: int, most: int
) -> None:
    trainer = _trainer(epochs)
    for epoch in range(1, epochs + 1):
        LineProgress().on_epoch_end(trainer, epoch, METRICS)
    lines = capsys.readouterr().err.splitlines()
    assert most // 2 <= len(lines) <= most
    assert lines[0].startswith("epoch 1/")
    assert lines[-1].startswith(f"epoch {epochs}/{epochs} ")


def test_stopping_early_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    trainer = _trainer(1000)
    trainer.stop = True
    LineProgress().on_epoch_end(trainer, 7, METRICS)
    assert capsys.readouterr().err.startswith("epoch 7/1000")


def test_the_bar_fits_a_line_of_80() -> None:
    screen = io.StringIO()
    bar = BarProgress(Console(file=screen, force_terminal=True, width=80, color_system=None))
    trainer = _trainer(100)
    bar.on_train_begin(trainer)
    bar.on_progress(trainer, 5, 10)
    bar.on_epoch_end(trainer, 100, METRICS)
    bar.close()
    bar.close()  # a second time, after a failure, does nothing
    last = screen.getvalue().rpartition("epoch ")[2]
    assert last.startswith("100/100 ")
    assert "loss 0.123  accuracy 0.988  val 0.2  0.9 " in last


def test_the_choice_is_by_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(progress(), LineProgress)
    monkeypatch.setattr(sys, "stderr", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(progress(), BarProgress)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(progress(), LineProgress)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no pty")
def test_on_a_real_terminal(command: list[str], folder: Path) -> None:
    import pty
    import subprocess

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*command, "train", "softmax", "--data", "iris", "--epochs", "3", "--json"],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
        text=True,
    )
    os.close(theirs)
    out, _ = process.communicate(timeout=60)
    screen = b""
    try:
        while chunk := os.read(ours, 4096):
            screen += chunk
    except OSError:  # Linux says so at the end
        pass
    os.close(ours)
    assert process.returncode == 0
    assert out.startswith("{")
    assert b"epoch 3/3" in screen
    assert b"next: flagstone evaluate runs/softmax-0001" in screen


def test_a_failure_gives_the_terminal_back(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []
    monkeypatch.setattr(LineProgress, "close", lambda self: closed.append(self))
    run("train linear --data line --batch-size none --optimizer sgd --lr 1e6 --epochs 500")
    assert len(closed) == 1
