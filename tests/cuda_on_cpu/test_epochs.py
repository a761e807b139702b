"""What an epoch of a trainer asks of a card: launches of graphs, and one read at its end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flagstone import nn, optim
from flagstone.backend import Backend
from flagstone.training import Callback, Trainer
from flagstone.training.objective import CrossEntropy


class Epochs(Callback):
    """What was launched and read in every epoch from the fourth on."""

    def __init__(self, card: Any, seen: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen, self.card, self.monkeypatch = seen, card, monkeypatch
        self.found: list[tuple[int, int]] = []

    def on_epoch_end(self, trainer: Any, epoch: int, metrics: Any) -> None:
        if epoch == 3:
            room, seen = type(self.card.graphs.rooms[0]), self.seen
            launch = room.launch

            def noted(self: Any, graph: Any) -> None:
                seen.append("launch")
                launch(self, graph)

            self.monkeypatch.setattr(room, "launch", noted)
        elif epoch > 3:  # the last batch is done once an epoch, the third time as a graph
            self.several = round(1 / trainer._step.launches)
            self.found.append((self.seen.count("read"), self.seen.count("launch")))
        self.seen.clear()


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_an_epoch_is_replays_and_one_read(
    simulated: Backend, card: Any, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    seen: list[str] = []
    read = type(simulated).to_numpy

    def to_numpy(self: Any, a: Any) -> Any:
        seen.append("read")
        return read(self, a)

    monkeypatch.setattr(type(simulated), "to_numpy", to_numpy)
    rng = np.random.default_rng(0)
    x = (rng.random((100, 40)) * 255).astype(dtype)
    layer = nn.Sequential(nn.Standardize((40,)), nn.Linear(40, 90), nn.ReLU(), nn.Linear(90, 3))
    layer.initialize(0, device=simulated)
    epochs = Epochs(card, seen, monkeypatch)
    trainer = Trainer(
        layer, CrossEntropy(), optim.Adam(layer, 1e-3), epochs=5, batch_size=6, callbacks=[epochs]
    )
    trainer.fit(x, rng.integers(0, 3, 100))
    assert trainer._data.x.dtype_name == dtype  # it lies on the device as it came
    steps, several = 16, epochs.several
    assert several > 1
    launches = steps // several + steps % several + 1  # and the last, smaller batch
    assert epochs.found == [(1, launches)] * 2
