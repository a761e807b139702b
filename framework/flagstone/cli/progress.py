"""Showing how a run goes: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from flagstone.cli.output import measures, say
from flagstone.training.callbacks import Callback, Metrics

EVERY_EPOCH_UP_TO, LINES_BEYOND = 100, 20


class Progress(Callback):
    """What shows a run; ``close`` is called at its end, also after a failure."""

    def close(self) -> None:
        """Give the terminal back."""


def progress() -> Progress:
    """What suits standard error here."""
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return BarProgress()
    return LineProgress()


def summary(metrics: Mapping[str, Any]) -> str:
    """Such as ``loss 0.1034  accuracy 0.9821  validation loss 0.15  accuracy 0.96``."""
    held_out = metrics.get("validation")
    return (
        _member(metrics)
        + measures(metrics["train"])
        + (f"  validation {measures(held_out)}" if held_out else "")
    )


def _member(metrics: Mapping[str, Any]) -> str:
    """Which of an ensemble's members the epoch is of."""
    return f"member {metrics['member']}  " if "member" in metrics else ""


def _brief(metrics: Mapping[str, Any]) -> str:
    """What fits beside a bar: ``loss 0.103  accuracy 0.982  val 0.15  0.96``."""
    shown = "  ".join(f"{name} {value:.3g}" for name, value in metrics["train"].items())
    held_out = "  ".join(f"{value:.3g}" for value in metrics.get("validation", {}).values())
    return _member(metrics) + (f"{shown}  val {held_out}" if held_out else shown)


class LineProgress(Progress):
    """One line per epoch; of more than a hundred epochs, about twenty lines."""

    def on_epoch_end(self, trainer: Any, epoch: int, metrics: Metrics) -> None:
        epochs = trainer.epochs
        every = 1 if epochs <= EVERY_EPOCH_UP_TO else -(-epochs // LINES_BEYOND)
        if epoch % every == 0 or epoch in (1, epochs) or trainer.stop:
            say(f"epoch {epoch}/{epochs}  {summary(metrics)}  {metrics['seconds']:.2f} s")


class BarProgress(Progress):
    """A bar over all epochs, moving within each, with the last epoch's measures."""

    def __init__(self, console: Any = None) -> None:
        self._console = console
        self._bar: Any = None
        self._task: Any = None

    def on_train_begin(self, trainer: Any) -> None:
        from rich import progress as bar
        from rich.console import Console
        from rich.table import Column

        self._bar = bar.Progress(
            bar.TextColumn("epoch {task.fields[epoch]}/{task.total:.0f}"),
            bar.BarColumn(bar_width=8),
            bar.TimeRemainingColumn(compact=True),
            bar.TextColumn(
                "{task.description}",
                markup=False,
                table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
            ),
            console=self._console or Console(stderr=True),
            expand=True,
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
            description=_brief(metrics),
        )

    def close(self) -> None:
        """Stop drawing; the last state stays on the screen."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
