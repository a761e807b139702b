"""The estimator that every model is: hyper-parameters, fit, predict, save.

A model's author declares hyper-parameters and defines :meth:`Estimator.build`; see
:class:`flagstone.Classifier` and :class:`flagstone.Regressor`. Declaring them as dataclass fields
gives an ``__init__`` that stores and does nothing else, as scikit-learn asks; those of the bases
are inherited and a new default is one line::

    @dataclass(kw_only=True, eq=False, repr=False)
    class Softmax(fs.Classifier):
        epochs: int = 50

        def build(self, inputs, outputs):
            return nn.Sequential(nn.Flatten(), nn.Linear(inputs.size, outputs.size))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flagstone.augment import Augmentation
from flagstone.backend import EXACT, Backend, open_backend
from flagstone.errors import ConfigurationError, PluginError, ShapeError
from flagstone.estimator import validation as check
from flagstone.estimator.predictor import Predictor
from flagstone.estimator.spec import Spec
from flagstone.estimator.standardize import statistics
from flagstone.named import make
from flagstone.nn import Layer, Sequential, Standardize
from flagstone.optim import LBFGS, with_weight_decay
from flagstone.tape import no_grad
from flagstone.tensors import Tensor
from flagstone.training import Callback, FullBatchTrainer, Objective, Trainer
from flagstone.training.callbacks import Lines, Metrics

_POSITIVE = ("a positive integer", "a positive number")
_SUBCLASS = "{}: expected to derive from flagstone.Classifier or flagstone.Regressor"

Solution = Callable[[Layer, Any, Any, Any], Metrics | None]
State = tuple[Mapping[str, Any], Mapping[str, Any]]


@dataclass(kw_only=True, eq=False, repr=False)
class Estimator(Predictor):
    """What classifiers and regressors share.

    Attributes:
        epochs: how many times to go through the data.
        batch_size: examples per step; ``None`` for all.
        lr: the learning rate; ``None`` where the model finds one by itself, as ``linear`` does.
        optimizer: a registered optimizer's name, with options as in ``"sgd(momentum=0.9)"``.
        schedule: a registered schedule's name, with options as in ``"cosine(warmup=0.1)"``.
        weight_decay: the optimizer's; 0 leaves it to the optimizer's own options.
        validation_fraction: how much of the data ``fit`` holds out to evaluate after every epoch.
        patience: epochs without a better (validation) loss after which to stop and go back to the
            best; ``None`` for never.
        standardize: subtract the training data's mean and divide by its deviation, per feature or
            per channel; the statistics are kept in the model.
        seed: of weights, shuffles, splits, dropout and augmentation.
        device: where to train and predict: auto, cpu, cuda:N or a backend's name.
        precision: what the backend computes in: ``"exact"``, or what else it has (``tf32``,
            ``mixed-fp16`` and ``mixed-bf16`` on cards, ``fast`` on CPUs).
        verbose: print a line per epoch to standard error.

    After ``fit``:

    Attributes:
        layer_: the trained layer, preprocessing first.
        history_: one dict per epoch: ``{"epoch", "train", "validation", "lr", "seconds"}``. The
            training loss contains penalties such as ``l2``; the validation loss does not.
        n_parameters_: how many numbers training changed.
        device_: where it was trained.
        n_features_in_, feature_names_in_: as in scikit-learn, where the input was a table.
    """

    epochs: int | float = 50
    batch_size: int | None = 100
    lr: float | None = 1e-3
    optimizer: str = "adam"
    schedule: str = "constant"
    weight_decay: float = 0.0
    validation_fraction: float = 0.0
    patience: int | None = None
    standardize: bool = True
    seed: int = 0
    device: str = "auto"
    precision: str = "exact"
    verbose: bool = False

    # What an author defines

    def build(self, inputs: Spec, outputs: Spec) -> Layer:
        """The layer for examples like ``inputs`` and ``outputs``; the last layer gives logits."""
        raise NotImplementedError(f"{type(self).__name__} defines no build")

    def objective(self, layer: Layer, backend: Backend) -> Objective:
        """What training minimises and reports."""
        raise NotImplementedError(f"{type(self).__name__} defines no objective")

    def closed_form(self) -> Solution | None:
        """A function (layer, X, targets, weight) that sets the layer's parameters to the optimum
        without gradient descent, and returns the metrics there or ``None``, to have them computed;
        ``None`` where there is no such function."""
        return None

    def learning_rate(self, layer: Layer, X: Any) -> float:
        """The base rate of training; a model that takes ``lr=None`` works it out here.

        Args:
            layer: initialised, its preprocessing in place.
            X: the training examples, before preprocessing.
        """
        if self.lr is None:
            raise ConfigurationError(
                f"{type(self).__name__}: lr expected a number; got None, "
                "and it finds none by itself"
            )
        return self.lr

    def recipe(self) -> tuple[str, int | None]:
        """The optimizer, as text, and the examples per step; a model may choose them itself."""
        return self.optimizer, self.batch_size

    def drops_last(self) -> bool:
        """Whether an epoch's last batch is left out where it would be smaller."""
        return False

    def layer_dtype(self) -> str:
        """The dtype of the parameters."""
        return "float32"

    def measure(self, layer: Layer, X: Any) -> None:
        """Set what the layer measures on the training data rather than learns, in its buffers.

        Args:
            layer: initialised, its preprocessing in place.
            X: the training examples, before preprocessing.
        """

    def augmentation(self) -> list[Augmentation]:
        """What changes each batch while training."""
        return []

    # Fitting

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        validation_data: tuple[Any, Any] | None = None,
        callbacks: Sequence[Callback] = (),
        resume_from: State | None = None,
    ) -> Any:
        """Train on ``X`` and ``y``, from the start.

        Args:
            X: (n, features), or images (n, h, w) or (n, h, w, channels).
            y: (n,) labels or numbers; (n, t) for a regression of several targets.
            sample_weight: (n,) how much each example counts.
            validation_data: inputs and targets that are evaluated after every epoch; by default
                ``validation_fraction`` of the data is held out.
            callbacks: what looks on.
            resume_from: a trainer's ``state()`` to go on from.

        Returns:
            The model itself.

        Raises:
            InputError, DTypeError, ShapeError, ConfigurationError: before any work starts.
            RunError: training diverged.
        """
        self.check_types()
        self.check_hyperparameters()
        X, y = check.training_data(self, X, y, self.task)
        X = self._as_examples(X)
        weight = check.sample_weights(sample_weight, len(X))
        if weight is not None and not weight.all():  # a weight of 0 is an absent example
            X, y, weight = X[weight > 0], y[weight > 0], weight[weight > 0]
            weight = weight / weight.mean()
        backend = open_backend(self.device, self.precision)
        targets = self._learn_targets(y, weight)
        self._inputs = Spec(tuple(int(n) for n in X.shape[1:]))
        if self.precision != EXACT and self.layer_dtype() != "float32":
            raise ConfigurationError(
                f"{type(self).__name__}: precision expected 'exact', for it trains in "
                f"{self.layer_dtype()} here; got {self.precision!r}"
            )
        held_out = None
        if validation_data is not None:
            held_out = self._validation(*validation_data)
        elif self.validation_fraction:
            X, targets, weight, held_out = self._split(X, targets, weight)
        layer = self._make_layer(X, weight, backend)
        self.measure(layer, X)
        trainer = self._trainer(layer, backend, self.learning_rate(layer, X), callbacks)
        self.layer_, self.device_ = layer, str(backend.device)
        self.n_parameters_ = sum(p.size for p in layer.parameters() if p.requires_grad)
        solve = self.closed_form()
        if solve is None:
            trainer.fit(X, targets, weight=weight, validation=held_out, resume_from=resume_from)
        else:
            trainer.solve(solve, X, targets, weight=weight, validation=held_out)
        self.history_: list[Metrics] = trainer.history
        return self

    def check_hyperparameters(self) -> None:
        """Raise for values that no data could make right; a subclass adds its own.

        Raises:
            ConfigurationError: names the hyper-parameter.
        """
        name = type(self).__name__
        batch: Any = self.batch_size  # a model may have a word for its own
        for what, holds, expected in (
            ("epochs", 0 < self.epochs < float("inf"), _POSITIVE[type(self.epochs) is float]),
            ("batch_size", isinstance(batch, str | None) or batch >= 1, "a positive integer"),
            ("lr", self.lr is None or 0 <= self.lr < float("inf"), "a finite number >= 0"),
            ("weight_decay", self.weight_decay >= 0, "a number >= 0"),
            ("validation_fraction", 0 <= self.validation_fraction < 1, "a number in [0, 1)"),
            ("patience", self.patience is None or self.patience >= 1, "a positive integer or None"),
            ("seed", 0 <= self.seed < 2**64, "an integer in [0, 2**64)"),
        ):
            if not holds:
                raise ConfigurationError(
                    f"{name}: {what} expected {expected}; got {getattr(self, what)!r}"
                )

    def _trainer(
        self, layer: Layer, backend: Backend, lr: float, callbacks: Sequence[Callback]
    ) -> Trainer:
        text, batch_size = self.recipe()
        text = with_weight_decay(text, self.weight_decay)
        optimizer = make("optimizer", text, layer, lr)
        kind = FullBatchTrainer if isinstance(optimizer, LBFGS) else Trainer
        return kind(
            layer, self.objective(layer, backend), optimizer,
            epochs=self.epochs, batch_size=batch_size, drop_last=self.drops_last(), lr=lr,
            schedule=make("schedule", self.schedule), augment=self.augmentation(),
            seed=self.seed, patience=self.patience,
            callbacks=[*callbacks, *([Lines()] if self.verbose else [])],
        )  # fmt: skip

    def _as_examples(self, X: Any) -> Any:
        """``X`` as the model's examples: rows folded to images where the model says so."""
        X = check.folded(X, getattr(self, "image_shape", None))
        if self.takes_images_only and X.ndim == 2:
            raise ShapeError(
                f"{type(self).__name__}: X expected images (n, h, w) or (n, h, w, channels); got a "
                f"table of shape {X.shape}. Say image_shape=(h, w) to fold its rows"
            )
        return X

    def _make_layer(self, X: Any, weight: Any, backend: Backend) -> Layer:
        layer = self._assemble(backend)
        if self.standardize:
            mean, scale = self._statistics(X, weight)
            assert isinstance(layer, Sequential)  # _assemble puts Standardize first
            first = layer[0]
            assert isinstance(first, Standardize)
            for buffer, value in ((first.mean, mean), (first.inverse_scale, 1.0 / scale)):
                buffer.array[...] = backend.asarray(value.astype(buffer.dtype_name))
        self._require_outputs(layer, backend)
        return layer

    def _require_outputs(self, layer: Layer, backend: Backend) -> None:
        """Raise PluginError unless the layer that ``build`` made gives what it was asked for."""
        example = np.zeros((1, *self._inputs.shape), self.layer_dtype())
        layer.eval()
        with no_grad(), np.errstate(over="ignore", invalid="ignore"):
            out = layer(Tensor(backend.asarray(example), backend))
        layer.train()
        expected, got = (1, self._outputs.size), getattr(out, "shape", None)
        if got != expected:
            raise PluginError(
                f"{type(self).__name__}.build: expected a layer that gives shape {expected} for "
                "one example, a number for each class or target; it gives "
                f"{type(out).__name__ if got is None else got}"
            )

    def _statistics(self, X: Any, weight: Any) -> tuple[Any, Any]:
        """Mean and deviation of each feature or channel."""
        return statistics(X, weight)

    def _assemble(self, backend: Backend) -> Layer:
        """The layer with its preprocessing, its parameters at their start."""
        body = self.build(self._inputs, self._outputs)
        if not isinstance(body, Layer):
            raise PluginError(
                f"{type(self).__name__}.build: expected to return a flagstone.nn.Layer; "
                f"it returned {type(body).__name__}"
            )
        if self.standardize:
            body = Sequential(Standardize(self._inputs.shape[-1:]), body)
        return body.initialize(self.seed, device=backend, dtype=self.layer_dtype())

    def _split(self, X: Any, targets: Any, weight: Any) -> tuple[Any, Any, Any, Any]:
        from flagstone.data import split

        stratify = targets if self.task == "classification" else None
        train, held = split(len(X), self.validation_fraction, seed=self.seed, stratify=stratify)
        weight = None if weight is None else weight[train] / weight[train].mean()
        return X[train], targets[train], weight, (X[held], targets[held])

    def _validation(self, X: Any, y: Any) -> tuple[Any, Any]:
        X = self._as_examples(check.prediction_data(self, X))
        self._require_inputs(X)
        y = np.asarray(y)
        check.validation_targets(y, len(X), self.task)
        return X, self._encode_targets(y)

    # What Classifier and Regressor define

    def _learn_targets(self, y: Any, weight: Any) -> Any:
        """Learn what targets look like, set ``_outputs``, and encode them for the objective."""
        raise NotImplementedError(_SUBCLASS.format(type(self).__name__))

    def _encode_targets(self, y: Any) -> Any:
        """Encode targets like those that were learned from."""
        raise NotImplementedError(_SUBCLASS.format(type(self).__name__))
