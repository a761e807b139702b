"""Training on PyTorch's tensors: as on the CPU, and without leaving the device."""

from __future__ import annotations

from typing import Any

import flagstone as fs
import numpy as np
import pytest
import torch
from flagstone import nn
from flagstone.devices import Device
from flagstone.training import Trainer
from flagstone.training.objective import CrossEntropy

from flagstone_torch.backend import TorchBackend

RNG = np.random.default_rng(5)
LABELS = np.arange(64) % 4
IMAGES = RNG.uniform(0, 1, (64, 8, 8)) + np.eye(8) * LABELS[:, None, None]


def test_the_cnn_learns_what_it_learns_on_the_cpu() -> None:
    models = [
        fs.model("cnn", device=device, epochs=4, batch_size=16, image_shape=(8, 8))
        for device in ("cpu", "torch")
    ]
    here, there = (model.fit(IMAGES, LABELS) for model in models)
    assert there.device_ == "torch"
    assert here.history_[-1]["train"]["loss"] < here.history_[0]["train"]["loss"]
    np.testing.assert_allclose(
        [epoch["train"]["loss"] for epoch in there.history_],
        [epoch["train"]["loss"] for epoch in here.history_],
        rtol=1e-4,
    )
    np.testing.assert_allclose(there.predict_proba(IMAGES), here.predict_proba(IMAGES), atol=1e-4)


class Nowhere(TorchBackend):
    """PyTorch's ``meta``: shapes and dtypes without values, so that whatever reads one fails.

    What the trainer reads on purpose, the sums at an epoch's end, is 0 here.
    """

    reads = 0

    def to_numpy(self, a: torch.Tensor) -> Any:
        assert a.device == self.place, f"a tensor of {tuple(a.shape)} strayed to {a.device}"
        self.reads += 1
        return np.zeros(tuple(a.shape), str(a.dtype).rpartition(".")[2])


@pytest.mark.parametrize("optimizer", [fs.optim.Adam, fs.optim.SGD])
def test_a_step_stays_on_its_device(optimizer: Any) -> None:
    """No card is needed to see it: on ``meta`` a read fails, and so does mixing with the CPU."""
    reads = []
    for batch_size in (32, 4):
        nowhere = Nowhere("torch", Device("torch"), torch.device("meta"))
        layer = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding="same"),
            nn.BatchNorm(4),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout(0.3),
            nn.Flatten(),
            nn.Linear(64, 4),
        )
        layer.initialize(0, device=nowhere)
        trainer = Trainer(
            layer,
            CrossEntropy(),
            optimizer(layer, lr=0.1, clip_norm=1.0),
            epochs=2,
            batch_size=batch_size,
        )
        trainer.fit(IMAGES[..., None].astype(np.float32), LABELS)
        reads.append(nowhere.reads)
    assert reads[0] == reads[1] > 0  # once an epoch, however many steps there are


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no card that PyTorch can use")
def test_on_a_card() -> None:
    here = fs.model("cnn", device="cpu", epochs=3, batch_size=16).fit(IMAGES, LABELS)
    there = fs.model("cnn", device="torch:cuda", epochs=3, batch_size=16).fit(IMAGES, LABELS)
    assert there.device_ == "torch:cuda:0"
    np.testing.assert_allclose(
        there.history_[-1]["train"]["loss"], here.history_[-1]["train"]["loss"], rtol=1e-3
    )
