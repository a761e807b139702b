"""How often each augmentation does what, and the distribution of shares."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flagstone import augment
from flagstone.augment.beta import quantiles
from flagstone.backend import open_backend
from flagstone.tensors import Tensor

N = 20_000


def run(text: str, x: np.ndarray, seed: int = 0) -> Any:
    cpu = open_backend("cpu")
    counter = Tensor(np.array([3, 1], np.uint64), cpu)
    return augment.Chain(augment.parse(text), seed, cpu)(Tensor(x, cpu), counter)


def as_often(counts: np.ndarray) -> None:
    """Chi-squared of equal probabilities, five deviations above its mean at most."""
    expected = counts.sum() / counts.size
    statistic = float(((counts - expected) ** 2 / expected).sum())
    freedom = counts.size - 1
    assert statistic < freedom + 5 * np.sqrt(2 * freedom)


@pytest.mark.parametrize("p", [0.0, 0.25, 0.5, 1.0])
def test_flips(p: float) -> None:
    x = np.zeros((N, 1, 2, 1), np.float32)
    x[:, 0, 1] = 1.0
    y, _ = run(f"flip(p={p})", x)
    share = float(y.numpy()[:, 0, 0, 0].mean())
    assert abs(share - p) <= 5 * np.sqrt(p * (1 - p) / N)


def test_every_move_is_as_likely() -> None:
    h, w = 7, 9
    x = np.zeros((N, h, w, 1), np.float32)
    x[:, 3, 4] = 1.0  # no move loses it
    y, _ = run("translate(pixels=3)", x)
    counts = y.numpy().sum(axis=0)[..., 0]
    assert counts.sum() == N
    assert (counts[:, [0, 8]] == 0).all()
    as_often(counts[:, 1:8])


def test_a_reflected_crop_keeps_to_the_pictures_values() -> None:
    x = np.arange(20, dtype=np.float32).reshape(1, 4, 5, 1).repeat(N, axis=0)
    y, _ = run("crop(padding=2)", x)
    assert set(np.unique(y.numpy())) <= set(range(20))
    kinds = np.unique(y.numpy().reshape(N, -1), axis=0)
    assert len(kinds) == 25  # 5 by 5 places


def test_cutouts_middle_is_any_pixel() -> None:
    x = np.ones((N, 5, 6, 1), np.float32)
    y, _ = run("cutout(size=1)", x)
    gone = 1 - y.numpy()[..., 0]
    assert (gone.sum(axis=(1, 2)) == 1).all()
    as_often(gone.sum(axis=0))
    most = 1 - run("cutout(size=3)", x)[0].numpy()[..., 0].sum(axis=(1, 2)) / 30
    assert set(np.round(most * 30)) == {4, 6, 9}  # a corner, a border, inside


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.5, 1.0, 2.0, 30.0])
def test_quantiles_are_scipys(alpha: float) -> None:
    stats = pytest.importorskip("scipy.stats", reason="SciPy, the reference, is not installed")
    ours = quantiles(alpha, 4096)
    theirs = stats.beta.ppf((np.arange(4096) + 0.5) / 4096, alpha, alpha)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ours + ours[::-1], 1.0, atol=1e-15)
    assert (np.diff(ours) >= 0).all()


def test_a_uniform_share_is_exact() -> None:
    np.testing.assert_array_equal(quantiles(1.0, 4096), (np.arange(4096) + 0.5) / 4096)
    shares = augment.MixUp(alpha=1.0).shares()
    assert shares.dtype == np.float32
    np.testing.assert_array_equal(shares, (np.arange(4096) + 0.5) / 4096)


@pytest.mark.parametrize("alpha", [1e-9, 1e-3, 1e3])
def test_extreme_shares_are_shares(alpha: float) -> None:
    shares = augment.MixUp(alpha=alpha).shares()
    assert np.isfinite(shares).all()
    assert shares.min() >= 0
    assert shares.max() <= 1
    assert (np.minimum(shares, 1 - shares) < 0.01).mean() > 0.95 or abs(shares - 0.5).max() < 0.05


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_shares_follow_the_distribution(alpha: float) -> None:
    """Kolmogorov and Smirnov's distance, at the places where rounding changes over: 1.95 / sqrt(n)
    is exceeded once in a thousand."""
    stats = pytest.importorskip("scipy.stats", reason="SciPy, the reference, is not installed")
    _, mixture = run(f"mixup(alpha={alpha})", np.zeros((N, 1), np.float32))
    places = (np.arange(65536) + 0.5) / 65536
    found = np.searchsorted(np.sort(mixture.parts[0][1].numpy()), places) / N
    distance = np.abs(found - stats.beta(alpha, alpha).cdf(places)).max()
    assert distance < 1.95 / np.sqrt(N) + 1 / 8192


def test_partners_change_from_step_to_step() -> None:
    cpu = open_backend("cpu")
    chain = augment.Chain([augment.MixUp()], 0, cpu)
    x = Tensor(np.zeros((8, 1), np.float32), cpu)
    distances = []
    for step in range(700):
        _, mixture = chain(x, Tensor(np.array([step, 0], np.uint64), cpu))
        assert mixture is not None
        rows = mixture.parts[1][0].numpy()
        assert sorted(rows) == list(range(8))
        distances.append(int(rows[0]))
    counts = np.bincount(distances, minlength=8)
    assert counts[0] == 0  # nobody is their own partner
    as_often(counts[1:])
