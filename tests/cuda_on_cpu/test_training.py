"""Training with our kernels on the simulated card gives what training on the CPU does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn
from flagstone.backend import Backend, open_backend
from flagstone.optim import Adam
from flagstone.training.objective import CrossEntropy

RNG = np.random.default_rng(5)
TABLE = RNG.standard_normal((60, 5))
CLASSES = (TABLE[:, 0] + TABLE[:, 1] > 0).astype(int) + (TABLE[:, 2] > 1)
IMAGES = RNG.uniform(0, 1, (24, 8, 8)) + np.eye(8) * (np.arange(24) % 3)[:, None, None]


def losses(device: str, name: str, x: np.ndarray, y: np.ndarray, **given: Any) -> list[float]:
    model = fs.model(name, device=device, **given).fit(x, y)
    assert model.device_ == device
    return [epoch["train"]["loss"] for epoch in model.history_]


@pytest.mark.parametrize("optimizer", ["adam", "sgd(momentum=0.9)", "adamw(clip_norm=0.5)"])
def test_a_perceptron_learns_the_same(simulated: Backend, card: Any, optimizer: str) -> None:
    given = {"epochs": 3, "batch_size": 16, "optimizer": optimizer}
    here = losses("cpu", "mlp", TABLE, CLASSES, **given)
    there = losses("simulated", "mlp", TABLE, CLASSES, **given)
    assert here[-1] < here[0]
    np.testing.assert_allclose(there, here, rtol=2e-5)
    expected = {"gather.cu:take_rows", "loss.cu:softmax_cross_entropy", "elementwise.cu:relu_grad"}
    assert expected <= card.launched


def test_a_convolutional_network_learns_the_same(simulated: Backend, card: Any) -> None:
    given = {"epochs": 2, "batch_size": 8, "lr": 1e-3}
    y = np.arange(24) % 3
    here = losses("cpu", "cnn", IMAGES, y, **given)
    there = losses("simulated", "cnn", IMAGES, y, **given)
    np.testing.assert_allclose(there, here, rtol=1e-3)
    assert {"pool.cu:max_pool", "pool.cu:max_pool_grad"} <= card.launched


@pytest.mark.parametrize("precision", ["tf32", "mixed-fp16", "mixed-bf16"])
def test_in_fewer_bits_it_learns_nearly_the_same(
    simulated: Backend, card: Any, precision: str
) -> None:
    pytest.importorskip(
        "ml_dtypes", reason="computes in bfloat16 by ml_dtypes, which is not installed"
    )
    given = {"epochs": 3, "batch_size": 16, "hidden": (16, 16), "lr": 1e-2}
    here = losses("cpu", "mlp", TABLE, CLASSES, **given)
    there = losses("simulated", "mlp", TABLE, CLASSES, precision=precision, **given)
    assert here[-1] < here[0]
    np.testing.assert_allclose(there, here, rtol=2e-2)


@pytest.mark.parametrize("precision", ["mixed-fp16", "mixed-bf16"])
def test_a_network_with_all_layers_in_16_bits(
    simulated: Backend, card: Any, precision: str
) -> None:
    pytest.importorskip(
        "ml_dtypes", reason="computes in bfloat16 by ml_dtypes, which is not installed"
    )
    found = []
    for device, chosen in (("cpu", "exact"), ("simulated", precision)):
        here = open_backend(device, chosen)
        layer = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            nn.MaxPool2d(2), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Dropout(0.2), nn.Flatten(),
            nn.Linear(64, 3),
        ).initialize(0, device=here)  # fmt: skip
        trainer = fs.Trainer(
            layer, CrossEntropy(), Adam(layer, 1e-2), epochs=2, batch_size=8, seed=0
        )
        images = IMAGES[..., None].astype("float32")
        trainer.fit(images, np.arange(24) % 3)
        found.append([epoch["train"]["loss"] for epoch in trainer.history])
    np.testing.assert_allclose(found[1], found[0], rtol=3e-2)
    state = trainer.optimizer.state_dict()
    assert ("loss_scale" in state) is (precision == "mixed-fp16")
