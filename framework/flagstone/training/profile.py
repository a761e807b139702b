"""Profiling the steps of a trainer, as a callback that ends training when it has seen enough."""

from __future__ import annotations

import time
from typing import Any

from flagstone.errors import ConfigurationError
from flagstone.profiling import OpCall, Profiler
from flagstone.training.callbacks import Callback, Metrics
from flagstone.training.trainer import Trainer


class ProfileDone(Exception):  # noqa: N818  # no error: training ends here on purpose
    """Raised out of ``fit`` when the last step was measured."""


class ProfileSteps(Callback):
    """Measures the steps of full batches: some to warm up, some op by op, some as they are, some
    captured.

    Args:
        steps: how many of each.

    Attributes:
        calls: the op calls of the profiled steps.
        seconds: ``"uncaptured"`` and ``"captured"`` -> seconds of each such step.
        peak: the most bytes of arrays in use at once that op calls had made.
        uncaptured: why the step could not be captured, ``None`` if it could.
        launches: how many calls or launches a captured step takes;
            see :attr:`flagstone.capturing.Recorded.launches`.
        batch: examples in a step.
        parameters: how many numbers are trained.
    """

    WARM_UP = 3

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.calls: list[OpCall] = []
        self.seconds: dict[str, list[float]] = {"uncaptured": [], "captured": []}
        self.uncaptured: str | None = None
        self.launches: float | None = None
        self.batch = self.parameters = 0
        self._done = 0

    @property
    def peak(self) -> int:
        """The most bytes of arrays in use at once that op calls had made."""
        return max((call.live for call in self.calls), default=0)

    def on_train_begin(self, trainer: Trainer) -> None:
        """Stand in for the trainer's step."""
        if not isinstance(trainer, Trainer):
            raise ConfigurationError(
                "profile: this model does not train in steps of its own gradients, so there is "
                "none to measure; of an ensemble, profile the member"
            )
        if not hasattr(trainer, "_step"):  # it solves instead
            raise ConfigurationError(
                "profile: this model does not train in steps here, for its solver is of closed "
                "form; choose one that takes steps, such as --set solver=sgd"
            )
        self._captured, self._plain = trainer._step, trainer._train_step
        self.parameters = trainer.layer.count_parameters()
        n = trainer._data.n
        self.batch = n if trainer.batch_size is None else min(trainer.batch_size, n)
        self._profiler = Profiler(trainer.backend, trainer.layer)
        self._backend = trainer.backend
        trainer._step = self._step

    def on_epoch_end(self, trainer: Trainer, epoch: int, metrics: Metrics) -> None:
        """Without steps there is nothing to measure."""
        if not self._done:
            raise ConfigurationError(
                f"profile: {type(trainer.optimizer).__name__} does not train in steps of its "
                "gradients; choose another optimizer, such as adam, or of a linear model "
                "--set solver=sgd"
            )

    def _step(self, *arguments: Any) -> None:
        rows = arguments[0][0] if isinstance(arguments[0], tuple) else arguments[0]
        if rows is not None and rows.shape[0] != self.batch:
            self._plain(*arguments)  # an epoch's last, smaller batch
            return
        n = self._done
        self._done += 1
        if n < self.WARM_UP:
            self._plain(*arguments)
        elif n < self.WARM_UP + self.steps:
            with self._profiler:
                self._plain(*arguments)
        elif n < self.WARM_UP + 2 * self.steps:
            self._time("uncaptured", self._plain, arguments)
        elif n < 2 * self.WARM_UP + 2 * self.steps + 2:  # enough to record it
            self._captured(*arguments)
        elif n < 2 * self.WARM_UP + 3 * self.steps + 2:
            self._time("captured", self._captured, arguments)
        else:
            self.calls = self._profiler.calls
            reason = getattr(self._captured, "reason", None)
            self.launches = getattr(self._captured, "launches", None)
            self.uncaptured = None if reason is None else str(reason)
            raise ProfileDone

    def _time(self, name: str, step: Any, arguments: Any) -> None:
        self._backend.synchronize()
        with self._backend.mark(f"{name} step"):
            start = time.perf_counter()
            step(*arguments)
            self._backend.synchronize()
            self.seconds[name].append(time.perf_counter() - start)
