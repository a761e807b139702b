"""Training on a backend that the framework never heard of gives what training on NumPy does."""

from __future__ import annotations

import numpy as np
import pytest

import flagstone as fs
from flagstone.backend import Backend

RNG = np.random.default_rng(5)
TABLE = RNG.standard_normal((60, 5))
CLASSES = (TABLE[:, 0] + TABLE[:, 1] > 0).astype(int) + (TABLE[:, 2] > 1)
IMAGES = RNG.uniform(0, 1, (24, 8, 8)) + np.eye(8) * (np.arange(24) % 3)[:, None, None]


def losses(device: str, name: str, x: np.ndarray, y: np.ndarray, **parameters: object) -> list:
    model = fs.model(name, device=device, **parameters)
    model.fit(x, y)
    assert model.device_ == device
    return [epoch["train"]["loss"] for epoch in model.history_]


@pytest.mark.parametrize("optimizer", ["adam", "sgd(momentum=0.9)", "adamw(clip_norm=0.5)"])
def test_a_perceptron_learns_the_same(strict: Backend, optimizer: str) -> None:
    given = {"epochs": 3, "batch_size": 16, "optimizer": optimizer}
    here = losses("cpu", "mlp", TABLE, CLASSES, **given)
    there = losses("strict", "mlp", TABLE, CLASSES, **given)
    assert here[-1] < here[0]
    np.testing.assert_allclose(there, here, rtol=2e-5)


def test_a_convolutional_network_learns_the_same(strict: Backend) -> None:
    y = np.arange(24) % 3
    given = {"epochs": 3, "batch_size": 8, "lr": 1e-3}
    here = losses("cpu", "cnn", IMAGES, y, **given)
    there = losses("strict", "cnn", IMAGES, y, **given)
    assert len(here) == 3
    np.testing.assert_allclose(there, here, rtol=1e-3)


def test_a_regression_in_float64_learns_the_same(strict: Backend) -> None:
    y = TABLE @ np.arange(5.0) + 1
    here = losses("cpu", "linear", TABLE, y, epochs=5)
    there = losses("strict", "linear", TABLE, y, epochs=5)
    np.testing.assert_allclose(there, here, rtol=1e-10)


def test_predictions_come_back_as_numpy(strict: Backend) -> None:
    model = fs.model("softmax", device="strict", epochs=2).fit(TABLE, CLASSES)
    assert isinstance(model.predict_proba(TABLE), np.ndarray)
    assert model.device_ == "strict"
