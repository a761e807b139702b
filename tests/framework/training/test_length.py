"""Training that ends within an epoch, and epochs without their last, smaller batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn
from flagstone.errors import ConfigurationError, RunError
from flagstone.named import make
from flagstone.random import bits, key, permutation
from flagstone.schedules import Schedule
from flagstone.training import Callback, Trainer
from flagstone.training.length import begun, part
from flagstone.training.objective import CrossEntropy
from flagstone.training.streaming import StreamedData

N, SIZE = 23, 4  # five batches of four and one of three
SEED = 2


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((N, 5)).astype(np.float32), rng.integers(0, 3, N)


class Places(Schedule):
    """Keeps what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[int, int, int]] = []

    def after_warmup(self, step: int, steps: int, steps_per_epoch: int) -> float:
        self.asked.append((step, steps, steps_per_epoch))
        return 1.0 - step / steps


class States(Callback):
    """Keeps the state after an epoch."""

    def __init__(self) -> None:
        self.states: list[Any] = []

    def on_epoch_end(self, trainer: Any, epoch: int, metrics: Any) -> None:
        self.states.append(trainer.state())


def trainer(optimizer: str = "sgd(momentum=0.9)", **options: Any) -> Trainer:
    layer = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)).initialize(0)
    return Trainer(
        layer, CrossEntropy(), make("optimizer", optimizer, layer, 0.1),
        **{"batch_size": SIZE, "seed": SEED, **options},
    )  # fmt: skip


def parameters(run: Trainer) -> np.ndarray:
    return np.array(run.optimizer.flat.values.numpy())


@pytest.mark.parametrize(
    ("epochs", "whole", "share"), [(3, 3, 1.0), (3.0, 3, 1.0), (0.25, 1, 0.25), (9.9, 10, 0.9)]
)
def test_how_many_epochs_are_begun(epochs: float, whole: int, share: float) -> None:
    assert begun(epochs) == (whole, pytest.approx(share))


def test_the_steps_of_the_speed_run() -> None:
    """476 = ceil(9.9 * 48) (Jordan, arXiv:2404.00498); 0.1 * 30 is 3, whatever floats say."""
    whole, share = begun(9.9)
    assert (whole - 1) * 48 + part(48, share) == 476
    assert [part(30, 0.1), part(10, begun(9.9)[1]), part(7, 0.001), part(6, 1.0)] == [3, 9, 1, 6]


@pytest.mark.parametrize(
    ("options", "steps", "last"),
    [
        ({"epochs": 2.5}, 6, 3),
        ({"epochs": 2.5, "drop_last": True}, 5, 3),
        ({"epochs": 0.99}, 6, 6),
        ({"epochs": 2, "drop_last": True}, 5, 5),
        ({"epochs": 1.2, "batch_size": None}, 1, 1),
        ({"epochs": 2, "drop_last": True, "batch_size": 100}, 1, 1),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_the_schedule_ends_with_training(
    options: dict[str, Any], steps: int, last: int, streamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if streamed and steps > 1:
        monkeypatch.setattr("flagstone.training.trainer.placed", lambda *a: StreamedData(*a[:5]))
    places = Places()
    run = trainer(schedule=places, **options)
    history = run.fit(*data())
    assert len(history) == run.epochs == run.epoch
    total = (run.epochs - 1) * steps + last
    asked = list(dict.fromkeys(places.asked))
    assert asked == [(i, total, steps) for i in range(total)]
    assert history[-1]["lr"] == pytest.approx(0.1 / total)


@pytest.mark.parametrize("weight", [None, np.linspace(0.5, 1.5, N)])
@pytest.mark.parametrize(
    ("options", "examples"),
    [({"epochs": 0.5}, 12), ({"epochs": 1, "drop_last": True}, 20), ({"epochs": 1}, 23)],
)
def test_measures_are_means_over_what_was_seen(
    options: dict[str, Any], examples: int, weight: Any
) -> None:
    x, y = data()
    run = trainer(optimizer="sgd", lr=0.0, **options)
    (row,) = run.fit(x, y, weight=weight)
    seen = permutation(bits(key(SEED, "shuffle"), (0, 0), 0, -(-N // 4))[:N])[:examples]
    out = run.layer(fs.tensor(x[seen])).numpy().astype(np.float64)
    each = np.log(np.exp(out).sum(axis=1)) - out[np.arange(examples), y[seen]]
    by = np.ones(examples) if weight is None else weight[seen]
    assert row["train"]["loss"] == pytest.approx(np.average(each, weights=by), rel=1e-5)
    right = out.argmax(axis=1) == y[seen]
    assert row["train"]["accuracy"] == pytest.approx(np.average(right, weights=by), rel=1e-5)


def test_the_beginning_of_an_epoch_is_that_of_a_whole_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flagstone.training.trainer.PROGRESS_EVERY", -1.0)
    seen = []

    class Half(Callback):
        def on_progress(self, trainer: Any, step: int, steps: int) -> None:
            if (trainer.epoch, step) == (1, 3):
                seen.append(parameters(trainer))

    half = trainer(epochs=1.5)
    half.fit(*data())
    trainer(epochs=2, callbacks=[Half()]).fit(*data())
    np.testing.assert_array_equal(parameters(half), seen[0])


@pytest.mark.parametrize("drop_last", [False, True])
def test_a_resumed_run_ends_the_same(drop_last: bool) -> None:
    averaged = "lookahead(base='sgd(momentum=0.9)', k=2, schedule='polynomial(rising=True)')"
    states = States()
    options = {"optimizer": averaged, "epochs": 2.5, "drop_last": drop_last}
    run = trainer(callbacks=[states], **options)
    run.fit(*data())
    for state in states.states[:2]:
        again = trainer(**options)
        again.fit(*data(), resume_from=state)
        np.testing.assert_array_equal(parameters(again), parameters(run))
        assert [r["train"] for r in again.history] == [r["train"] for r in run.history]


@pytest.mark.parametrize("weight", [None, np.linspace(0.5, 1.5, N)])
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("epochs", [(2.5, 4), (0.2, 0.5), (0.5, 1), (1.9, 3), (2, 3)])
def test_a_run_with_more_epochs_takes_up_the_part_epoch(
    epochs: tuple[float, float], streamed: bool, weight: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1.9 epochs of six steps are whole ones."""
    if streamed:
        monkeypatch.setattr("flagstone.training.trainer.placed", lambda *a: StreamedData(*a[:5]))
    begun_, wanted = epochs
    states = States()
    trainer(callbacks=[states], epochs=begun_).fit(*data(), weight=weight)
    arrays, metadata = states.states[-1]
    again = trainer(epochs=wanted)
    again.fit(*data(), weight=weight, resume_from=(arrays, metadata))
    whole = trainer(epochs=wanted)
    whole.fit(*data(), weight=weight)
    np.testing.assert_array_equal(parameters(again), parameters(whole))
    assert [r["epoch"] for r in again.history] == list(range(1, whole.epochs + 1))
    assert [r["train"] for r in again.history] == [r["train"] for r in whole.history]


def test_a_part_epoch_that_is_done_is_not_taken_up_for_less() -> None:
    states = States()
    run = trainer(callbacks=[states], epochs=1.5)
    run.fit(*data())
    again = trainer(callbacks=[states], epochs=1.5)
    history = again.fit(*data(), resume_from=states.states[-1])
    assert history == run.history
    np.testing.assert_array_equal(parameters(again), parameters(run))
    assert len(states.states) == 2  # no epoch ended anew
    assert again.state()[1] == states.states[-1][1]


def test_a_run_goes_on_with_the_batches_that_it_had() -> None:
    states = States()
    trainer(callbacks=[states], epochs=2).fit(*data())
    arrays, metadata = states.states[0]
    older = {name: value for name, value in metadata.items() if name != "drop_last"}
    trainer(epochs=2).fit(*data(), resume_from=(arrays, older))
    with pytest.raises(RunError, match="made with drop_last False; this run has True"):
        trainer(epochs=2, drop_last=True).fit(*data(), resume_from=(arrays, metadata))


def test_averages_of_the_whole_way_know_where_it_ends() -> None:
    averaged = (
        "lookahead(base='sgd', k=5, alpha=0.2, schedule='polynomial(power=3.0, rising=True)')"
    )
    run = trainer(averaged, epochs=3.9, drop_last=True)
    run.fit(*data())
    total = 3 * 5 + 5  # ceil(0.9 * 5) = 5
    moves: Any = run.optimizer._moves.numpy()  # type: ignore[attr-defined]
    expected = np.zeros(total)
    expected[4::5] = 1 - 0.8 * (np.arange(5, total + 1, 5) / total) ** 3
    np.testing.assert_allclose(moves, expected, rtol=1e-6)


def test_what_goes_by_all_data_at_once_takes_whole_epochs() -> None:
    x, y = data()
    with pytest.raises(ConfigurationError, match=r"epochs: expected a whole number.*got 2\.5"):
        fs.model("mlp", optimizer="lbfgs", batch_size=None, epochs=2.5).fit(x, y)


@pytest.mark.parametrize("epochs", [0, -1, 0.0, float("nan"), float("inf")])
def test_a_model_refuses_no_epochs(epochs: float) -> None:
    with pytest.raises(ConfigurationError, match="epochs expected a positive"):
        fs.model("mlp", epochs=epochs).fit(*data())


def test_a_model_of_whole_epochs_says_so() -> None:
    with pytest.raises(ConfigurationError, match=r"epochs expected int; got 2\.5"):
        fs.model("softmax", epochs=2.5).fit(*data())
