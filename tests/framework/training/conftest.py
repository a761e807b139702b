"""Small networks, data and trainers for the tests of training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from flagstone import nn
from flagstone.named import make
from flagstone.training import Trainer
from flagstone.training.objective import CrossEntropy


def data(n: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """(n, 6) and labels (n,) of three classes that a small network can learn."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 6)).astype(np.float32)
    return x, np.argmax(x[:, :3] + 0.3 * rng.standard_normal((n, 3)), axis=1)


def network(dtype: str = "float32", device: Any = None) -> nn.Layer:
    """With dropout and batch normalisation: everything that makes resuming hard."""
    return nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)
    ).initialize(1, device=device, dtype=dtype)


def trainer(
    layer: nn.Layer | None = None, *, optimizer: str = "adam", lr: float = 0.01, **options: Any
) -> Trainer:
    layer = network() if layer is None else layer
    schedule = options.pop("schedule", "constant")
    return Trainer(
        layer, options.pop("objective", CrossEntropy()), make("optimizer", optimizer, layer, lr),
        **{"epochs": 4, "batch_size": 16, "schedule": make("schedule", schedule), **options},
    )  # fmt: skip


@pytest.fixture
def make_data() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    return data


@pytest.fixture
def make_network() -> Callable[..., nn.Layer]:
    return network


@pytest.fixture
def make_trainer() -> Callable[..., Trainer]:
    return trainer


@pytest.fixture
def timeless() -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    """A history without what differs between two equal runs."""
    return lambda history: [{k: v for k, v in e.items() if k != "seconds"} for e in history]
