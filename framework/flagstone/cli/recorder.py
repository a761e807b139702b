"""Keeping a run's state on disk while it trains."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from flagstone.training.callbacks import Callback, Metrics
from flagstone.training.run_directory import RunDirectory

LARGEST_SHARE = 0.1  # of the time, that saving may take


class Recorder(Callback):
    """Saves metrics and a checkpoint after every epoch, and when interrupted.

    Where epochs are shorter than ten times what saving takes, some are passed over, so that a run
    of thousands of tiny epochs does not spend its time waiting for the disk. The first epoch, the
    last and an interruption are always saved. Lines of ``metrics.jsonl`` are written before the
    checkpoint that they belong to, because a resumed run drops those that are ahead of it.

    Arguments:
        run: where to.
        seconds: what earlier parts of a resumed run took.
        begin: called with the trainer when training begins.
    """

    def __init__(self, run: RunDirectory, seconds: float, begin: Callable[[Any], None]) -> None:
        self._run, self._before, self._begin = run, seconds, begin
        self._started = time.perf_counter()
        self._rows: list[Metrics] = []
        self._save_again = 0.0  # not before this time

    @property
    def seconds(self) -> float:
        """What the run has taken so far, earlier parts included."""
        return self._before + time.perf_counter() - self._started

    @property
    def session_seconds(self) -> float:
        """What this part of the run has taken."""
        return self.seconds - self._before

    def on_train_begin(self, trainer: Any) -> None:
        self._begin(trainer)

    def on_epoch_end(self, trainer: Any, epoch: int, metrics: Metrics) -> None:
        self._rows.append(metrics)
        last = epoch >= trainer.epochs or trainer.stop
        if last or time.perf_counter() >= self._save_again:
            self._save(trainer)

    def on_interrupt(self, trainer: Any) -> None:
        self._save(trainer)

    def _save(self, trainer: Any) -> None:
        started = time.perf_counter()
        self._run.append_metrics(*self._rows)
        self._rows = []
        arrays, state = trainer.state()
        metadata = {"epoch": trainer.epoch, "seconds": self.seconds, "state": state}
        self._run.save_checkpoint(arrays, metadata)
        now = time.perf_counter()
        self._save_again = now + (now - started) / LARGEST_SHARE
