"""A plugin as strangers wrote it for api 1: every hook, every kind, what each is promised.

This file is frozen: ``test_api1.py`` knows its hash. It must go on working, unchanged and without a
warning, for as long as flagstone takes api 1; see ``docs/plugins/versioning.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

import click
import numpy as np

import flagstone as fs
from flagstone import data, losses, nn, ops, optim, schedules
from flagstone.backend import Backend, MemoryInfo, declines
from flagstone.devices import Device
from flagstone.errors import ConfigurationError, UnavailableError
from flagstone.plugins import (
    BackendSpec,
    CallbackSpec,
    DatasetSpec,
    EngineSpec,
    KernelSpec,
    LayerSpec,
    LossSpec,
    MetricSpec,
    ModelSpec,
    OptimizerSpec,
    Probe,
    ScheduleSpec,
    hookimpl,
)

HERE = __name__


# The hooks, each field of each spec given once


@hookimpl
def flagstone_backends():
    yield BackendSpec(
        "api1-device", f"{HERE}:open_device", "numpy again", ("numpy",), 1,
        devices=("api1-device", "api1:card"), probe=f"{HERE}:probe", priority=-50,
    )  # fmt: skip


@hookimpl
def flagstone_models():
    yield ModelSpec(
        "api1-model", f"{HERE}:Model", summary="a model", requires=("numpy",), api=1,
        task="classification", expected_failed_checks={"check_nothing": "a reason"},
    )  # fmt: skip
    yield ModelSpec("api1-regressor", f"{HERE}:Line", task="regression")


@hookimpl
def flagstone_layers():
    return [LayerSpec("api1-layer", f"{HERE}:Scale", summary="a layer")]


@hookimpl
def flagstone_losses():
    yield LossSpec("api1-loss", f"{HERE}:Quartic")


@hookimpl
def flagstone_metrics():
    yield MetricSpec("api1-metric", f"{HERE}:worst")


@hookimpl
def flagstone_optimizers():
    yield OptimizerSpec("api1-optimizer", f"{HERE}:Heavy")


@hookimpl
def flagstone_schedules():
    yield ScheduleSpec("api1-schedule", f"{HERE}:Halving")


@hookimpl
def flagstone_datasets():
    yield DatasetSpec("api1-data", f"{HERE}:load", task="classification")


@hookimpl
def flagstone_engines():
    yield EngineSpec("api1-engine", f"{HERE}:Engine")


@hookimpl
def flagstone_kernels(backend):
    if backend.name != "api1-device":
        return None
    return [KernelSpec("relu", f"{HERE}:relu", overrides=False)]


@hookimpl
def flagstone_callbacks(run):
    return [CallbackSpec("api1-callback", f"{HERE}:Noting")]


@hookimpl
def flagstone_commands(cli):
    @cli.command("api1-command")
    @click.argument("word")
    def command(word):
        """Say a word."""
        if not word.isalpha():
            raise ConfigurationError(f"WORD: expected letters; got {word!r}")
        click.echo(word.upper())


# What they hand over


@dataclass(kw_only=True, eq=False, repr=False)
class Model(fs.Classifier):
    """With everything of this plugin in it."""

    epochs: int = 5
    batch_size: int | None = 16
    lr: float | None = 0.01
    optimizer: str = "api1-optimizer(beta=0.5)"
    schedule: str = "api1-schedule(every=2)"
    width: int = 8

    def check_hyperparameters(self) -> None:
        super().check_hyperparameters()
        if self.width < 1:
            raise ConfigurationError(f"Model: width expected a positive integer; got {self.width}")

    def build(self, inputs: fs.Spec, outputs: fs.Spec) -> nn.Layer:
        assert isinstance(inputs.shape, tuple)
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(inputs.size, self.width),
            nn.ReLU(),
            Scale(self.width),
            nn.Dropout(0.1),
            nn.Linear(self.width, outputs.size),
        )


@dataclass(kw_only=True, eq=False, repr=False)
class Line(fs.Regressor):
    epochs: int = 3

    def build(self, inputs: fs.Spec, outputs: fs.Spec) -> nn.Layer:
        return nn.Sequential(nn.Flatten(), nn.Linear(inputs.size, outputs.size))


class Scale(nn.Layer):
    def __init__(self, features: int = 3) -> None:
        self.scale = nn.Parameter((features,), lambda shape, key: np.ones(shape, np.float32))
        self.calls = nn.Buffer((1,), lambda shape, key: np.zeros(shape, np.float32))

    def forward(self, x: fs.Tensor) -> fs.Tensor:
        return ops.tanh(x) * self.scale + twice(x) - 2.0 * x


@ops.op
def twice(xp, x):
    return x + x


@twice.pullback
def _(dy):
    return dy + dy


@dataclass(frozen=True, eq=False, kw_only=True)
class Quartic(losses.Loss):
    @staticmethod
    def function(x, target, *, sample_weight=None, reduction="mean"):
        return losses.mse(
            (x - target) ** 2, 0.0 * x, sample_weight=sample_weight, reduction=reduction
        )


def worst(y_true, y_pred, sample_weight=None):
    return float(np.max(np.abs(np.asarray(y_true) - np.asarray(y_pred))))


class Heavy(optim.Optimizer):
    def __init__(self, layer, lr=0.1, *, beta=0.9, weight_decay=0.0, **common):
        super().__init__(layer, lr, weight_decay=weight_decay, **common)
        self.beta = beta
        self._velocity = self.state("velocity")

    def update(self, p, g, lr, scale):
        ops.assign(self._velocity, self._velocity * self.beta + g * scale)
        ops.assign(p, p - self._velocity * lr)


class Halving(schedules.Schedule):
    def __init__(self, every: int = 1, warmup: float = 0) -> None:
        super().__init__(warmup)
        self.every = every

    def after_warmup(self, step: int, steps: int, steps_per_epoch: int) -> float:
        return 0.5 ** (step // (self.every * steps_per_epoch))


def load() -> data.Dataset:
    words = fs.random.bits(fs.random.key(1, "api1", "data"), (0, 0), 0, 60)
    X = fs.random.uniform(words).reshape(60, 4)
    return data.Dataset(
        "api1-data", "classification", X, (X[:, 0] > X[:, 1]).astype(int), ("a", "b", "c", "d")
    )


class Engine:
    pass


@declines
def tanh(x):
    return NotImplemented if x.dtype.kind != "f" else np.tanh(x)


class Device1(Backend):
    name = "api1-device"
    xp = np
    kernels = {"tanh": tanh}  # noqa: RUF012 - as an author writes it

    def describe(self) -> str:
        return "numpy again"

    def devices(self):
        return [self.device]

    def asarray(self, x, dtype=None):
        return np.asarray(x, dtype=dtype)

    def to_numpy(self, a):
        return np.asarray(a)

    def synchronize(self) -> None:
        pass

    def capture(self, step, *example):
        return step

    def memory(self) -> MemoryInfo:
        return MemoryInfo(used=1, peak=2, total=3)


def open_device(index: int | None) -> Device1:
    if index:
        raise UnavailableError(f"device 'api1-device:{index}': there is one")
    return Device1(Device("api1-device", index))


def probe() -> Probe:
    return Probe(ok=True, reason="", detail="numpy again")


def relu(x):
    return np.maximum(x, 0)


class Noting(fs.Callback):
    def __init__(self, run) -> None:
        self.path = run.path / "noted.txt"

    def _note(self, line: str) -> None:
        with self.path.open("a") as file:
            file.write(line + "\n")

    def on_train_begin(self, trainer: fs.Trainer) -> None:
        self._note(f"begin {trainer.epochs}")

    def on_progress(self, trainer, step, steps) -> None:
        assert 0 < step <= steps

    def on_epoch_end(self, trainer, epoch, metrics) -> None:
        assert "loss" in metrics["train"]
        self._note(f"epoch {epoch} {metrics['lr']:.6f}")

    def on_interrupt(self, trainer) -> None:
        self._note("interrupt")

    def on_train_end(self, trainer) -> None:
        self._note(f"end {len(trainer.history)}")
