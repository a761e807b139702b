"""The checks of a callback."""

from __future__ import annotations

import contextlib
import difflib
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from flagstone import nn
from flagstone.errors import UnknownNameError
from flagstone.optim import Adam
from flagstone.plugins import CallbackSpec, registry
from flagstone.testing.comparing import require_same
from flagstone.testing.randomness import SEEDS, global_seed
from flagstone.testing.suite import Suite
from flagstone.training import Callback, Trainer
from flagstone.training.callbacks import EVENTS
from flagstone.training.objective import CrossEntropy
from flagstone.training.run_directory import RunDirectory

EPOCHS = 3


class CallbackSuite(Suite):
    """The checks of a callback that a plugin adds to runs; ``name`` is its ``CallbackSpec``'s."""

    kind: ClassVar[str] = "callback"

    @property
    def spec(self) -> CallbackSpec:
        with new_run() as run:
            return callback_spec(self.name, run)

    def make(self, run: Any) -> Any:
        """The callback for ``run``, the directory of a run."""
        return self.target(run)

    def test_contract(self) -> None:
        """It is a flagstone.Callback, and every ``on_...`` of it is an event that there is."""
        with new_run() as run:
            callback = self.make(run)
        if not isinstance(callback, Callback):
            raise AssertionError(f"expected a flagstone.Callback; got {type(callback).__name__}")
        for name in dir(type(callback)):
            if name.startswith("on_") and name not in EVENTS:
                near = difflib.get_close_matches(name, EVENTS, n=1)
                guess = f"; did you mean {near[0]}?" if near else ""
                raise AssertionError(
                    f"expected only the events {', '.join(EVENTS)}; got {name}, which nobody "
                    f"calls{guess}"
                )
        if all(getattr(type(callback), e) is getattr(Callback, e) for e in EVENTS):
            raise AssertionError("expected a callback that does something at an event; got none")

    def test_looks_on(self) -> None:
        """Training gives the same parameters and history with and without it."""
        with new_run() as run:
            found = self._trained(run, self.make(run))
        expected = self._trained(None)
        for name, value in expected.layer.state_dict().items():
            require_same(found.layer.state_dict()[name], value, f"{name} after training with it")
        for one, other in zip(found.history, expected.history, strict=True):
            if one["train"] != other["train"] or one.keys() != other.keys():
                raise AssertionError(
                    f"epoch {other['epoch']} of the history: expected {_timeless(other)}; got "
                    f"{_timeless(one)}"
                )

    def test_determinism(self) -> None:
        """Nothing is drawn from global random generators."""
        for seed in SEEDS:
            with new_run() as run, global_seed(seed):
                self._trained(run, self.make(run))

    def test_interrupt(self) -> None:
        """Ctrl-C after an epoch finds it ready."""
        with new_run() as run:
            self._trained(run, self.make(run), _Interrupt(after=1))

    def test_resume(self) -> None:
        """A run that was interrupted goes on with a new callback over the same directory."""
        with new_run() as run:
            stop = _Interrupt(after=2)
            self._trained(run, self.make(run), stop)
            self._trained(run, self.make(run), state=stop.state)

    def test_quiet(self) -> None:
        """Standard output, which holds a command's results, stays empty."""
        written = io.StringIO()
        with new_run() as run, contextlib.redirect_stdout(written):
            self._trained(run, self.make(run))
        if written.getvalue():
            raise AssertionError(
                f"expected nothing on standard output; got {written.getvalue()[:80]!r}: write to "
                "standard error, or to a file in the run's directory"
            )

    def _trained(self, run: Any, *callbacks: Callback, state: Any = None) -> Trainer:
        rng = np.random.default_rng(0)
        x, y = rng.standard_normal((24, 4)).astype("float32"), np.arange(24) % 3
        layer = nn.Linear(4, 3).initialize(1, device=self.device)
        trainer = Trainer(
            layer, CrossEntropy(), Adam(layer, 0.05), epochs=EPOCHS, batch_size=8,
            callbacks=[c for c in callbacks if isinstance(c, Callback)],
        )  # fmt: skip
        with contextlib.suppress(_StopError):
            trainer.fit(x, y, validation=(x[:6], y[:6]), resume_from=state)
        return trainer


class _StopError(Exception):
    """Ends a run here as Ctrl-C does, where the caller sees it."""


class _Interrupt(Callback):
    """As the trainer after Ctrl-C: all callbacks are told, then the run ends."""

    def __init__(self, after: int) -> None:
        self.after, self.state = after, None

    def on_epoch_end(self, trainer: Any, epoch: int, metrics: Any) -> None:
        if epoch == self.after:
            trainer._listeners.tell("on_interrupt", trainer)
            self.state = trainer.state()
            raise _StopError


@contextlib.contextmanager
def new_run() -> Iterator[RunDirectory]:
    """The directory of a run that has just begun, for the block."""
    with tempfile.TemporaryDirectory() as folder:
        yield RunDirectory.create(Path(folder), "check", {"model": "check", "epochs": EPOCHS})


def callback_spec(name: str, run: Any) -> CallbackSpec:
    """The spec of that name among those that plugins have for ``run``.

    Raises:
        UnknownNameError: there is none.
    """
    specs = {spec.name: spec for spec in registry.callback_specs(run)}
    if name not in specs:
        raise UnknownNameError("callback", name, specs, registry.hint())
    return specs[name]


def _timeless(metrics: Any) -> Any:
    return {key: value for key, value in metrics.items() if key != "seconds"}
