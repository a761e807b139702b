"""Epochs of one step are prepared many at a time; what they do is what one at a time does."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np
import pytest

from flagstone.backend import open_backend
from flagstone.errors import RunError
from flagstone.training import Callback
from flagstone.training.objective import BinaryCrossEntropy, SquaredError
from flagstone.training.whole_batches import AHEAD


class Look(Callback):
    """Whether epochs were prepared."""

    found: bool | None = None

    def on_epoch_end(self, trainer: Any, epoch: int, metrics: Any) -> None:
        self.found = trainer._whole is not None


class OneByOne(Look):
    """Who hears of progress hears of every step, so nothing is prepared."""

    def on_progress(self, trainer: Any, step: int, steps: int) -> None: ...


@pytest.mark.parametrize("schedule", ["constant", "cosine(warmup=5)", "exponential(gamma=0.99)"])
@pytest.mark.parametrize("optimizer", ["sgd(momentum=0.9)", "adam(weight_decay=0.01)"])
def test_the_same_bits(
    make_trainer: Any, make_data: Any, timeless: Any, schedule: str, optimizer: str
) -> None:
    x, y = make_data(20)
    runs = []
    for look, prepared in ((Look(), True), (OneByOne(), False)):
        options = {"schedule": schedule, "optimizer": optimizer, "epochs": AHEAD + 7}
        trainer = make_trainer(batch_size=None, callbacks=[look], **options)
        trainer.fit(x, y, validation=make_data(10))
        assert look.found == prepared
        assert trainer._whole is None  # its memory went with it
        runs.append(trainer)
    assert timeless(runs[0].history) == timeless(runs[1].history)
    for a, b in zip(*[run.layer.state_dict().values() for run in runs], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "optimizer", ["sgd(momentum=0.9)", "adam(groups={'*bias': {'epochs': 9}})"]
)
def test_epochs_that_nobody_looks_at_run_in_one_go(
    make_trainer: Any, make_data: Any, timeless: Any, optimizer: str
) -> None:
    """Their history and parameters are those of epochs that somebody looks at one by one."""
    x, y = make_data(20)
    runs = []
    for callbacks in ([], [Look()]):
        trainer = make_trainer(
            batch_size=None, callbacks=callbacks, optimizer=optimizer, epochs=AHEAD + 7
        )
        history = trainer.fit(x, y)
        assert [row["epoch"] for row in history] == [*range(1, AHEAD + 8)]
        assert all(row["seconds"] > 0 for row in history)
        runs.append(trainer)
    assert timeless(runs[0].history) == timeless(runs[1].history)
    for a, b in zip(*[run.layer.state_dict().values() for run in runs], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.usefixtures("strict")
def test_they_ask_no_more_of_arrays_than_the_standard(
    make_trainer: Any, make_network: Any, make_data: Any, timeless: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    found = []
    for is_immediate in (True, False):
        backend = open_backend("strict")
        monkeypatch.setattr(type(backend), "is_immediate", is_immediate)
        layer = make_network(device=backend)
        trainer = make_trainer(layer, batch_size=None, epochs=5, optimizer="sgd")
        found.append(timeless(trainer.fit(*make_data(20))))
    assert found[0] == found[1]


def test_ctrl_c_ends_them_after_the_present_one(make_trainer: Any, make_data: Any) -> None:
    class Interrupted(Callback):
        told = -1

        def on_interrupt(self, trainer: Any) -> None:
            self.told = trainer.epoch

    look = Interrupted()
    trainer = make_trainer(batch_size=None, callbacks=[look], epochs=AHEAD)
    begin = trainer.optimizer.start_epoch

    def start_epoch(epoch: int, epochs: int, steps: int) -> None:
        begin(epoch, epochs, steps)
        if epoch == 5:
            os.kill(os.getpid(), signal.SIGINT)

    trainer.optimizer.start_epoch = start_epoch
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(*make_data(20))
    assert look.told == trainer.epoch == len(trainer.history) == 6


def test_who_sets_stop_ends_them_too(make_trainer: Any, make_data: Any) -> None:
    trainer = make_trainer(batch_size=None, epochs=AHEAD)

    def start_epoch(epoch: int, epochs: int, steps: int) -> None:
        trainer.stop = epoch == 5  # as another thread would

    trainer.optimizer.start_epoch = start_epoch
    assert len(trainer.fit(*make_data(20))) == trainer.epoch == 6


def test_a_loss_that_diverges_is_told_with_its_epoch(make_trainer: Any, make_data: Any) -> None:
    seen = []
    for callbacks in ([], [Look()]):
        trainer = make_trainer(
            batch_size=None, callbacks=callbacks, epochs=AHEAD, lr=1e30, optimizer="sgd"
        )
        with pytest.raises(RunError, match=r"after epoch \d+: training diverged"):
            trainer.fit(*make_data(20))
        seen.append(trainer.epoch)
    assert seen[0] == seen[1] < AHEAD


def test_rates_that_follow_from_losses_are_not_prepared(make_trainer: Any, make_data: Any) -> None:
    look = Look()
    schedule = "reduce-on-plateau(patience=1)"
    make_trainer(batch_size=None, schedule=schedule, callbacks=[look]).fit(*make_data(20))
    assert look.found is False


def test_an_objective_that_changes_the_losses_changes_their_sum() -> None:
    import flagstone as fs

    class Doubled(SquaredError):  # noqa: N818  # no exception
        def losses(self, out: Any, y: Any) -> Any:
            return super().losses(out, y) * 2.0

    class Halved(BinaryCrossEntropy):
        def losses(self, out: Any, y: Any) -> Any:
            return super().losses(out, y) * 0.5

    rng = np.random.default_rng(0)
    out, y = (fs.tensor(rng.uniform(0, 1, (5, 1))) for _ in range(2))
    weight = fs.tensor(rng.uniform(0.5, 2, 5))
    one = fs.tensor(np.ones(1))
    for base, other, factor in ((SquaredError(one), Doubled(one), 2.0),
                                (BinaryCrossEntropy(), Halved(), 0.5)):  # fmt: skip
        for given in (None, weight):
            expected = base.losses(out, y).numpy()
            expected = expected.sum() if given is None else (expected * weight.numpy()).sum()
            np.testing.assert_allclose(base.total(out, y, given).item(), expected, rtol=1e-12)
            np.testing.assert_allclose(
                other.total(out, y, given).item(), factor * expected, rtol=1e-12
            )
