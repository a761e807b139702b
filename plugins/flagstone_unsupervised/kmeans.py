"""k-means clustering."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import flagstone as fs
from flagstone import nn, ops, random
from flagstone.backend import Backend, open_backend
from flagstone.errors import ConfigurationError, InputError
from flagstone.estimator import Unsupervised
from flagstone.training import Callback, Rounds

INITS = ("k-means++", "random")
Array = Any


class Distances(nn.Layer):
    """Euclidean distances to points.

    Args:
        n, features: how many points, and of how many numbers.

    Shapes: (rows, features) -> (rows, n).
    """

    def __init__(self, n: int, features: int) -> None:
        self.centers = nn.Parameter((n, features), nn.init.zeros)

    def forward(self, x: fs.Tensor) -> fs.Tensor:
        """Through squares, which cancel less where the points' mean is the origin."""
        middle = ops.mean(self.centers, axis=0)
        x, c = x - middle, self.centers - middle
        squares = ops.sum(x * x, axis=1, keepdims=True) - ops.linear(
            x, c * 2.0, -ops.sum(c * c, axis=1)
        )
        out: fs.Tensor = ops.sqrt(ops.maximum(squares, 0.0))
        return out


@dataclass(kw_only=True, eq=False, repr=False)
class KMeans(Unsupervised):
    """k-means: centres such that the squared distances of the examples to the nearest one add up to
    as little as Lloyd's iterations find ("Least squares quantization in PCM", 1982).

    A centre that has lost all examples is moved to the one farthest from its own, as in
    scikit-learn.

    Attributes:
        n_clusters: how many centres.
        init: ``"k-means++"``: examples drawn with probabilities that grow with the squared distance
            to the centres so far, each time the best of a few (Arthur & Vassilvitskii, SODA 2007);
            ``"random"``: any examples. In Python, also centres (n_clusters, features).
        n_init: how many starts; the best end is kept.
        max_iter: iterations from one start, at most.
        tol: end where the centres move by less in sum of squares, in units of the features' mean
            variance.

    After ``fit``:

    Attributes:
        cluster_centers_: (n_clusters, features).
        labels_: (n,) the nearest centre of each example.
        inertia_: the (weighted) sum of squared distances to it.
        n_iter_: iterations from the best start.
        history_: one dict per iteration of each start in turn, with the ``inertia`` before it; of
            several starts, with their number as ``run``.
    """

    n_clusters: int = 8
    init: Any = "k-means++"
    n_init: int = 1
    max_iter: int = 300
    tol: float = 1e-4

    task = "clustering"

    def check_hyperparameters(self) -> None:
        super().check_hyperparameters()
        for name in ("n_clusters", "n_init", "max_iter"):
            self._require(name, getattr(self, name) >= 1, "a positive integer")
        self._require("tol", 0 <= self.tol < math.inf, "a finite number >= 0")
        if isinstance(self.init, str):
            self._require("init", self.init in INITS, "'k-means++', 'random' or centres")
        elif self.n_init != 1:
            raise ConfigurationError(
                f"KMeans: n_init expected 1 where init says the centres; got {self.n_init}"
            )

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        validation_data: tuple[Any, Any] | None = None,
        callbacks: Sequence[Callback] = (),
        resume_from: tuple[Mapping[str, Any], Mapping[str, Any]] | None = None,
    ) -> Any:
        """Cluster ``X`` (n, features), or images, whose pixels are features.

        Args:
            X: the examples.
            y: passed over.
            sample_weight: (n,) how much each example counts.
            validation_data: examples, and anything, that are evaluated at the end of each start.
            callbacks: what looks on; an iteration is an epoch.
            resume_from: a state to go on from.
        """
        rows = self._rows(X)
        weight = self._weights(sample_weight, len(rows))
        if len(rows) < self.n_clusters:
            raise InputError(
                f"KMeans: X expected at least as many examples as clusters, {self.n_clusters}; "
                f"got n_samples={len(rows)}"
            )
        self._outputs = fs.Spec((self.n_clusters,))
        backend = open_backend(self.device)
        layer = self._assemble(backend)
        lloyd = _Lloyd(self, rows, weight, backend)
        rounds = Rounds(layer, self.max_iter * self.n_init, self._listeners(callbacks), lloyd.state)
        lloyd.rounds = rounds
        if resume_from is not None:
            self._require_identity(resume_from[1], len(rows))
            lloyd.restore(*resume_from)
        held_out = None if validation_data is None else validation_data[0]

        def step() -> dict[str, Any]:
            ended = lloyd.iterate()
            metrics: dict[str, Any] = {"train": {"inertia": lloyd.inertia}}
            if self.n_init > 1:
                metrics["run"] = lloyd.run + (0 if ended else 1)
            if ended:
                layer.load_state_dict({"1.centers": lloyd.best + lloyd.mean})
                self.layer_ = layer
                if held_out is not None:
                    metrics["validation"] = self.evaluate(held_out)
            return metrics

        rounds.run(step)
        if lloyd.best is None:  # a callback stopped the first start
            lloyd.end()
        layer.load_state_dict({"1.centers": lloyd.best + lloyd.mean})
        self.layer_, self.device_ = layer, str(backend.device)
        self.n_parameters_ = layer.count_parameters()
        self.labels_ = self.predict(X)
        share = np.ones(len(rows)) if sample_weight is None else np.asarray(sample_weight, float)
        self.inertia_ = float(share @ _squares(rows, self.cluster_centers_, self.labels_))
        self.n_iter_ = lloyd.best_iterations
        self.history_ = rounds.history
        return self

    @property
    def cluster_centers_(self) -> Array:
        self._require_fitted()
        return self.layer_.state_dict()["1.centers"]

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> Array:
        """``fit`` and the number of each example's cluster."""
        return self.fit(X, y, sample_weight).labels_

    def predict(self, X: Any) -> Array:
        """The number of the nearest centre of each example: (n,) int64."""
        return self._outputs_of(X).argmin(axis=1).astype(np.int64)

    def score(self, X: Any, y: Any = None) -> float:
        """Minus the inertia on ``X``."""
        return -self.evaluate(X)["inertia"]

    def evaluate(self, X: Any, y: Any = None) -> dict[str, float]:
        """``{"inertia"}``: the sum of squared distances to the nearest centre."""
        rows = self._known_rows(X)
        return {"inertia": float(_squares(rows, self.cluster_centers_, self.predict(X)).sum())}

    def _assemble(self, backend: Backend) -> nn.Layer:
        layer = nn.Sequential(nn.Flatten(), Distances(self._outputs.size, self._inputs.size))
        return layer.initialize(self.seed, device=str(backend.device), dtype="float64")


class _Lloyd:
    """The iterations from every start, on a device; positions are about the data's mean."""

    rounds: Rounds

    def __init__(self, model: KMeans, rows: Array, weight: Array | None, backend: Backend) -> None:
        self.model, self.backend = model, backend
        self.mean = rows.mean(axis=0)
        self.host = rows - self.mean
        self.weight = np.ones(len(rows)) if weight is None else weight
        self.x = self._on_device(self.host)
        self.w = self._on_device(self.weight[:, None])
        self.squares = ops.sum(self.x * self.x, axis=1)
        self.numbers = self._on_device(np.arange(model.n_clusters)[None, :])
        self.tolerance = model.tol * float(self.host.var(axis=0).mean())
        self.run, self.iteration, self.inertia = 0, 0, math.inf
        self.centers: Array = None
        self.labels: fs.Tensor | None = None
        self.best: Array = None
        self.best_inertia, self.best_iterations = math.inf, 0

    def iterate(self) -> bool:
        """One iteration; whether it was the start's last, after which the next one begins."""
        model = self.model
        if self.centers is None:
            self.centers = self._start()
        labels, near = self._assign(self.centers)
        moved = self._means(labels, near)
        settled = self.labels is not None and bool(ops.min(_same(labels, self.labels)).item())
        shift = float(((moved - self.centers) ** 2).sum())
        self.inertia = float(ops.sum(near * self.w[:, 0]).item())
        self.centers, self.labels = moved, labels
        self.iteration += 1
        if not (settled or shift <= self.tolerance or self.iteration >= model.max_iter):
            return False
        self.end()
        return True

    def end(self) -> None:
        """Keep a start's end if it is the best, and go to the next."""
        _, near = self._assign(self.centers)
        self.inertia = float(ops.sum(near * self.w[:, 0]).item())
        if self.inertia < self.best_inertia:
            self.best, self.best_inertia = self.centers, self.inertia
            self.best_iterations = self.iteration
        self.rounds.epochs -= self.model.max_iter - self.iteration
        self.run, self.iteration, self.centers, self.labels = self.run + 1, 0, None, None
        self.rounds.stop = self.rounds.stop or self.run == self.model.n_init

    def _assign(self, centers: Array) -> tuple[fs.Tensor, fs.Tensor]:
        """The nearest centre of each example, and the squared distance to it."""
        c = self._on_device(centers)
        nearness = ops.linear(self.x, c * 2.0, -ops.sum(c * c, axis=1))
        near = ops.maximum(self.squares - ops.max(nearness, axis=1), 0.0)
        return ops.argmax(nearness, axis=1), near

    def _means(self, labels: fs.Tensor, near: fs.Tensor) -> Array:
        belongs = ops.astype(ops.equal(ops.reshape(labels, (-1, 1)), self.numbers), dtype="float64")
        belongs = belongs * self.w
        sums = np.array(ops.linear_weight_grad(belongs, self.x).numpy())
        counts = np.array(ops.sum(belongs, axis=0).numpy())
        empty = np.flatnonzero(counts == 0)
        if len(empty):
            self._move_to_the_farthest(empty, sums, counts, labels.numpy(), near.numpy())
        return sums / np.where(counts > 0, counts, 1.0)[:, None]

    def _move_to_the_farthest(
        self, empty: Array, sums: Array, counts: Array, labels: Array, near: Array
    ) -> None:
        farthest = np.argsort(-near, kind="stable")[: len(empty)]
        for new, row in zip(empty, farthest, strict=True):
            part = self.host[row] * self.weight[row]
            sums[labels[row]] -= part
            counts[labels[row]] -= self.weight[row]
            sums[new], counts[new] = part, self.weight[row]

    def _start(self) -> Array:
        model, k = self.model, self.model.n_clusters
        if not isinstance(model.init, str):
            given = np.asarray(model.init, np.float64)
            if given.shape != (k, self.host.shape[1]):
                raise ConfigurationError(
                    f"KMeans: init expected centres of shape {(k, self.host.shape[1])}; "
                    f"got {given.shape}"
                )
            return given - self.mean
        if model.init == "random":
            blocks = -(-len(self.host) // 4)
            words = random.bits(random.key(model.seed, "kmeans"), (0, self.run), 0, blocks)
            order = random.permutation(words[: len(self.host)])
            return self.host[order[np.argsort(self.weight[order] == 0, kind="stable")][:k]]
        return self._plus_plus(k)

    def _plus_plus(self, k: int) -> Array:
        chosen = [int(self._draw(self.weight, 0, 1)[0])]
        closest = self._squares_to(chosen)[:, 0]
        trials = 2 + int(math.log(k))
        for i in range(1, k):
            candidates = self._draw(self.weight * closest, i, trials)
            each = np.minimum(closest[:, None], self._squares_to(candidates))
            best = int((self.weight @ each).argmin())
            chosen.append(int(candidates[best]))
            closest = each[:, best]
        return self.host[chosen]

    def _draw(self, mass: Array, step: int, n: int) -> Array:
        """n examples' numbers, drawn in proportion to ``mass``."""
        words = random.bits(random.key(self.model.seed, "kmeans"), (step, self.run), 0, -(-n // 4))
        u = (words[:n] >> np.uint64(11)).astype(np.float64) * 2.0**-53
        total = np.cumsum(mass)
        return np.minimum(np.searchsorted(total, u * total[-1], side="right"), len(mass) - 1)

    def _squares_to(self, numbers: Sequence[int]) -> Array:
        """Squared distances of all examples to some, (n, some)."""
        c = self._on_device(self.host[np.asarray(numbers)])
        nearness = ops.linear(self.x, c * 2.0, -ops.sum(c * c, axis=1))
        return np.maximum(self.squares.numpy()[:, None] - nearness.numpy(), 0.0)

    def state(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """The centres, the examples' labels, and the best start so far."""
        arrays: dict[str, Array] = {"best": self.best, "centers": self.centers}
        arrays["labels"] = None if self.labels is None else np.array(self.labels.numpy())
        metadata = {
            **self.model._identity(len(self.host)),
            "run": self.run, "iteration": self.iteration, "epoch": self.rounds.epoch,
            "epochs": self.rounds.epochs, "history": list(self.rounds.history),
            "best_inertia": self.best_inertia if self.best is not None else None,
            "best_iterations": self.best_iterations, "inertia": self.inertia,
        }  # fmt: skip
        return {name: np.array(a) for name, a in arrays.items() if a is not None}, metadata

    def restore(self, arrays: Mapping[str, Array], metadata: Mapping[str, Any]) -> None:
        """Go on from a :meth:`state`."""
        self.best, self.centers = arrays.get("best"), arrays.get("centers")
        self.labels = self._on_device(arrays["labels"]) if "labels" in arrays else None
        self.run, self.iteration = int(metadata["run"]), int(metadata["iteration"])
        self.best_iterations, self.inertia = metadata["best_iterations"], metadata["inertia"]
        self.best_inertia = math.inf if self.best is None else float(metadata["best_inertia"])
        self.rounds.restore(metadata["history"])
        self.rounds.epochs = int(metadata["epochs"])
        self.rounds.stop = self.run == self.model.n_init

    def _on_device(self, a: Array) -> fs.Tensor:
        return fs.tensor(np.ascontiguousarray(a), device=str(self.backend.device))


def _same(a: fs.Tensor, b: fs.Tensor | None) -> fs.Tensor:
    out: fs.Tensor = ops.astype(ops.equal(a, b), dtype="float64")
    return out


def _squares(rows: Array, centers: Array, labels: Array) -> Array:
    """The squared distance of each row to its centre."""
    difference = rows - centers[labels]
    return np.einsum("ij,ij->i", difference, difference)
