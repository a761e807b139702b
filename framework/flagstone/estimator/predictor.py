"""What every model is: hyper-parameters and, once it is fitted, a layer that predicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from flagstone import ops
from flagstone.backend import Backend
from flagstone.capturing import capture
from flagstone.errors import ShapeError
from flagstone.estimator import validation as check
from flagstone.estimator.folded import folded
from flagstone.estimator.parameters import Hyperparameters
from flagstone.estimator.spec import Spec
from flagstone.nn import Layer
from flagstone.tape import no_grad
from flagstone.tensors import Tensor

PREDICTION_BATCH = 1000  # examples
WORTH_CAPTURING = 8  # batches; the first two are recorded, and the last is filled up


class Predictor(Hyperparameters):
    """A base of all models: predicting by the layer that ``fit`` sets, saving, scikit-learn's tags.

    A subclass has the hyper-parameters ``device`` and ``seed``, and ``fit`` sets the attributes.

    Attributes:
        layer_: what predicts, its preprocessing first; in ``eval()`` once something was predicted.
        history_: one dict per epoch.
        n_parameters_: how many numbers fitting changed.
        device_: where it was fitted.
        n_features_in_, feature_names_in_: as in scikit-learn, where the input was a table.
    """

    task: ClassVar[str] = ""  # one of flagstone.plugins.specs.TASKS
    predicts_in: ClassVar[str] = "float64"  # models of tables; an image model says float32
    takes_images_only: ClassVar[bool] = False

    device: str
    seed: int
    layer_: Layer
    history_: list[dict[str, Any]]
    n_parameters_: int
    device_: str
    _inputs: Spec
    _outputs: Spec

    def _assemble(self, backend: Backend) -> Layer:
        """The layer for what was fitted, with parameters of any value: :func:`load` sets them."""
        raise NotImplementedError(f"{type(self).__name__} defines no _assemble")

    # Predicting

    def _outputs_of(self, X: Any) -> Any:
        """What the layer gives for ``X``, as float64 (n, outputs)."""
        check.require_fitted(self)
        X = check.prediction_data(self, X)
        if self._inputs.is_image and X.ndim == 2 and X.shape[1] == self._inputs.size:
            X = X.reshape(-1, *self._inputs.shape)
        self._require_inputs(X)
        return self._forward(X)

    def _require_inputs(self, X: Any) -> None:
        if X.shape[1:] != self._inputs.shape:
            raise ShapeError(
                f"X: expected examples of shape {self._inputs.shape}, as in fit; got {X.shape[1:]}"
            )

    def _forward(self, X: Any) -> Any:
        layer = folded(self.layer_)
        dtype = self.predicts_in
        if layer.dtype_name != dtype:
            layer = layer.with_dtype(dtype)
        backend = layer.backend
        layer.eval()  # and it stays so: another thread may predict with it until later than this
        forward: Callable[[Tensor], Tensor] = layer
        captured = len(X) >= WORTH_CAPTURING * PREDICTION_BATCH
        if captured:
            forward = capture(layer.__call__, device=backend)
        with no_grad(), np.errstate(over="ignore", invalid="ignore"):
            outs = []
            for start in range(0, len(X), PREDICTION_BATCH):
                batch = np.ascontiguousarray(X[start : start + PREDICTION_BATCH], dtype)
                if captured:
                    batch = _filled_up(batch)
                out = forward(Tensor(backend.asarray(batch), backend))
                outs.append(ops.astype(out, dtype))
            parts = [np.asarray(out.numpy(), np.float64) for out in outs]  # at the end only
        return np.concatenate(parts)[: len(X)]

    # Saving

    def save(self, path: Any, extra: Mapping[str, Any] | None = None) -> None:
        """Write the fitted model to one ``.safetensors`` file; :func:`flagstone.load` reads it.

        Args:
            path: where; an existing file is replaced in one step.
            extra: what else to keep in the file's metadata; JSON must be able to hold it.
        """
        from flagstone.estimator.persistence import save

        save(self, path, extra or {})

    # scikit-learn

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "layer_")

    def __sklearn_tags__(self) -> Any:
        from flagstone.estimator.sklearn_tags import tags_of

        return tags_of(self)


def _filled_up(batch: Any) -> Any:
    """A last batch as long as the others, so that what was captured for them serves it too; its
    last example stands for those that are missing."""
    missing = PREDICTION_BATCH - len(batch)
    return np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)]) if missing else batch
