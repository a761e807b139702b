"""Every registered model, a plugin's too: a step of its training, a fit, predictions; and an epoch
on data of MNIST's size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from flagstone.benchmarking.benchmark import Benchmark, NotHere, Run
from flagstone.errors import ConfigurationError, UnavailableError
from flagstone.plugins import registry
from flagstone.training import Callback

if TYPE_CHECKING:
    from flagstone.backend import Backend
    from flagstone.training import Trainer

ROWS, FEATURES, CLASSES = 1000, 20, 3
IMAGES, SIDE = 32, 28
EPOCHS = {"softmax": 60_000, "mlp": 60_000, "cnn": 2_000}  # model -> images of 28 x 28

LONG = 10_000  # epochs that a step believes to be in: what counts steps must not run out
IN_STEPS = {"solver": "sgd", "optimizer": "adam"}  # for models that would find an optimum at once


class _Enough(Exception):  # noqa: N818  # no error: a fit ends here on purpose
    pass


class StepOnly(Callback):
    """Ends training before its first step and keeps that step, to be run again and again.

    Attributes:
        step: runs it; ``None`` for a model that is not trained in steps.
        uncaptured: runs it op by op.
        trainer: what would have run it.
    """

    def __init__(self) -> None:
        self.step: Run | None = None

    def on_train_begin(self, trainer: Trainer) -> None:
        """Stand in for the trainer's step."""
        step = getattr(trainer, "_step", None)
        if step is None:  # it trains in another way
            return
        trainer.epochs = LONG

        def keep(*arguments: Any) -> None:
            self.step, self.trainer = lambda: step(*arguments), trainer
            self.uncaptured = lambda: trainer._train_step(*arguments)
            raise _Enough

        trainer._step = keep


def benchmarks() -> Iterator[Benchmark]:
    """All models' steps, fits and predictions, then the epochs."""
    for name in registry.names("model"):
        yield Benchmark(f"step/{name}", lambda backend, name=name: model_step(name, backend).step)  # type: ignore[misc]
        yield Benchmark(f"fit/{name}", _fit(name))
        yield Benchmark(f"predict/{name}/one", _predict(name, 1))
        yield Benchmark(f"predict/{name}/many", _predict(name, None))
    for name, images in EPOCHS.items():
        yield Benchmark(f"epoch/{name}", _epoch(name, images), in_gate=False)


def model_step(name: str, backend: Backend) -> Any:
    """A model's training step, as its :class:`StepOnly`.

    Raises:
        NotHere: it is not trained in steps, or needs what is not installed.
    """
    kept = StepOnly()
    model, X, y = _model(name, backend)
    for key, value in IN_STEPS.items():
        if key in model.hyperparameters():
            setattr(model, key, value)
    try:
        model.check_hyperparameters()
    except ConfigurationError:  # a stranger's words for its solvers are others
        model = _made(name, backend)
    try:
        model.fit(X, y, callbacks=[kept])
    except _Enough:
        return kept
    raise NotHere(f"model {name}: it is not trained in steps of gradients")


def _fit(name: str) -> Callable[[Backend], Run]:
    def prepare(backend: Backend) -> Run:
        model, X, y = _model(name, backend)
        return lambda: model.fit(X, y)

    return prepare


def _predict(name: str, rows: int | None) -> Callable[[Backend], Run]:
    def prepare(backend: Backend) -> Run:
        model, X, y = _model(name, backend)
        model.fit(X, y)
        asked = X[:rows]
        function = model.predict if hasattr(model, "predict") else model.transform
        return lambda: function(asked)

    return prepare


def _epoch(name: str, images: int) -> Callable[[Backend], Run]:
    def prepare(backend: Backend) -> Run:
        model = _made(name, backend)
        rng = np.random.default_rng(0)
        X = rng.random((images, SIDE, SIDE), "float32")
        y = rng.integers(0, 10, images)
        return lambda: model.fit(X, y)

    return prepare


def _made(name: str, backend: Backend) -> Any:
    """The model with its defaults, for one epoch."""
    try:
        cls: Any = registry.find("model", name).load()
    except UnavailableError as error:
        raise NotHere(f"model {name}: {error}") from None
    known = cls.hyperparameters()
    usual = {"epochs": 1, "device": str(backend.device)}
    if "member" in known:
        usual["member"] = "mlp(epochs=1)"
    return cls(**{key: value for key, value in usual.items() if key in known})


def _model(name: str, backend: Backend) -> tuple[Any, Any, Any]:
    """The model with examples and targets that suit it."""
    model = _made(name, backend)
    rng = np.random.default_rng(0)
    if getattr(model, "takes_images_only", False):
        X = rng.random((IMAGES, SIDE, SIDE), "float32")
    else:
        X = rng.standard_normal((ROWS, FEATURES)).astype("float32")
    if registry.find("model", name).task == "regression":
        return model, X, X @ np.arange(1.0, X.shape[1] + 1.0)
    classes = 2 if getattr(model, "binary_only", False) else CLASSES
    return model, X, np.arange(len(X)) % classes
