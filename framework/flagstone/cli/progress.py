"""Showing how a run goes: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from flagstone.cli.output import measures, say
from flagstone.training.callbacks import Callback, Metrics

MOST_LINES = 100  # about; a run of 5000 epochs tells of every 50th


def progress() -> Callback:
    """What suits standard error here."""
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return BarProgress()
    return LineProgress()


def summary(metrics: Mapping[str, Any]) -> str:
    """Such as ``loss 0.1034  accuracy 0.9821  validation loss 0.15  accuracy 0.96``."""
    held_out = metrics.get("validation")
    return measures(metrics["train"]) + (f"  validation {measures(held_out)}" if held_out else "")


class LineProgress(Callback):
    """One line per epoch, or per so many that there are about a hundred."""

    def on_epoch_end(self, trainer: Any, epoch: int, metrics: Metrics) -> None:
        every = -(-trainer.epochs // MOST_LINES)
        if epoch % every == 0 or epoch in (1, trainer.epochs) or trainer.stop:
            say(f"epoch {epoch}/{trainer.epochs}  {summary(metrics)}  {metrics['seconds']:.2f} s")


class BarProgress(Callback):
    """A bar over all epochs, moving within each, with the last epoch's measures."""

    def __init__(self, console: Any = None) -> None:
        self._console = console
        self._bar: Any = None
        self._task: Any = None

    def on_train_begin(self, trainer: Any) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.total:.0f}"),
            BarColumn(bar_width=24),
            TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False),
            console=self._console or Console(stderr=True),
        )
        self._task = self._bar.add_task(
            "", total=trainer.epochs, completed=trainer.epoch, epoch=trainer.epoch
        )
        self._bar.start()

    def on_progress(self, trainer: Any, step: int, steps: int) -> None:
        self._bar.update(self._task, completed=trainer.epoch + step / steps)

    def on_epoch_end(self, trainer: Any, epoch: int, metrics: Metrics) -> None:
        self._bar.update(
            self._task,
            total=trainer.epochs,
            completed=epoch,
            epoch=epoch,
            description=summary(metrics),
        )

    def on_train_end(self, trainer: Any) -> None:
        self.close()

    def close(self) -> None:
        """Give the terminal back; also after a failure."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
