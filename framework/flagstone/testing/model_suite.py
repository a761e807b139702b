"""The checks of a model."""

from __future__ import annotations

import copy
import inspect
import pickle
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from flagstone.errors import ConfigurationError, FlagstoneError, NotFittedError, UnavailableError
from flagstone.estimator import Estimator, load
from flagstone.plugins import ModelSpec, registry
from flagstone.tape import no_grad
from flagstone.testing.comparing import given, on, only_dtype, require_close, require_same
from flagstone.testing.host_reads import GUARDED, REFERENCE, check_backend
from flagstone.testing.layer_suite import call
from flagstone.testing.leaf_gradients import all_outputs, check_leaf_gradients
from flagstone.testing.model_hyperparameters import check_hyperparameters
from flagstone.testing.randomness import SEEDS, global_seed
from flagstone.testing.refusals import refuses
from flagstone.testing.sklearn_checks import failing_checks
from flagstone.testing.suite import Suite, skip
from flagstone.training import Callback

PARITY = {"float32": 5e-3, "float64": 1e-7}
WITH_TARGETS = ("classification", "regression")
ALONE = {"float32": 1e-4, "float64": 1e-7}


class ModelSuite(Suite):
    """The checks of a model.

    Attributes:
        params: hyper-parameters with which it trains in a second or two; ``epochs`` is 3 if it has
            that one and nothing is said here.
    """

    kind: ClassVar[str] = "model"
    params: Mapping[str, Any] = {}

    def data(self) -> tuple[Any, Any]:
        """``X`` and ``y`` to train on: a table of 48 rows, or 24 images for a model of images; a
        model without targets passes ``y`` over."""
        rng = np.random.default_rng(0)
        if self.target.takes_images_only:
            X = rng.uniform(0, 1, (24, 8, 8)).astype("float32")
            y = np.arange(24) % 3
            return X + np.eye(8, dtype="float32") * y[:, None, None], y
        X = rng.standard_normal((48, 5))
        if registry.find("model", self.name).task == "regression":
            return X, X @ np.array([1.0, -2.0, 0.5, 0.0, 3.0]) + 4.0
        y = (X[:, 0] + X[:, 1] > 0).astype(int)
        return X, y if getattr(self.target, "binary_only", False) else y + (X[:, 2] > 0.8)

    def make(self, **params: Any) -> Any:
        """The model, not fitted."""
        usual = {"epochs": 3, "device": self.device}
        known = {k: v for k, v in usual.items() if k in self.target.hyperparameters()}
        return self.target(**{**known, **self.params, **params})

    @property
    def spec(self) -> ModelSpec:
        return registry.find("model", self.name)

    def _require_steps(self) -> None:
        """Skip what concerns a training in steps where the model has none."""
        if not issubclass(self.target, Estimator) or self._fitted().closed_form() is not None:
            skip("it is not trained in steps")

    def _fitted(self, **params: Any) -> Any:
        return self.make(**params).fit(*self.data())

    def test_hyperparameters(self) -> None:
        """``__init__`` stores what it is given, unchanged, and does nothing else."""
        check_hyperparameters(self.target)

    def test_fit(self) -> None:
        """``fit`` returns the model, with a finite history; what steps minimise does not grow."""
        model = self.make()
        if model.fit(*self.data()) is not model:
            raise AssertionError("fit: expected the model itself; got something else")
        measured = [list(epoch["train"].values()) for epoch in model.history_]
        if not measured or not np.isfinite(measured).all():
            raise AssertionError(f"history_: expected finite measures; got {measured}")
        losses = [epoch["train"].get("loss", 0.0) for epoch in model.history_]
        if issubclass(self.target, Estimator) and losses[-1] > losses[0] * (1 + 1e-6):
            raise AssertionError(
                f"history_: expected a loss that falls; got {losses[0]:.5g} after epoch 1 and "
                f"{losses[-1]:.5g} after epoch {len(losses)}"
            )

    def test_outputs(self) -> None:
        """The layer gives a number per class or target; predictions have scikit-learn's shapes."""
        model, (X, y) = self._fitted(), self.data()
        n, outputs = len(X), model._outputs.size
        with no_grad():
            inputs = self._examples(model, 4).astype(model.layer_.dtype_name)
            raw = model.layer_.eval()(*on(model.layer_.backend, [inputs]))
        if not all_outputs(raw) or raw.shape != (4, outputs):
            raise AssertionError(
                f"the layer that build returned: expected output (4, {outputs}) for 4 examples, "
                f"one number per class or target; got {getattr(raw, 'shape', type(raw).__name__)}"
            )
        if self.spec.task == "transform":
            if model.transform(X).shape[:1] != (n,):
                raise AssertionError(
                    f"transform: expected ({n}, ...); got {model.transform(X).shape}"
                )
            return
        predicted = model.predict(X)
        if predicted.shape != np.shape(y):
            raise AssertionError(f"predict: expected {np.shape(y)}; got {predicted.shape}")
        if self.spec.task == "classification":
            probabilities = model.predict_proba(X)
            classes = len(model.classes_)
            if probabilities.shape != (n, classes):
                raise AssertionError(
                    f"predict_proba: expected {(n, classes)}; got {probabilities.shape}"
                )
            if probabilities.dtype != np.float64:
                raise AssertionError(f"predict_proba: expected float64; got {probabilities.dtype}")
            require_close(probabilities.sum(axis=1), np.ones(n), 1e-6, "sums of predict_proba")
            if not set(np.unique(predicted)) <= set(np.unique(y)):
                raise AssertionError("predict: expected labels of the training data; got others")

    def test_gradients(self) -> None:
        """The gradients of the loss are those of central differences in float64."""
        self._require_steps()
        model, (_, y) = self._fitted(), self.data()
        layer = model.layer_.with_dtype("float64").train()
        objective = model.objective(layer, layer.backend)
        targets = model._encode_targets(np.asarray(y)[:6])
        inputs, target = on(layer.backend, [self._examples(model, 6), targets])
        if getattr(objective, "scale", None) is not None:
            objective.scale = objective.scale.astype("float64")

        def loss() -> Any:
            return objective.losses(call(layer, [inputs]), target)

        leaves = {n: p for n, p in layer.named_parameters() if p.requires_grad}
        check_leaf_gradients(loss, leaves)

    def test_dtype(self) -> None:
        """Training computes in the dtype of the model's parameters; nothing is widened."""
        dtype = self._fitted().layer_.dtype_name
        with given(f"parameters in {dtype}"), only_dtype(dtype):
            model = self._fitted()
        for name, value in model.layer_.state_dict().items():
            if value.dtype.kind == "f" and value.dtype != dtype:
                raise AssertionError(f"{name}: expected {dtype}; got {value.dtype}")

    def test_purity(self) -> None:
        """``fit`` and ``predict`` leave the data as they are, and ``predict`` the model."""
        X, y = self.data()
        weighs = "sample_weight" in inspect.signature(self.target.fit).parameters
        weight = np.linspace(0.5, 1.5, len(X)) if weighs else None
        kept = [np.array(a) for a in (X, y, weight)]
        model = self.make().fit(X, y, **({"sample_weight": weight} if weighs else {}))
        before = _state(model)
        first = self._outputs_of(model, X)
        again = self._outputs_of(model, X)
        arrays = (X, y, weight)
        for what, array, before_fit in zip(("X", "y", "sample_weight"), arrays, kept, strict=True):
            require_same(array, before_fit, f"{what} after fit and predict")
        require_same(again, first, "a second prediction")
        after = _state(model)
        if before.keys() != after.keys():
            raise AssertionError(
                "predict: expected to set no attribute of the model; it set "
                f"{', '.join(sorted(after.keys() ^ before.keys()))}"
            )
        for name, value in before.items():
            require_same(after[name], value, f"{name} after predict")

    def test_batch_independence(self) -> None:
        """A prediction does not depend on which other rows are predicted with it."""
        model, (X, _) = self._fitted(), self.data()
        tolerance = ALONE[model.predicts_in]
        whole = self._outputs_of(model, X)
        for i in range(0, len(X), 5):
            alone = self._outputs_of(model, X[i : i + 1])
            require_close(alone, whole[i : i + 1], tolerance, f"row {i} predicted alone")
        order = np.random.default_rng(1).permutation(len(X))
        mixed = self._outputs_of(model, X[order])
        require_close(mixed, whole[order], tolerance, "rows predicted in another order")

    def test_determinism(self) -> None:
        """One seed gives one model; nothing is drawn from global random generators."""
        X, y = self.data()
        found = []
        for seed in SEEDS:
            with global_seed(seed):
                found.append(self.make(seed=4).fit(X, y))
        refitted = self.make(seed=4).fit(X, y).fit(X, y)
        for other, what in ((found[1], "a second model"), (refitted, "a model fitted twice")):
            self._require_equal(other, found[0], f"{what} of the same seed")

    def test_save_and_load(self) -> None:
        """A loaded model predicts exactly as the one that was saved, and knows the same."""
        model, (X, _) = self._fitted(seed=5), self.data()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.safetensors"
            model.save(path)
            loaded: Any = load(path)
            loaded.save(Path(folder) / "again.safetensors")
            if (Path(folder) / "again.safetensors").read_bytes() != path.read_bytes():
                raise AssertionError("saving the loaded model: expected the same file; got another")
        if type(loaded) is not type(model) or loaded.get_params() != model.get_params():
            raise AssertionError(f"load: expected {model!r}; got {loaded!r}")
        self._require_equal(loaded, model, "the loaded model")
        if loaded.history_ != model.history_:
            raise AssertionError("history_ of the loaded model: expected the saved one's")
        lost = {name for name in vars(model) if name.endswith("_")} - set(vars(loaded))
        if lost:
            raise AssertionError(f"expected {', '.join(sorted(lost))} to be saved; load lost them")
        if self.spec.task != "transform":
            require_same(loaded.predict(X), model.predict(X), "predict of the loaded model")

    def test_copies(self) -> None:
        """A copied or pickled model predicts exactly as the fitted one, and can be fitted."""
        model, (X, y) = self._fitted(), self.data()
        for other, what in (
            (copy.deepcopy(model), "the copied model"),
            (pickle.loads(pickle.dumps(model)), "the model that was pickled"),
        ):
            self._require_equal(other, model, what)
            if other.get_params() != model.get_params():
                raise AssertionError(f"{what}: expected {model!r}; got {other!r}")
            self._require_equal(other.fit(X, y), model, f"{what}, fitted again")

    def test_resume(self) -> None:
        """A run that stops after an epoch and goes on ends exactly as one that does not stop."""
        self._require_steps()
        X, y = self.data()
        straight = self.make().fit(X, y)
        if len(straight.history_) < 2:
            skip("it trains in one epoch")
        kept = _KeepState(after=1)
        self.make().fit(X, y, callbacks=[kept])
        after = _KeepState(after=0)
        resumed = self.make().fit(X, y, resume_from=kept.state, callbacks=[after])
        if after.epochs[:1] != [2]:
            raise AssertionError(
                "resumed after epoch 1: expected to go on with epoch 2; got epoch "
                f"{after.epochs[0] if after.epochs else 'none'}"
            )
        self._require_equal(resumed, straight, "the resumed model")
        losses = [[e["train"] for e in m.history_] for m in (resumed, straight)]
        if losses[0] != losses[1]:
            raise AssertionError(f"history_: expected {losses[1]}; got {losses[0]}")

    def test_sample_weight(self) -> None:
        """A row of weight 0 is an absent row, and weights that are all equal are no weights."""
        if "sample_weight" not in inspect.signature(self.target.fit).parameters:
            skip("its fit takes no sample_weight")
        X, y = self.data()
        kept = np.arange(len(X)) % 4 != 3
        fewer = self.make().fit(X[kept], y[kept])
        weighted = self.make().fit(X, y, sample_weight=kept.astype(float))
        tolerance = PARITY[fewer.layer_.dtype_name]
        for one, other, what in (
            (weighted, fewer, "rows of weight 0"),
            (self.make().fit(X, y, sample_weight=np.full(len(X), 2.0)), self.make().fit(X, y),
             "weights of 2 for all rows"),
        ):  # fmt: skip
            found, expected = self._outputs_of(one, X), self._outputs_of(other, X)
            require_close(found, expected, tolerance, f"predictions after {what}")

    def test_parity(self) -> None:
        """The device and NumPy without kernels train to the same losses and predictions."""
        X, y = self.data()
        with check_backend(REFERENCE):
            expected = self.make(device=REFERENCE).fit(X, y)
            found = self.make().fit(X, y)
            tolerance = PARITY[found.layer_.dtype_name]
            for one, other in zip(found.history_, expected.history_, strict=True):
                for name, value in other["train"].items():
                    what = f"{name} of epoch {one['epoch']} on {found.device_}"
                    require_close(one["train"][name], value, tolerance, what)
            require_close(
                self._outputs_of(found, X), self._outputs_of(expected, X), tolerance,
                f"predictions on {found.device_}",
            )  # fmt: skip

    def test_capture_safe(self) -> None:
        """A training step reads no value on the host, so that a device can record and replay it."""
        self._require_steps()
        with check_backend(GUARDED):
            self.make(device=GUARDED).fit(*self.data())

    def test_error_messages(self) -> None:
        """What it cannot take is refused before work starts, with an error that names it."""
        X, y = self.data()
        model = self._fitted()
        flat = X.reshape(len(X), -1)
        wider = np.concatenate([X, X[..., :1]], axis=-1)
        missing = np.array(X, float)
        missing[(0,) * X.ndim] = np.nan
        unfitted = self.make()
        refuses("predict before fit", lambda: self._outputs_of(unfitted, X), NotFittedError, "fit")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.safetensors"
            refuses("save before fit", lambda: self.make().save(path), NotFittedError, "fit")
        refuses(
            "predict of another shape", lambda: self._outputs_of(model, wider), FlagstoneError, "X"
        )
        if self.spec.task in WITH_TARGETS:
            fewer = y[:-1]
            refuses("fit with too few targets", lambda: self.make().fit(X, fewer), FlagstoneError)
        refuses("fit with NaN", lambda: self.make().fit(missing, y), FlagstoneError)
        refuses("fit with no rows", lambda: self.make().fit(flat[:0], y[:0]), FlagstoneError)
        if "epochs" in self.target.hyperparameters():
            never = self.make(epochs=0)
            refuses("fit with epochs=0", lambda: never.fit(X, y), ConfigurationError, "epochs")
        refuses(
            "an unknown hyper-parameter",
            lambda: self.make().set_params(no_such_thing=1), ConfigurationError, "no_such_thing",
        )  # fmt: skip
        if self.spec.task == "classification":
            one = np.zeros(len(X), int)
            refuses("fit with one class", lambda: self.make().fit(X, one), FlagstoneError, "class")

    def test_check_estimator(self) -> None:
        """scikit-learn's own checks pass, but for those that the spec declares with a reason."""
        try:
            failures = failing_checks(self.spec, {**self.params, "device": self.device})
        except UnavailableError as error:
            skip(str(error))
        if failures:
            first = next(iter(failures))
            others = f" (also: {', '.join(list(failures)[1:])})" if len(failures) > 1 else ""
            raise AssertionError(
                f"{first}: {failures[first]}{others}. What the model cannot pass, its ModelSpec "
                "declares: expected_failed_checks={name: reason}"
            )

    def _examples(self, model: Any, n: int) -> Any:
        """The first n rows as the fitted model's layer sees them, float64."""
        X, _ = self.data()
        return np.asarray(X[:n], np.float64).reshape(n, *model._inputs.shape)

    def _outputs_of(self, model: Any, X: Any) -> Any:
        method = {"classification": "predict_proba", "transform": "transform"}
        return np.array(getattr(model, method.get(self.spec.task, "predict"))(X))

    def _require_equal(self, found: Any, expected: Any, what: str) -> None:
        for name, value in expected.layer_.state_dict().items():
            require_same(found.layer_.state_dict()[name], value, f"{what}: {name}")
        X, _ = self.data()
        require_same(
            self._outputs_of(found, X), self._outputs_of(expected, X), f"{what}: predictions"
        )


class _KeepState(Callback):
    """The trainer's state after an epoch, and the numbers of all epochs."""

    def __init__(self, after: int) -> None:
        self.after, self.state = after, None
        self.epochs: list[int] = []

    def on_epoch_end(self, trainer: Any, epoch: int, metrics: Any) -> None:
        self.epochs.append(epoch)
        if epoch == self.after:
            self.state = trainer.state()


def _state(model: Any) -> dict[str, Any]:
    """Everything that a fitted model holds that is an array or a plain value."""
    held = {k: v for k, v in vars(model).items() if not k.startswith("layer_")}
    arrays = {k: np.array(v) for k, v in held.items() if isinstance(v, (np.ndarray, int, float))}
    others = {k: np.array(repr(v)) for k, v in held.items() if k not in arrays}
    return {**arrays, **others, **model.layer_.state_dict()}
