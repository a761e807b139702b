"""The trainer tells its schedule the loss, and a resumed run falls on plateaus as the other did."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from flagstone.schedules import ReduceOnPlateau, Schedule
from flagstone.training import Callback


class Listening(Schedule):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[int, float]] = []

    def observe(self, loss: float, epoch: int) -> None:
        self.told.append((epoch, loss))


@pytest.mark.parametrize("part", ["train", "validation"])
def test_the_monitored_loss_is_told(
    part: str, make_trainer: Callable[..., Any], make_data: Callable[..., Any]
) -> None:
    schedule = Listening()
    trainer = make_trainer(schedule=schedule, epochs=3)
    x, y = make_data()
    history = trainer.fit(x, y, validation=(x[:10], y[:10]) if part == "validation" else None)
    assert schedule.told == [(e["epoch"], e[part]["loss"]) for e in history]


SCHEDULES = [
    "reduce-on-plateau(factor=0.5, patience=0, threshold=0.3)",
    "reduce-on-plateau(factor=0.5, patience=1, threshold=0.3, cooldown=1)",
    "sequential(parts=('linear(start=0.2, end=1.0)', 'reduce-on-plateau(patience=0, factor=0.3, "
    "threshold=0.3)'), at=(2,))",
    "product(parts=('exponential(gamma=0.9)', 'reduce-on-plateau(patience=0, threshold=0.3)'))",
]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_resumed_run_goes_on_exactly(
    schedule: str,
    make_trainer: Callable[..., Any],
    make_data: Callable[..., Any],
    timeless: Callable[..., Any],
) -> None:
    states = {}

    class Keep(Callback):
        def on_epoch_end(self, trainer: Any, epoch: int, metrics: Any) -> None:
            states[epoch] = trainer.state()

    x, y = make_data()
    fit = {"validation": (x[:20], y[:20])}
    whole = make_trainer(schedule=schedule, epochs=8, callbacks=[Keep()])
    whole.fit(x, y, **fit)
    rates = [e["lr"] for e in whole.history]
    assert len(set(rates)) > 2  # the rate did fall
    for epoch in (1, 4, 6):
        again = make_trainer(schedule=schedule, epochs=8)
        again.fit(x, y, resume_from=states[epoch], **fit)
        assert timeless(again.history) == timeless(whole.history)
        for name, value in whole.layer.state_dict().items():
            np.testing.assert_array_equal(value, again.layer.state_dict()[name])


def test_a_schedule_that_was_used_begins_anew(make_trainer: Callable[..., Any]) -> None:
    schedule = ReduceOnPlateau(patience=0)
    for _ in range(3):
        schedule.observe(1.0, 1)
    assert schedule.factor(0, 1, 1) < 1
    make_trainer(schedule=schedule)
    assert schedule.factor(0, 1, 1) == 1


def test_a_checkpoint_from_before_schedules_had_states_is_taken(
    make_trainer: Callable[..., Any], make_data: Callable[..., Any]
) -> None:
    trainer = make_trainer(epochs=1)
    trainer.fit(*make_data())
    arrays, metadata = trainer.state()
    del metadata["schedule"]
    again = make_trainer(epochs=2)
    assert len(again.fit(*make_data(), resume_from=(arrays, metadata))) == 2
