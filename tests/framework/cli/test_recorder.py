"""When a run's state is saved, and in which order."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from flagstone.cli import recorder
from flagstone.cli.recorder import Recorder


class Clock:
    """A clock that moves when told; saving takes a tenth of a second of it."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


class Run:
    """Notes what it is asked to keep."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.told: list[tuple[str, Any]] = []

    def append_metrics(self, *rows: dict[str, Any]) -> None:
        self.told.append(("metrics", [row["epoch"] for row in rows]))

    def save_checkpoint(self, arrays: dict[str, Any], metadata: dict[str, Any]) -> None:
        self.clock.now += 0.1
        self.told.append(("checkpoint", metadata))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(recorder, "time", clock)
    return clock


def _epochs(clock: Clock, seconds: float, epochs: int, of: int) -> tuple[Recorder, Run, Any]:
    run = Run(clock)
    kept = Recorder(run, 50.0, lambda _: None)  # type: ignore[arg-type]  # stands in for a directory
    state = ({"w": np.zeros(1)}, {"s": 1})
    trainer = SimpleNamespace(epochs=of, epoch=0, stop=False, state=lambda: state)
    for epoch in range(1, epochs + 1):
        clock.now += seconds
        trainer.epoch = epoch
        kept.on_epoch_end(trainer, epoch, {"epoch": epoch})
    return kept, run, trainer


def test_long_epochs_are_all_saved_metrics_first(clock: Clock) -> None:
    _, run, _ = _epochs(clock, 2.0, 3, 10)
    assert [what for what, _ in run.told] == ["metrics", "checkpoint"] * 3
    assert [rows for what, rows in run.told if what == "metrics"] == [[1], [2], [3]]
    last = run.told[-1][1]
    assert (last["epoch"], last["state"]) == (3, {"s": 1})
    assert last["seconds"] == pytest.approx(50 + 3 * 2 + 2 * 0.1)


def test_short_epochs_are_passed_over_but_not_the_first_and_last(clock: Clock) -> None:
    _, run, _ = _epochs(clock, 0.25, 10, 10)
    assert [rows for what, rows in run.told if what == "metrics"] == [
        [1],
        [2, 3, 4, 5],
        [6, 7, 8, 9],
        [10],
    ]


def test_an_interruption_is_always_saved(clock: Clock) -> None:
    kept, run, trainer = _epochs(clock, 0.01, 3, 10)
    assert [rows for what, rows in run.told if what == "metrics"] == [[1]]
    kept.on_interrupt(trainer)
    assert run.told[-2] == ("metrics", [2, 3])
    assert run.told[-1][1]["epoch"] == 3
