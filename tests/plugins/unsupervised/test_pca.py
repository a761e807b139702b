"""Principal components against NumPy's singular values and scikit-learn's PCA."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone.errors import FlagstoneError, NotFittedError, ShapeError

RNG = np.random.default_rng(0)
X = RNG.standard_normal((150, 6)) @ RNG.standard_normal((6, 6)) * [1, 2, 3, 4, 5, 6] + 50.0


@pytest.mark.parametrize("solver", ["full", "covariance_eigh", "auto"])
def test_numpys_singular_values(solver: str) -> None:
    model = fs.model("pca", svd_solver=solver).fit(X)
    _, s, vectors = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
    signs = np.sign(vectors[np.arange(6), np.abs(vectors).argmax(axis=1)])
    np.testing.assert_allclose(model.singular_values_, s, rtol=1e-9)
    np.testing.assert_allclose(model.components_, vectors * signs[:, None], atol=1e-9)
    np.testing.assert_allclose(model.explained_variance_, s**2 / 149, rtol=1e-9)
    np.testing.assert_allclose(model.explained_variance_ratio_.sum(), 1.0)
    np.testing.assert_allclose(model.transform(X), (X - X.mean(axis=0)) @ model.components_.T)


@pytest.mark.parametrize("n", [None, 1, 4, 0.5, 0.99])
@pytest.mark.parametrize("whiten", [False, True])
def test_scikit_learns(n: Any, whiten: bool) -> None:
    decomposition = pytest.importorskip("sklearn.decomposition", reason="no scikit-learn")
    theirs = decomposition.PCA(n, whiten=whiten, svd_solver="full").fit(X)
    ours = fs.model("pca", n_components=n, whiten=whiten).fit(X)
    assert ours.n_components_ == theirs.n_components_
    for name in ("components_", "explained_variance_ratio_", "singular_values_", "mean_"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), atol=1e-8)
    assert ours.noise_variance_ == pytest.approx(theirs.noise_variance_)
    at = X[:40] + 0.5  # whitening changes no likelihood, though it does scikit-learn's covariance
    plain = decomposition.PCA(n, svd_solver="full").fit(X)
    np.testing.assert_allclose(ours.score_samples(at), plain.score_samples(at), rtol=1e-8)
    assert ours.score(at) == pytest.approx(plain.score(at))
    z = ours.transform(X)
    np.testing.assert_allclose(z, theirs.transform(X), atol=1e-8)
    np.testing.assert_allclose(ours.inverse_transform(z), theirs.inverse_transform(z), atol=1e-8)
    np.testing.assert_array_equal(ours.fit_transform(X), z)
    if whiten:
        np.testing.assert_allclose(np.cov(z.T), np.eye(ours.n_components_), atol=1e-8)


def test_more_features_than_examples_and_columns_that_say_nothing() -> None:
    wide = np.column_stack([X[:4], X[:4], np.ones(4)])
    model = fs.model("pca").fit(wide)
    assert model.components_.shape == (4, 13)
    np.testing.assert_allclose(model.inverse_transform(model.transform(wide)), wide, atol=1e-9)
    assert model.evaluate(wide)["mse"] == pytest.approx(0, abs=1e-18)


def test_a_likelihood_needs_variance_in_every_direction() -> None:
    few = fs.model("pca").fit(X[:4])
    with pytest.raises(
        FlagstoneError, match=r"PCA: score expected some variance in every dir.*; g"
    ):
        few.score(X)


def test_what_is_lost_is_told() -> None:
    model = fs.model("pca", n_components=2).fit(X, validation_data=(X[:50], None))
    kept = model.explained_variance_ratio_.sum()
    told = model.evaluate(X)
    assert told["explained_variance_ratio"] == pytest.approx(kept)
    restored = model.inverse_transform(model.transform(X))
    assert told["mse"] == pytest.approx(np.mean((restored - X) ** 2))
    assert model.history_[0]["train"] == told
    assert model.history_[0]["validation"] == model.evaluate(X[:50])


def test_outputs_have_scikit_learns_names() -> None:
    decomposition = pytest.importorskip("sklearn.decomposition", reason="no scikit-learn")
    from sklearn.cluster import KMeans
    from sklearn.compose import make_column_transformer

    for ours, theirs in (
        (fs.model("pca", n_components=3), decomposition.PCA(3)),
        (fs.model("kmeans", n_clusters=2), KMeans(2)),
    ):
        with pytest.raises(NotFittedError):
            ours.get_feature_names_out()
        names = theirs.fit(X).get_feature_names_out()
        np.testing.assert_array_equal(ours.fit(X).get_feature_names_out(), names)
        columns = make_column_transformer((ours, [0, 1, 2]), ("passthrough", [3])).fit(X)
        kind = type(ours).__name__.lower()
        assert columns.get_feature_names_out()[0] == f"{kind}__{kind}0"


def test_images_and_files(tmp_path: Any) -> None:
    images = X[:, :4].reshape(150, 2, 2)
    model = fs.model("pca", n_components=3).fit(images)
    model.save(tmp_path / "m.safetensors")
    loaded: Any = fs.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(loaded.transform(images), model.transform(images))
    z = model.transform(images)
    np.testing.assert_array_equal(loaded.inverse_transform(z), model.inverse_transform(z))
    assert model.inverse_transform(z).shape == (150, 2, 2, 1)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_components": 0}, "n_components expected a positive integer, a fraction in (0, 1) or"),
        ({"n_components": 1.5}, "n_components expected a positive integer, a fraction in (0, 1)"),
        ({"n_components": 7}, "n_components expected at most 6, the fewer of examples and feat"),
        ({"svd_solver": "arpack"}, "svd_solver expected"),
        ({"whiten": 1}, "whiten expected bool; got 1"),
    ],
)
def test_a_wrong_hyperparameter_is_named(params: dict[str, Any], message: str) -> None:
    with pytest.raises(FlagstoneError, match=re.escape(message)):
        fs.model("pca", **params).fit(X)


def test_what_cannot_be_used_is_refused() -> None:
    with pytest.raises(FlagstoneError, match="at least two examples; got n_samples=1"):
        fs.model("pca").fit(X[:1])
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        fs.model("pca").inverse_transform(X)
    with pytest.raises(ShapeError, match=r"X: expected shape \(n, 2\), a column per component"):
        fs.model("pca", n_components=2).fit(X).inverse_transform(X)
