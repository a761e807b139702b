"""What callbacks are told, in which order, and what is dropped."""

from __future__ import annotations

from typing import Any

import pytest

from flagstone import nn
from flagstone.errors import InputError
from flagstone.training import Callback
from flagstone.training.callbacks import EVENTS, Listeners


class Everything(Callback):
    def __init__(self, log: list[Any], name: str = "") -> None:
        self.log, self.name = log, name

    def on_train_begin(self, trainer: Any) -> None:
        self.log.append((self.name, "begin", trainer.epoch))

    def on_epoch_end(self, trainer: Any, epoch: int, metrics: Any) -> None:
        assert metrics is trainer.history[-1]
        assert trainer.epoch == epoch == metrics["epoch"] == len(trainer.history)
        self.log.append((self.name, "epoch", epoch))

    def on_train_end(self, trainer: Any) -> None:
        self.log.append((self.name, "end", trainer.epoch))


def test_events_come_in_order_to_every_callback(make_trainer: Any, make_data: Any) -> None:
    log: list[Any] = []
    trainer = make_trainer(epochs=2, callbacks=[Everything(log, "a"), Everything(log, "b")])
    trainer.fit(*make_data())
    assert log == [
        ("a", "begin", 0), ("b", "begin", 0), ("a", "epoch", 1), ("b", "epoch", 1),
        ("a", "epoch", 2), ("b", "epoch", 2), ("a", "end", 2), ("b", "end", 2),
    ]  # fmt: skip


def test_a_closed_form_is_reported_as_one_epoch(make_trainer: Any, make_data: Any) -> None:
    log: list[Any] = []
    given = []
    trainer = make_trainer(callbacks=[Everything(log)])
    x, y = make_data()
    history = trainer.solve(lambda *arguments: given.append(arguments), x, y, validation=(x, y))
    assert [(a is b) for a, b in zip(given[0], (trainer.layer, x, y, None), strict=True)] == (
        [True] * 4
    )
    assert [event for _, event, _ in log] == ["begin", "epoch", "end"]
    assert history[0]["train"] == history[0]["validation"]
    assert history[0]["lr"] == 0.0


def test_stop_ends_after_the_epoch(make_trainer: Any, make_data: Any) -> None:
    class Stop(Callback):
        def on_epoch_end(self, trainer: Any, epoch: int, metrics: Any) -> None:
            trainer.stop = epoch == 2

    log: list[Any] = []
    trainer = make_trainer(epochs=9, callbacks=[Stop(), Everything(log)])
    trainer.fit(*make_data())
    assert trainer.epoch == 2
    assert log[-1] == ("", "end", 2)


def test_progress_is_told_at_most_ten_times_a_second(
    make_trainer: Any, make_data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import flagstone.training.trainer as module

    class Progress(Callback):
        def __init__(self) -> None:
            self.told: list[tuple[int, int]] = []

        def on_progress(self, trainer: Any, step: int, steps: int) -> None:
            self.told.append((step, steps))

    clock = 0.0

    def tick() -> float:  # one look at the clock is a thirtieth of a second
        nonlocal clock
        clock += 1 / 30
        return clock

    monkeypatch.setattr(module.time, "perf_counter", tick)
    progress = Progress()
    make_trainer(epochs=1, batch_size=2, callbacks=[progress]).fit(*make_data(100))
    assert all(steps == 50 for _, steps in progress.told)
    steps = [step for step, _ in progress.told]
    assert steps == sorted(set(steps))
    assert 50 / 30 * 10 * 0.5 < len(steps) <= 50 / 30 * 10 + 1


def test_what_a_callback_leaves_alone_is_dropped() -> None:
    class OnlyBegin(Callback):
        def on_train_begin(self, trainer: Any) -> None:
            pass

    class Inherits(OnlyBegin):
        pass

    listeners = Listeners([Callback(), OnlyBegin(), Inherits()])
    assert listeners.has("on_train_begin")
    assert [event for event in EVENTS if listeners.has(event)] == ["on_train_begin"]
    listeners.tell("on_epoch_end", None, 1, {})
    assert set(EVENTS) == {name for name in vars(Callback) if name.startswith("on_")}


@pytest.mark.parametrize("wrong", [print, Callback, "progress", None])
def test_what_is_no_callback_is_refused(wrong: Any, make_trainer: Any) -> None:
    with pytest.raises(InputError, match=r"callbacks: expected flagstone\.Callback objects; got"):
        make_trainer(callbacks=[wrong])


def test_a_callbacks_error_reaches_the_caller(make_trainer: Any, make_data: Any) -> None:
    import signal

    class Broken(Callback):
        def on_epoch_end(self, trainer: Any, epoch: int, metrics: Any) -> None:
            raise ZeroDivisionError

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError):
        make_trainer(nn.Sequential(nn.Linear(6, 3)), callbacks=[Broken()]).fit(*make_data())
    assert signal.getsignal(signal.SIGINT) is before
