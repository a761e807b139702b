"""What may look on while a model trains."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from flagstone.errors import InputError

if TYPE_CHECKING:
    from flagstone.training.trainer import Trainer

Metrics = dict[str, Any]  # one epoch's: {"epoch": 1, "train": {"loss": ...}, "lr": ..., ...}


class Callback:
    """A base whose methods do nothing; override what you need.

    Methods that a subclass leaves alone are dropped before training starts, so they cost nothing.
    A callback may read the trainer; setting ``trainer.stop = True`` ends training after the epoch.
    """

    def on_train_begin(self, trainer: Trainer) -> None:
        """Before the first step."""

    def on_progress(self, trainer: Trainer, step: int, steps: int) -> None:
        """Within an epoch, at most ten times a second: ``step`` of ``steps`` are done."""

    def on_epoch_end(self, trainer: Trainer, epoch: int, metrics: Metrics) -> None:
        """After epoch number ``epoch`` (from 1) and its validation."""

    def on_interrupt(self, trainer: Trainer) -> None:
        """After Ctrl-C or SIGTERM, between two steps; the end of the program follows."""

    def on_train_end(self, trainer: Trainer) -> None:
        """After the last epoch, also when training stopped early."""


class Lines(Callback):
    """One line per epoch on standard error."""

    def on_epoch_end(self, trainer: Trainer, epoch: int, metrics: Metrics) -> None:
        parts = [
            f"{part} " + ", ".join(f"{name} {value:.4g}" for name, value in metrics[part].items())
            for part in ("train", "validation")
            if part in metrics
        ]
        sys.stderr.write(f"epoch {epoch}/{trainer.epochs}: {'; '.join(parts)}\n")


EVENTS = ("on_train_begin", "on_progress", "on_epoch_end", "on_interrupt", "on_train_end")


class Listeners:
    """For each event, the callbacks that do something at it."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        for callback in callbacks:
            if not isinstance(callback, Callback):
                raise InputError(
                    f"callbacks: expected flagstone.Callback objects; got {type(callback).__name__}"
                )
        self._calls: dict[str, list[Callable[..., None]]] = {
            event: [
                getattr(c, event)
                for c in callbacks
                if getattr(type(c), event) is not getattr(Callback, event)
            ]
            for event in EVENTS
        }

    def has(self, event: str) -> bool:
        """Whether any callback does something at ``event``."""
        return bool(self._calls[event])

    def tell(self, event: str, *arguments: Any) -> None:
        """Call every listener of ``event``, in order."""
        for call in self._calls[event]:
            call(*arguments)
