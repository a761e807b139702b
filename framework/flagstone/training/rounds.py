"""Fits whose epochs are not a :class:`Trainer`'s, as callbacks see them; and what any fit that goes
on asks first."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flagstone.errors import RunError
from flagstone.nn import Layer
from flagstone.training.callbacks import Callback, Listeners, Metrics
from flagstone.training.interrupt import InterruptFlag

State = tuple[dict[str, Any], dict[str, Any]]


def require_same_run(metadata: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Raise unless a state to go on from was made with what this run has.

    Args:
        metadata: of the state.
        own: name -> value of what must be equal; an absent one is taken for ``""``.

    Raises:
        RunError: names the first that differs.
    """
    for name, value in own.items():
        if metadata.get(name, "") != value:
            raise RunError(
                f"resume: the checkpoint was made with {name} {metadata.get(name)}; "
                f"this run has {value}, so it cannot go on exactly"
            )


class Rounds:
    """Counts epochs, keeps the history and tells callbacks, to whom it is the trainer.

    Args:
        layer: what is fitted.
        epochs: how many there will be at most.
        callbacks: what looks on.
        state: everything that the fit needs to go on: NumPy arrays, and what JSON can hold.

    Attributes:
        epoch: how many epochs are done.
        history: one dict per epoch.
        stop: a callback sets it to end after the current epoch; so does the fit that is done.
    """

    def __init__(
        self, layer: Layer, epochs: int, callbacks: Sequence[Callback], state: Callable[[], State]
    ) -> None:
        self.layer, self.epochs = layer, epochs
        self.epoch, self.stop = 0, False
        self.history: list[Metrics] = []
        self._listeners = Listeners(callbacks)
        self._state = state

    def state(self) -> State:
        """What the fit's ``resume_from`` takes."""
        return self._state()

    def restore(self, history: Sequence[Metrics]) -> None:
        """Go on after the epochs of ``history``."""
        self.history = [dict(row) for row in history]
        self.epoch = len(self.history)

    def tell(self, event: str, *arguments: Any) -> None:
        """Tell callbacks of an event, this in the place of the trainer."""
        self._listeners.tell(event, self, *arguments)

    def has(self, event: str) -> bool:
        """Whether any callback does something at ``event``."""
        return self._listeners.has(event)

    def run(self, step: Callable[[], Metrics]) -> None:
        """Call ``step``, which returns an epoch's metrics, to the end: where all epochs are done,
        or it or a callback sets :attr:`stop`.

        Raises:
            KeyboardInterrupt: after Ctrl-C, once the epoch was finished and callbacks were told;
                SystemExit: after SIGTERM.
        """
        self.tell("on_train_begin")
        with InterruptFlag() as flag:
            while self.epoch < self.epochs and not self.stop:
                started = time.perf_counter()
                metrics = step()
                self.finish_epoch({**metrics, "seconds": time.perf_counter() - started})
                if flag.raised:
                    self.tell("on_interrupt")
                    flag.end()
        self.tell("on_train_end")

    def finish_epoch(self, metrics: Metrics) -> None:
        """Count an epoch, whose number comes first in the history, and tell callbacks."""
        self.epoch += 1
        others = {name: value for name, value in metrics.items() if name != "epoch"}
        self.history.append({"epoch": self.epoch, **others})
        self.tell("on_epoch_end", self.epoch, self.history[-1])
