"""Principal component analysis."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

import flagstone as fs
from flagstone import nn, ops
from flagstone.backend import Backend, open_backend
from flagstone.errors import InputError, ShapeError
from flagstone.estimator import Unsupervised
from flagstone.training import Callback, Rounds

MOST_FEATURES = 1000  # for which the covariance's eigenvectors are taken, as scikit-learn does


@dataclass(kw_only=True, eq=False, repr=False)
class PCA(Unsupervised):
    """Principal components: the directions of largest variance, and the data along them.

    A component's entry of largest magnitude is positive, so that signs are settled.

    Attributes:
        n_components: how many; a fraction in (0, 1) for as many as explain that part of the
            variance; ``None`` for all, which are the fewer of examples and features.
        whiten: divide each component's values by their deviation.
        svd_solver: ``"full"``: the singular values of the centred data; ``"covariance_eigh"``: the
            eigenvectors of their covariance, faster where examples are many and half the digits in
            components of little variance; ``"auto"``: the second for at most 1000 features and ten
            times as many examples.

    After ``fit``:

    Attributes:
        components_: (components, features), rows of length 1 by falling variance.
        explained_variance_, explained_variance_ratio_: (components,), and as parts of the whole.
        singular_values_: (components,), of the centred data.
        mean_: (features,).
        noise_variance_: the mean variance of the components that were left out, 0 of none.
        n_components_, n_samples_: how many there are.
    """

    n_components: int | float | None = None
    whiten: bool = False
    svd_solver: Literal["auto", "full", "covariance_eigh"] = "auto"

    task = "transform"

    def check_hyperparameters(self) -> None:
        super().check_hyperparameters()
        n = self.n_components
        whole = isinstance(n, numbers.Integral)
        self._require(
            "n_components", n is None or (n >= 1 if whole else 0 < n < 1),
            "a positive integer, a fraction in (0, 1) or None",
        )  # fmt: skip

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        validation_data: tuple[Any, Any] | None = None,
        callbacks: Sequence[Callback] = (),
        resume_from: tuple[Mapping[str, Any], Mapping[str, Any]] | None = None,
    ) -> Any:
        """Find the components of ``X`` (n, features), or of images, whose pixels are features.

        Args:
            X: the examples.
            y: passed over.
            validation_data: examples, and anything, that are evaluated.
            callbacks: what looks on; there is one epoch.
            resume_from: passed over: there is nothing between the beginning and the end.
        """
        rows = self._rows(X)
        n, features = rows.shape
        if n < 2:
            raise InputError(f"PCA: X expected at least two examples; got n_samples={n}")
        wanted = self.n_components
        if isinstance(wanted, numbers.Integral) and wanted > min(n, features):
            raise InputError(
                f"PCA: n_components expected at most {min(n, features)}, the fewer of examples and "
                f"features; got {wanted}"
            )
        backend = open_backend(self.device)
        self.mean_ = rows.mean(axis=0)
        self.n_samples_ = n
        centred = fs.tensor(rows - self.mean_, device=str(backend.device))
        variance, components = self._all_components(centred, backend)
        signs = np.sign(components[np.arange(len(components)), np.abs(components).argmax(axis=1)])
        k = self._count(variance)
        self.n_components_ = k
        self.components_ = np.ascontiguousarray((components * signs[:, None])[:k])
        self.explained_variance_ = variance[:k]
        self.noise_variance_ = float(variance[k:].mean()) if k < len(variance) else 0.0
        total = variance.sum()
        self.explained_variance_ratio_ = variance[:k] / total if total > 0 else np.zeros(k)
        self.singular_values_ = np.sqrt(variance[:k] * (n - 1))
        self._outputs = fs.Spec((k,))
        layer = self._assemble(backend)
        along = self.components_ / self._deviations()[:, None]
        layer.load_state_dict(
            {"1.mean": self.mean_, "1.inverse_scale": np.ones(features), "2.weight": along}
        )
        self.layer_, self.device_ = layer, str(backend.device)
        self.n_parameters_ = layer.count_parameters()
        rounds = Rounds(
            layer, 1, self._listeners(callbacks), lambda: (layer.state_dict(), {"epoch": 1})
        )

        def evaluated() -> dict[str, Any]:
            out = {"train": self.evaluate(X)}
            return out if validation_data is None else {
                **out, "validation": self.evaluate(validation_data[0]),
            }  # fmt: skip

        rounds.run(evaluated)
        self.history_ = rounds.history
        return self

    def inverse_transform(self, X: Any) -> Any:
        """Examples of the shape in ``fit`` from their components' values (n, components)."""
        fitted = self._fitted_components()
        X = np.asarray(X, np.float64)
        if X.ndim != 2 or X.shape[1] != len(fitted):
            raise ShapeError(
                f"X: expected shape (n, {len(fitted)}), a column per component; got {X.shape}"
            )
        rows = (X * self._deviations()) @ fitted + self.mean_
        return rows.reshape(len(X), *self._inputs.shape)

    def evaluate(self, X: Any, y: Any = None) -> dict[str, float]:
        """``{"mse", "explained_variance_ratio"}``: the mean squared error of the examples restored
        from their components, and what part of their variance about the mean is kept."""
        rows = self._known_rows(X)
        error = float(
            np.mean((self._as_rows(self.inverse_transform(self.transform(X))) - rows) ** 2)
        )
        whole = float(np.mean((rows - self.mean_) ** 2))
        return {"mse": error, "explained_variance_ratio": 1.0 - error / whole if whole else 1.0}

    def score(self, X: Any, y: Any = None) -> float:
        """The mean log-likelihood of the examples; see :meth:`score_samples`."""
        return float(self.score_samples(X).mean())

    def score_samples(self, X: Any) -> Any:
        """The log-likelihood of each example (n,), if values were normally distributed: of the
        components' variances along them, and of :attr:`noise_variance_` in every other direction
        (Tipping & Bishop, 1999; as in scikit-learn).

        Raises:
            InputError: the components are fewer than the features and leave no variance, so that
                any other example would be impossible.
        """
        rows = self._known_rows(X) - self.mean_
        features, kept = rows.shape[1], self.n_components_
        noise, variance = self.noise_variance_, self.explained_variance_
        if not variance.all() or (kept < features and not noise):
            raise InputError(
                "PCA: score expected some variance in every direction; got "
                f"{int((variance > 0).sum())} directions with variance of {features}. "
                "Choose fewer n_components, or fit more examples"
            )
        along = rows @ self.components_.T
        squares = (along**2 / variance).sum(axis=1)
        logs = np.log(variance).sum() + features * math.log(2 * math.pi)
        if kept < features:
            rest = (rows**2).sum(axis=1) - (along**2).sum(axis=1)
            squares = squares + np.maximum(rest, 0.0) / noise
            logs += (features - kept) * math.log(noise)
        return -0.5 * (squares + logs)

    def _fitted_components(self) -> Any:
        self._require_fitted()
        return self.components_

    def _deviations(self) -> Any:
        """What the values are divided by."""
        if not self.whiten:
            return np.ones(self.n_components_)
        tiny = np.finfo(np.float64).eps  # of a direction without variance, as in scikit-learn
        return np.maximum(np.sqrt(self.explained_variance_), tiny)

    def _all_components(self, centred: fs.Tensor, backend: Backend) -> tuple[Any, Any]:
        """Variances, falling, and components (min(n, features), features)."""
        n, features = centred.shape
        by_covariance = self.svd_solver == "covariance_eigh" or (
            self.svd_solver == "auto" and features <= MOST_FEATURES and n >= 10 * features
        )
        if by_covariance:
            covariance = ops.linear_weight_grad(centred, centred).numpy() / (n - 1)
            variance, vectors = np.linalg.eigh(covariance)
            keep = slice(None, -min(n, features) - 1, -1)
            return np.maximum(variance[keep], 0.0), vectors.T[keep]
        # The array API's extension linalg: NumPy, CuPy and others have it; it needs no gradient.
        _, s, vectors = backend.xp.linalg.svd(centred.array, full_matrices=False)
        values = np.asarray(backend.to_numpy(s), np.float64)
        return values * values / (n - 1), np.asarray(backend.to_numpy(vectors))

    def _count(self, variance: Any) -> int:
        n = self.n_components
        if n is None:
            return len(variance)
        if isinstance(n, numbers.Integral):
            return int(n)
        kept = np.cumsum(variance) / variance.sum()
        return min(int(np.searchsorted(kept, n, side="right")) + 1, len(variance))

    def _assemble(self, backend: Backend) -> nn.Layer:
        features = self._inputs.size
        return nn.Sequential(
            nn.Flatten(),
            nn.Standardize((features,)),
            nn.Linear(features, self._outputs.size, bias=False, init="zeros"),
        ).initialize(self.seed, device=str(backend.device), dtype="float64")
