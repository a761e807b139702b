"""One run of training, from settings that were checked to a directory that is complete."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import click

from flagstone.backend import Backend, open_backend
from flagstone.cli.environment import environment
from flagstone.cli.failures import INTERRUPTED
from flagstone.cli.hyperparameters import Hyperparameter, as_toml
from flagstone.cli.output import emit, measures, say
from flagstone.cli.prepared_data import PreparedData, fingerprint, prepare, require_same
from flagstone.cli.progress import progress
from flagstone.cli.recorder import Recorder
from flagstone.cli.settings import FORMAT, Settings, settings_from_run
from flagstone.errors import ConfigurationError, FlagstoneError
from flagstone.plugins import registry
from flagstone.training.callbacks import Callback
from flagstone.training.files import require_writable
from flagstone.training.interrupt import ENDED_BY_SIGTERM
from flagstone.training.run_directory import Checkpoint, RunDirectory

if TYPE_CHECKING:
    from flagstone.data import Task


class _BegunError(Exception):
    """Training would begin now."""


class _Rehearsal(Callback):
    """Ends a fit where training begins: all that it refuses by itself has been looked at."""

    def on_train_begin(self, trainer: Any) -> None:
        raise _BegunError


class TrainingRun:
    """A run that is ready to go; make one with :meth:`new` or :meth:`resumed`.

    Arguments:
        settings: what was asked for.
        backend: where it trains.
        data: the rows.
        run: the directory, if there is one already.
    """

    def __init__(
        self,
        settings: Settings,
        backend: Backend,
        data: PreparedData,
        run: RunDirectory | None = None,
    ) -> None:
        self.settings, self.backend, self.data, self.run = settings, backend, data, run
        self.model = settings.estimator(str(backend.device))
        self.model.check_types()
        self.model.check_hyperparameters()
        self._checkpoint: Checkpoint | None = None
        self._began = False
        self._session_seconds: float | None = None  # of a run that went on

    @classmethod
    def new(cls, settings: Settings) -> TrainingRun:
        """Check everything that can be checked without training; nothing is made."""
        backend = open_backend(settings.device, settings.precision)
        task = cast("Task", registry.find("model", settings.model).task)
        data = prepare(settings.data, settings.target, task, settings.validation, settings.seed)
        return cls(settings, backend, data)

    @classmethod
    def resumed(
        cls,
        run: RunDirectory,
        known: Mapping[str, Hyperparameter],
        own: tuple[str, ...],
        epochs: int | None,
    ) -> TrainingRun | None:
        """Go on with ``run``, to ``epochs`` if that is more; None if it is complete.

        Raises:
            ConfigurationError: ``epochs`` is fewer than the run has, or it cannot be written to.
            InputError: the data is not what it was.
        """
        config = run.read_config()
        had = settings_from_run(config, known, own, str(run.path.parent))
        settings = _raised(had, epochs)
        if settings == had and run.is_complete:
            return None
        require_writable(run.path / "config.toml", "--resume")
        about = config["run"]
        backend = open_backend(settings.device, settings.precision)
        data = prepare(had.data, had.target, about["task"], had.validation, had.seed)
        require_same(data, about["fingerprint"], run, "a run cannot go on with other data")
        return cls(settings, backend, data, run)

    def __str__(self) -> str:
        where = f"{self.settings.model} on {self.backend.device} ({self.backend.describe()})"
        return f"{where}, {self.data}"

    def rehearse(self) -> None:
        """Do all that training does before its first step; the model is of no use afterwards.

        Raises:
            FlagstoneError: training would refuse it too.
        """
        RunDirectory.require_place(self.settings.out)
        with contextlib.suppress(_BegunError):
            self._fit([_Rehearsal()])

    def plan(self) -> dict[str, Any]:
        """The document of a dry run."""
        return {
            **self._identity(),
            "epochs": self.settings.parameters.get("epochs"),
            "rows": {name: len(X) for name, (X, _) in self.data.splits().items()},
            "dry_run": True,
        }

    def go(self, as_json: bool) -> None:
        """Train, save, evaluate and tell. Ends the command with 130 after Ctrl-C, with 143 after
        SIGTERM."""
        run = self.run
        if run is None:
            run = RunDirectory.create(self.settings.out, self.settings.model, self._config())
        try:
            with run.locked():
                document = self._train(run)
        except BaseException as error:
            if (code := _exit_code(error)) is not None:
                self._tell_of_interruption(run, "interrupted" if code == INTERRUPTED else "ended")
                raise click.exceptions.Exit(code) from None
            if run.has_checkpoint and self._began and "training diverged" in str(error):
                error.args = (f"{error}. {_after_divergence(run)}",)
            elif run.has_checkpoint and self._began:
                say(f"{run} keeps what was done until then")
            elif not run.has_checkpoint:
                run.discard()
            raise
        _tell(document, self._session_seconds, as_json)

    def _tell_of_interruption(self, run: RunDirectory, what: str) -> None:
        if self.run is not None or run.has_checkpoint:
            say(f"{what}; what was done is kept. To go on:")
            say(f"  flagstone train --resume {shlex.quote(str(run))}")
        else:
            run.discard()
            say(f"{what} before training began; nothing is kept")

    def _train(self, run: RunDirectory) -> dict[str, Any]:
        run.remove_leftovers()
        if self.run is not None:
            self._checkpoint = run.load_checkpoint()
            run.reopen({**run.read_config(), **self.settings.as_config()})
        before = self._checkpoint.metadata["seconds"] if self._checkpoint is not None else 0.0
        run.write_environment(environment(self.backend))
        recorder = Recorder(run, before, lambda trainer: self._begin(run, trainer))
        bar = progress()
        try:
            self._fit([recorder, bar, *registry.callbacks(run)])
        finally:
            bar.close()
        self._session_seconds = recorder.session_seconds if self.run is not None else None
        return self._finish(run, recorder.seconds)

    def _fit(self, callbacks: list[Any]) -> None:
        checkpoint = self._checkpoint
        try:
            self.model.fit(
                *self.data.train,
                validation_data=self.data.validation,
                callbacks=callbacks,
                resume_from=checkpoint and (checkpoint.arrays, checkpoint.metadata["state"]),
            )
        except FlagstoneError:
            raise
        except Exception as error:
            error.add_note(f"while training {registry.find('model', self.settings.model)}")
            raise

    def _finish(self, run: RunDirectory, seconds: float) -> dict[str, Any]:
        """Save the model and what it is worth; the run is complete then."""
        self.model.save(run.model_file, extra={"run": str(run)})
        history = self.model.history_
        metrics = {}
        # The last epoch's, unless the model may be of an earlier one, or that is of a part of it.
        patient = self.settings.parameters.get("patience") is not None
        if history and not patient and not {"member", "run"} & history[-1].keys():
            metrics["train"] = history[-1]["train"]
        for name, (X, y) in self.data.splits().items():
            metrics[name] = metrics.get(name) or self.model.evaluate(X, y)
        document = {
            **self._identity(),
            "epochs": len(history),
            "seconds": round(seconds, 3),
            "parameters": self.model.n_parameters_,
            "metrics": metrics,
            "run": str(run),
        }
        run.write_summary(document)
        return document

    def _identity(self) -> dict[str, Any]:
        return {
            "model": self.settings.model,
            "data": self.settings.data,
            "device": str(self.backend.device),
            "backend": self.backend.name,
            "precision": self.backend.precision,
            "seed": self.settings.seed,
        }

    def _config(self) -> dict[str, Any]:
        """What was asked for, resolved, and what is needed to recognise it later."""
        dataset = self.data.dataset
        config = self.settings.as_config()
        config["parameters"]["device"] = str(self.backend.device)
        about: dict[str, Any] = {
            "format": FORMAT,
            "task": dataset.task,
            "fingerprint": fingerprint(dataset),
            "shape": [int(n) for n in dataset.X.shape[1:]],
        }
        for name, names in (("features", dataset.feature_names), ("targets", dataset.target_names)):
            if names is not None:
                about[name] = as_toml(names)
        return {**config, "validation": self.data.fraction, "run": about}

    def _begin(self, run: RunDirectory, trainer: Any) -> None:
        self._began = True
        run.keep_history(trainer.epoch)
        say(f"{self}, {trainer.layer.count_parameters()} parameters, {run}")
        if self._checkpoint is not None:
            if self._checkpoint.problem:
                say(f"warning: {self._checkpoint.problem}")
            say(f"going on after epoch {trainer.epoch}")
        elif self.run is not None:
            say("no epoch was finished; starting over")


def _exit_code(error: BaseException) -> int | None:
    """What the command ends with after a signal; None for any other error."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    ended = isinstance(error, SystemExit) and error.code == ENDED_BY_SIGTERM
    return ENDED_BY_SIGTERM if ended else None


def _after_divergence(run: RunDirectory) -> str:
    """What is kept, and how to try again: to go on from there would diverge again."""
    checkpoint = run.load_checkpoint()
    epoch = checkpoint.metadata["epoch"] if checkpoint is not None else 0
    config = shlex.quote(os.path.join(run.path, "config.toml"))
    return (
        f"{run} keeps the state after epoch {epoch}; a new run with a lower rate X: "
        f"flagstone train --config {config} --lr X"
    )


def _raised(settings: Settings, epochs: int | None) -> Settings:
    """The settings, with more epochs where more are asked for."""
    had = settings.parameters.get("epochs")
    if epochs is None or epochs == had:
        return settings
    if had is None or epochs < had:
        raise ConfigurationError(f"--epochs {epochs}: the run has {had}; they can only be raised")
    return replace(settings, parameters={**settings.parameters, "epochs": epochs})


def _tell(document: Mapping[str, Any], session: float | None, as_json: bool) -> None:
    run = shlex.quote(document["run"])
    if as_json:
        emit(document)
    else:
        width = max(map(len, document["metrics"]))
        for split, metrics in document["metrics"].items():
            click.echo(f"{split.ljust(width)}  {measures(metrics)}")
    took = f"{document['seconds']:.1f} s"
    if session is not None:
        took = f"{session:.1f} s, {took} with the earlier sessions"
    say(f"done in {took}; next: flagstone evaluate {run}")
