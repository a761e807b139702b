"""Data that do not fit are streamed: the same numbers, and no buffer touched while it is in use."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from flagstone import nn, optim
from flagstone.backend import Backend, MemoryInfo, Staging
from flagstone.capturing import Recorded
from flagstone.devices import Device
from flagstone.training import CrossEntropy, Trainer
from flagstone.training.device_data import DeviceData
from flagstone.training.streaming import SHARE, StreamedData, placed

pytestmark = pytest.mark.filterwarnings("ignore:the data, .* stay on the host:RuntimeWarning")
RNG = np.random.default_rng(4)
X = RNG.integers(0, 256, (43, 2, 3)).astype(np.uint8)
Y = RNG.integers(0, 3, 43)
WEIGHT = RNG.uniform(0.5, 1.5, 43)


class Card(Backend):
    """A device over NumPy with little memory, whose steps are replayed."""

    name = "card"
    xp = np
    free: int | None = 100
    staged: type[Staging] = Staging

    def memory(self) -> MemoryInfo:
        return MemoryInfo(free=self.free)

    def capture(self, step: Callable[..., Any], *_example: Any) -> Callable[..., Any]:
        return Recorded(step, self)

    def staging(self, kinds: Sequence[tuple[tuple[int, ...], str]]) -> Staging:
        return self.staged(self, kinds)


class Late(Staging):
    """Two streams made of lists: copies and steps happen as late as they may, or at random times.

    The host's memory is read when a copy happens, not when it is sent; what waits for a copy makes
    it happen. Reading what was never copied gives NaN or an error, as does writing too early.
    """

    def __init__(self, backend: Backend, kinds: Any) -> None:
        super().__init__(backend, kinds)
        self.device = [[np.full_like(a, 77) for a in place] for place in self._buffers]
        self.waiting: list[int] = []  # places whose copy was sent and has not happened
        self.in_use: set[int] = set()
        self.random = random.Random(0)
        self.events: list[str] = []

    def _copy(self, place: int) -> None:
        while place in self.waiting:  # one after another, as on a stream
            now = self.waiting.pop(0)
            for to, a in zip(self.device[now], self._buffers[now], strict=True):
                to[: self._counts[now]] = a[: self._counts[now]]

    def host(self, place: int) -> Sequence[Any]:
        self.events.append(f"host {place}")
        self._copy(place)
        return super().host(place)

    def send(self, place: int, count: int) -> None:
        assert place not in self.in_use, "a copy to a place that a step reads"
        self.events.append(f"send {place}")
        super().send(place, count)
        self.waiting.append(place)
        if self.random.random() < 0.5:
            self._copy(place)

    def take(self, place: int) -> list[Any]:
        self.events.append(f"take {place}")
        self._copy(place)
        self.in_use.add(place)
        return [a[: self._counts[place]] for a in self.device[place]]

    def release(self, place: int) -> None:
        self.events.append(f"release {place}")
        self.in_use.remove(place)


class LateCard(Card):
    staged = Late


def train(backend: Backend, weight: Any, epochs: int = 3) -> tuple[Any, Trainer]:
    layer = nn.Sequential(
        nn.Flatten(), nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 3)
    )
    layer.initialize(1, device=backend)
    trainer = Trainer(layer, CrossEntropy(), optim.Adam(layer, 0.01), epochs=epochs, batch_size=5)
    trainer.fit(X, Y, weight=weight, validation=(X[:20], Y[:20]))
    timeless = [{k: v for k, v in e.items() if k != "seconds"} for e in trainer.history]
    return (trainer.optimizer.flat.values.numpy().tobytes(), repr(timeless)), trainer


@pytest.mark.parametrize("kind", [Card, LateCard])
@pytest.mark.parametrize("weight", [None, WEIGHT / WEIGHT.mean()])
def test_streamed_data_give_the_bits_of_data_on_the_device(kind: Any, weight: Any) -> None:
    streaming, resident = kind(Device("card")), kind(Device("card"))
    resident.free = None
    found, trainer = train(streaming, weight)
    expected, other = train(resident, weight)
    assert found == expected
    assert isinstance(trainer._data, StreamedData)
    assert not isinstance(other._data, StreamedData)


def test_a_batch_is_sent_while_the_device_is_busy_with_the_one_before() -> None:
    _, trainer = train(LateCard(Device("card")), None, epochs=1)
    data: Any = trainer._data
    (staging,) = data._staging.values()
    events = staging.events
    assert events[:8] == [
        "host 0", "send 0", "take 0", "release 0", "host 1", "send 1", "take 1", "release 1",
    ]  # fmt: skip
    assert len(events) == 9 * 4  # the last, smaller batch too


def test_an_epoch_goes_on_in_its_middle() -> None:
    backend = Card(Device("card"))
    data, there = (kind(X, Y, None, backend, "float32") for kind in (StreamedData, DeviceData))
    seen: list[list[Any]] = [[], []]
    scale = data.slice(0, 1)[1]
    for of, source in zip(seen, (data, there), strict=True):

        def step(rows: Any, scale: Any, of: Any = of, source: Any = source) -> None:
            of.append([np.array(t.numpy()) for t in source.batch(rows)[:2]])

        assert list(source.steps(step, 6, 5, (3, 1), (), lambda n: scale)) == [7, 8, 9]
    for a, b in zip(*seen, strict=True):
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[1], b[1])
    assert [len(batch[1]) for batch in seen[0]] == [5, 5, 3]


def test_it_is_told() -> None:
    backend = Card(Device("card"))
    backend.free = 3 << 20
    x = np.zeros((1 << 19, 4), "uint8")
    told = "the data, 6 MiB, take more than 1/2 of the 3 MiB that are free on card; they stay on"
    with pytest.warns(RuntimeWarning, match=told):
        placed(x, np.zeros(1 << 19, "int64"), None, backend, "float32", 100)


def test_where_data_are_placed() -> None:
    backend = Card(Device("card"))
    size = X.size + Y.size * 8
    for free, batch, streamed in (
        (SHARE * size, 5, False), (SHARE * size - 1, 5, True), (None, 5, False), (0, None, False),
        (0, 43, False), (0, 42, True),
    ):  # fmt: skip
        backend.free = free
        data = placed(X, Y, None, backend, "float32", batch)
        assert isinstance(data, StreamedData) is streamed, (free, batch)
    backend.free = SHARE * (X.size * 4 + Y.size * 8)
    wide = placed(X.astype(np.float64), Y, None, backend, "float32", 5)
    assert not isinstance(wide, StreamedData), "floats are counted in the layer's dtype"
