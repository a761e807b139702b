"""k-means against scikit-learn's from the same start, and against facts of the algorithm."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone.errors import FlagstoneError, NotFittedError, RunError
from flagstone.training import Callback

RNG = np.random.default_rng(0)
X = RNG.standard_normal((240, 3)) + 6.0 * RNG.integers(0, 3, (240, 3)) + 1e3
START = X[RNG.permutation(240)[:6]]


def squares(centers: np.ndarray, x: np.ndarray = X) -> np.ndarray:
    return ((x[:, None] - centers[None]) ** 2).sum(axis=2)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("tol", [1e-4, 0.0])
def test_scikit_learns_iterations(weighted: bool, tol: float) -> None:
    cluster = pytest.importorskip("sklearn.cluster", reason="no scikit-learn")
    weight = RNG.random(240) if weighted else None
    theirs = cluster.KMeans(6, init=START, n_init=1, tol=tol).fit(X, sample_weight=weight)
    ours = fs.model("kmeans", n_clusters=6, init=START, tol=tol).fit(X, sample_weight=weight)
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, rtol=1e-12)
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)
    assert (ours.n_iter_, len(ours.history_)) == (theirs.n_iter_, theirs.n_iter_)
    assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=1e-9)
    np.testing.assert_allclose(ours.transform(X), theirs.transform(X), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(ours.predict(X[::-1]), theirs.predict(X[::-1]))


def test_an_end_is_a_fixed_point_and_inertia_falls() -> None:
    model = fs.model("kmeans", n_clusters=5, tol=0.0, seed=3).fit(X)
    labels = squares(model.cluster_centers_).argmin(axis=1)
    np.testing.assert_array_equal(model.labels_, labels)
    for k in range(5):
        np.testing.assert_allclose(model.cluster_centers_[k], X[labels == k].mean(axis=0))
    assert model.inertia_ == pytest.approx(squares(model.cluster_centers_).min(axis=1).sum())
    assert (np.diff([row["train"]["inertia"] for row in model.history_]) <= 1e-6).all()
    assert model.evaluate(X)["inertia"] == pytest.approx(model.inertia_)
    assert model.score(X) == pytest.approx(-model.inertia_)
    np.testing.assert_array_equal(model.fit_predict(X), model.labels_)


def test_more_starts_are_no_worse_and_the_best_is_kept() -> None:
    one = [fs.model("kmeans", n_clusters=9, seed=s).fit(X).inertia_ for s in range(4)]
    many = fs.model("kmeans", n_clusters=9, n_init=6, seed=0).fit(X)
    assert many.inertia_ <= one[0] * (1 + 1e-12)
    assert len(set(np.round(one, 6))) > 1  # seeds matter
    assert sorted({row["run"] for row in many.history_}) == [1, 2, 3, 4, 5, 6]
    ends = {row["run"]: row["train"]["inertia"] for row in many.history_}
    assert many.inertia_ == pytest.approx(min(ends.values()))


def test_plus_plus_spreads_the_starts() -> None:
    """Of three far clouds each gets a centre, which random starts often miss."""
    clouds = np.repeat(np.eye(3) * 100, 30, axis=0) + RNG.standard_normal((90, 3))
    for seed in range(20):
        model = fs.model("kmeans", n_clusters=3, max_iter=1, seed=seed).fit(clouds)
        assert len(set(model.labels_[::30])) == 3
    ends = [
        fs.model("kmeans", n_clusters=3, max_iter=1, init="random", seed=s).fit(clouds).inertia_
        for s in range(20)
    ]
    assert max(ends) > 10 * min(ends)


def test_a_centre_without_examples_moves() -> None:
    cluster = pytest.importorskip("sklearn.cluster", reason="no scikit-learn")
    far = np.vstack([START[:5], [[1e6, 1e6, 1e6]]])
    theirs = cluster.KMeans(6, init=far, n_init=1).fit(X)
    ours = fs.model("kmeans", n_clusters=6, init=far).fit(X)
    assert len(set(ours.labels_)) == 6
    assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=1e-9)


class Keep(Callback):
    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_epoch_end(self, trainer: Any, epoch: int, metrics: Any) -> None:
        if epoch == self.epoch:
            self.state = trainer.state()


@pytest.mark.parametrize("epoch", [1, 3, 7])
def test_a_resumed_fit_ends_as_one_that_went_through(epoch: int) -> None:
    params = {"n_clusters": 7, "n_init": 3, "seed": 1}
    kept = Keep(epoch)
    whole = fs.model("kmeans", **params).fit(X, callbacks=[kept])
    resumed = fs.model("kmeans", **params).fit(X, resume_from=kept.state)
    np.testing.assert_array_equal(resumed.cluster_centers_, whole.cluster_centers_)
    assert resumed.n_iter_ == whole.n_iter_
    assert [r["train"] for r in resumed.history_] == [r["train"] for r in whole.history_]
    with pytest.raises(RunError, match="the checkpoint was made with seed 1; this run has 2"):
        fs.model("kmeans", n_clusters=7, n_init=3, seed=2).fit(X, resume_from=kept.state)


def test_save_and_load_and_images(tmp_path: Any) -> None:
    images = X[:, :2].reshape(120, 2, 2)
    model = fs.model("kmeans", n_clusters=3, init=[tuple(r) for r in X[:3, [0, 1, 0, 1]]])
    model.fit(images)
    model.save(tmp_path / "m.safetensors")
    loaded: Any = fs.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(loaded.predict(images), model.labels_)
    np.testing.assert_array_equal(loaded.cluster_centers_, model.cluster_centers_)
    assert (loaded.inertia_, loaded.n_iter_) == (model.inertia_, model.n_iter_)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_clusters": 0}, "n_clusters expected a positive integer; got 0"),
        ({"n_clusters": 241}, "at least as many examples as clusters, 241; got n_samples=240"),
        ({"n_init": 0}, "n_init expected a positive integer; got 0"),
        ({"max_iter": 0}, "max_iter expected a positive integer; got 0"),
        ({"tol": -1.0}, "tol expected a finite number >= 0; got -1.0"),
        ({"init": "k-mean"}, "init expected 'k-means++', 'random' or centres; got 'k-mean'"),
        ({"init": START, "n_clusters": 5}, "init expected centres of shape (5, 3); got (6, 3)"),
        ({"init": START, "n_clusters": 6, "n_init": 2}, "n_init expected 1 where init says"),
        ({"seed": -1}, "seed expected an integer in [0, 2**64); got -1"),
    ],
)
def test_a_wrong_hyperparameter_is_named(params: dict[str, Any], message: str) -> None:
    model = fs.model("kmeans", **params)
    with pytest.raises(FlagstoneError, match=re.escape(message)):
        model.fit(X)
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        model.predict(X)
