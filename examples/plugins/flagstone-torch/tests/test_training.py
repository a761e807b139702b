"""Training on PyTorch's tensors does not leave the device."""

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


class Nowhere(TorchBackend):
    """PyTorch's ``meta``: shapes and dtypes without values, so that whatever reads one fails.

    What the trainer reads on purpose, the sums at an epoch's end, is 0 here.
    """

    reads = 0

    def to_numpy(self, a: torch.Tensor) -> Any:
        assert a.device == self.place, f"a tensor of {tuple(a.shape)} strayed to {a.device}"
        self.reads += 1
        return np.zeros(tuple(a.shape), str(a.dtype).rpartition(".")[2])


def test_a_step_stays_on_its_device() -> None:
    """No card is needed to see it: on ``meta`` a read fails, and so does mixing with the CPU."""
    reads = []
    for batch_size in (32, 16):
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
        optimizer = fs.optim.Adam(layer, lr=0.1, clip_norm=1.0)
        trainer = Trainer(layer, CrossEntropy(), optimizer, epochs=1, batch_size=batch_size)
        trainer.fit(IMAGES[..., None].astype(np.float32), LABELS)
        reads.append(nowhere.reads)
    assert reads[0] == reads[1] > 0  # at the epoch's end, however many steps it has


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no card that PyTorch can use")
def test_on_a_card() -> None:
    here = fs.model("cnn", device="cpu", epochs=3, batch_size=16).fit(IMAGES, LABELS)
    there = fs.model("cnn", device="torch:cuda", epochs=3, batch_size=16).fit(IMAGES, LABELS)
    assert there.device_ == "torch:cuda:0"
    np.testing.assert_allclose(
        there.history_[-1]["train"]["loss"], here.history_[-1]["train"]["loss"], rtol=1e-3
    )
