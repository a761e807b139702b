"""Images mirrored in every other epoch: what a training run shows, told by the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import augment, nn, ops
from flagstone.errors import InputError
from flagstone.optim import SGD
from flagstone.tensors import Tensor
from flagstone.training import Callback, Objective, Trainer
from flagstone.training.streaming import StreamedData

N, EPOCHS = 13, 6
X = np.zeros((N, 2, 3, 1), np.float32)
X[:, 0, 0] = 1.0  # upper left
Y = np.arange(N)


class Times(nn.Layer):
    """All pixels, times a number that is 1."""

    def __init__(self) -> None:
        self.weight = nn.Parameter((1,), nn.init.ones)

    def forward(self, x: Tensor) -> Tensor:
        return ops.reshape(x, (x.shape[0], 6)) * self.weight


class Corner(Objective):
    """Reports of every image, by its number, in which corner its white pixel is: 2 to the power of
    the place, in reading order, so that one number tells all of what was seen in an epoch."""

    def __init__(self) -> None:
        self.powers = fs.tensor(2.0 ** np.arange(6, dtype=np.float32), device="cpu")

    def losses(self, out: Tensor, y: Tensor) -> Tensor:
        return ops.sum(out * out, axis=1)

    def measures(self, out: Tensor, y: Tensor) -> dict[str, Tensor]:
        place = ops.sum(out * self.powers, axis=1)
        return {f"image {i}": ops.where(ops.equal(y, i), place, 0.0) for i in range(N)}


def trainer(text: str = "alternating-flip", **options: Any) -> Trainer:
    layer = Times().initialize(0, device="cpu")
    return Trainer(
        layer, Corner(), SGD(layer, lr=0.0),
        **{"epochs": EPOCHS, "batch_size": 4, "seed": 1, "augment": augment.parse(text), **options},
    )  # fmt: skip


def places(history: Sequence[Any]) -> np.ndarray:
    """(epoch, image): the place of the white pixel, 0 to 5."""
    seen = [[row["train"][f"image {i}"] * N for i in range(N)] for row in history]
    return np.log2(np.round(seen, 3))


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("direction", "other"), [("horizontal", 2), ("vertical", 3)])
def test_every_image_is_seen_both_ways_in_two_epochs(
    direction: str, other: int, streamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if streamed:
        monkeypatch.setattr("flagstone.training.trainer.placed", lambda *a: StreamedData(*a[:5]))
    run = trainer(f"alternating-flip(direction='{direction}')")
    seen = places(run.fit(X, Y))
    assert isinstance(run._data, StreamedData) is streamed
    assert set(seen[0]) == {0, other}  # some this way, some that way, in the first epoch
    np.testing.assert_array_equal(seen[0] + seen[1], other)
    np.testing.assert_array_equal(seen[2:], np.tile(seen[:2], (2, 1)))


@pytest.mark.parametrize("batch_size", [1, 5, N, None])
def test_how_the_data_are_cut_changes_nothing(batch_size: int | None) -> None:
    seen = places(trainer(batch_size=batch_size).fit(X, Y))
    np.testing.assert_array_equal(seen, places(trainer().fit(X, Y)))
    assert not np.array_equal(seen, places(trainer(seed=2).fit(X, Y)))


def test_half_of_the_images_are_mirrored_in_an_epoch() -> None:
    n = 200_000  # several chunks
    backend = fs.backend.open_backend("cpu")
    chain = augment.Chain(augment.parse("alternating-flip"), 3, backend)
    chain.begin(n)
    x = np.tile(np.float32([[0.0], [1.0]]), (n, 1, 1, 1))
    counter = Tensor(backend.asarray(np.array([0, 1], np.uint64)), backend)
    y, _ = chain(Tensor(backend.asarray(x), backend), counter)
    mirrored = y.numpy()[:, 0, 0, 0] == 1
    assert abs(mirrored.mean() - 0.5) < 4 * 0.5 / np.sqrt(n)
    alike = (mirrored[1:] == mirrored[:-1]).mean()
    assert abs(alike - 0.5) < 4 * 0.5 / np.sqrt(n)


class Keep(Callback):
    """Keeps the state after an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_epoch_end(self, trainer: Any, epoch: int, metrics: Any) -> None:
        if epoch == self.epoch:
            self.state = trainer.state()


@pytest.mark.parametrize("stop", [1, 2])
def test_a_resumed_run_goes_on_with_the_other_side(stop: int) -> None:
    keep = Keep(stop)
    whole = trainer(callbacks=[keep]).fit(X, Y)
    resumed = trainer().fit(X, Y, resume_from=keep.state)
    np.testing.assert_array_equal(places(resumed), places(whole))


def test_beside_others_each_has_its_own_words() -> None:
    seen = places(trainer("alternating-flip,alternating-flip(direction='vertical')").fit(X, Y))
    assert set(seen[0]) == {0, 2, 3, 5}
    np.testing.assert_array_equal(seen[0] + seen[1], 5)


def test_a_plan_that_is_not_one_value_an_example_is_refused() -> None:
    class Wrong(augment.Planned):
        def plan(self, words: Any) -> Any:
            return words[0][:2]

    with pytest.raises(InputError, match=r"plan of wrong expected .* \(5, \.\.\.\); got \(2,\)"):
        augment.Chain([Wrong()], 0, fs.backend.open_backend("cpu")).begin(5)
