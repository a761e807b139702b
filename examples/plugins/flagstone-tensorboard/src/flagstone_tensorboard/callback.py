"""The callback."""

from __future__ import annotations

import time
import typing
from pathlib import Path

import flagstone as fs

from flagstone_tensorboard.events import first_event, record, scalars


class TensorBoard(fs.Callback):
    """Writes each epoch's measures to an event file in the run's directory, at once.

    ``tensorboard --logdir runs`` shows all runs; a resumed run adds a file to its directory.

    Args:
        run: what is about to train; its ``path`` is the directory.
        clock: gives the time in seconds.
    """

    def __init__(self, run: typing.Any, clock: typing.Callable[[], float] = time.time) -> None:
        self.directory = Path(run.path)
        self.clock = clock
        self.path: Path | None = None

    def on_train_begin(self, trainer: fs.Trainer) -> None:
        now = self.clock()
        self.path = self.directory / f"events.out.tfevents.{int(now * 1e6)}.flagstone"
        self.path.write_bytes(record(first_event(now)))

    def on_epoch_end(self, trainer: fs.Trainer, epoch: int, metrics: dict[str, typing.Any]) -> None:
        values = {"lr": metrics["lr"]}
        for part in ("train", "validation"):
            for name, value in metrics.get(part, {}).items():
                values[f"{name}/{part}"] = (
                    value  # the same measure of both parts in one chart group
                )
        assert self.path is not None  # on_train_begin came first
        with self.path.open("ab") as file:
            file.write(record(scalars(self.clock(), epoch, values)))
