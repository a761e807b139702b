"""Training on a card gives what training on the CPU does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flagstone as fs

RNG = np.random.default_rng(5)
TABLE = RNG.standard_normal((320, 6))
CLASSES = (TABLE[:, 0] + TABLE[:, 1] > 0).astype(int) + (TABLE[:, 2] > 1)
IMAGES = RNG.uniform(0, 1, (60, 12, 12)) + np.eye(12) * (np.arange(60) % 3)[:, None, None]
DEVICES = ("cpu", "cuda")

pytestmark = pytest.mark.gpu


def losses(device: str, name: str, x: np.ndarray, y: np.ndarray, **given: Any) -> list[float]:
    model = fs.model(name, device=device, **given).fit(x, y)
    assert model.device_.split(":")[0] == device
    return [epoch["train"]["loss"] for epoch in model.history_]


@pytest.mark.parametrize("optimizer", ["adam", "sgd(momentum=0.9)", "adamw(clip_norm=0.5)"])
def test_a_perceptron_learns_the_same_for_100_steps(optimizer: str) -> None:
    given = {"epochs": 10, "batch_size": 32, "lr": 1e-3, "optimizer": optimizer}
    here, there = (losses(device, "mlp", TABLE, CLASSES, **given) for device in DEVICES)
    assert here[-1] < here[0]
    np.testing.assert_allclose(there, here, rtol=1e-4)


def test_a_convolutional_network_learns_the_same_for_100_steps() -> None:
    y = np.arange(60) % 3
    given = {"epochs": 17, "batch_size": 10, "lr": 1e-3}
    here, there = (losses(device, "cnn", IMAGES, y, **given) for device in DEVICES)
    np.testing.assert_allclose(there, here, rtol=1e-4)


def test_a_run_on_a_card_repeats_bit_for_bit() -> None:
    given = {"epochs": 3, "batch_size": 32}
    first, second = (losses("cuda", "mlp", TABLE, CLASSES, **given) for _ in range(2))
    assert first == second
