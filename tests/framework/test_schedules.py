"""Learning rates step by step, against PyTorch's schedulers and against the definitions."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

from flagstone import schedules
from flagstone.errors import ConfigurationError, UnknownNameError
from flagstone.named import make
from flagstone.plugins import registry


def factors(schedule: schedules.Schedule, steps: int, per_epoch: int = 1) -> list[float]:
    return [schedule.factor(i, steps, per_epoch) for i in range(steps)]


def pytorchs(make_scheduler: Any, steps: int, lr: float = 1.0) -> list[float]:
    torch = pytest.importorskip("torch", reason="PyTorch, the reference, is not installed")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler = make_scheduler(torch.optim.lr_scheduler, optimizer)
    rates = []
    for i in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if i + 1 < steps:
            scheduler.step()
    return rates


def test_constant() -> None:
    assert factors(schedules.Constant(), 7) == [1.0] * 7


@pytest.mark.parametrize("per_epoch", [1, 3])
def test_step(per_epoch: int) -> None:
    expected = pytorchs(
        lambda s, o: s.StepLR(o, step_size=4 * per_epoch, gamma=0.3), 12 * per_epoch
    )
    given = factors(schedules.Step(4, 0.3), 12 * per_epoch, per_epoch)
    np.testing.assert_allclose(given, expected, rtol=1e-12)


@pytest.mark.parametrize("floor", [0.0, 0.1])
@pytest.mark.parametrize("steps", [1, 2, 50])
def test_cosine(steps: int, floor: float) -> None:
    expected = pytorchs(lambda s, o: s.CosineAnnealingLR(o, T_max=steps, eta_min=floor), steps)
    np.testing.assert_allclose(factors(schedules.Cosine(floor), steps), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("rise", "start", "end"), [(0.3, 25.0, 1e4), (0.5, 10.0, 100.0), (0.15, 2.0, 1.0)]
)
@pytest.mark.parametrize("steps", [10, 20, 100, 101])
def test_one_cycle(steps: int, rise: float, start: float, end: float) -> None:
    expected = pytorchs(
        lambda s, o: s.OneCycleLR(
            o, max_lr=1.0, total_steps=steps, pct_start=rise, div_factor=start,
            final_div_factor=end, cycle_momentum=False,
        ),
        steps,
    )  # fmt: skip
    given = factors(schedules.OneCycle(rise, start, end), steps)
    np.testing.assert_allclose(given, expected, rtol=1e-9, atol=1e-12)


def test_one_cycle_is_finite_for_very_short_runs() -> None:
    for steps in (1, 2, 3):
        assert all(0 < f <= 1 for f in factors(schedules.OneCycle(), steps))


def test_warm_up_rises_linearly_and_then_the_schedule_follows() -> None:
    given = factors(schedules.Cosine(warmup=4), 14)
    np.testing.assert_allclose(given[:4], [0.25, 0.5, 0.75, 1.0])
    np.testing.assert_allclose(given[4:], factors(schedules.Cosine(), 10), rtol=1e-12)
    torch = pytest.importorskip("torch", reason="PyTorch, the reference, is not installed")
    del torch
    expected = pytorchs(lambda s, o: s.LambdaLR(o, lambda i: min((i + 1) / 4, 1.0)), 14)
    np.testing.assert_allclose(factors(schedules.Constant(warmup=4), 14), expected)


def test_warm_up_as_a_fraction() -> None:
    assert factors(schedules.Constant(warmup=0.25), 8) == [0.5, 1.0] + [1.0] * 6
    assert factors(schedules.Constant(warmup=0.25), 3) == [1.0] * 3  # less than one step
    assert factors(schedules.Step(2, 0.5, warmup=0.5), 8) == (
        [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 0.5, 0.5]
    )  # fmt: skip


def test_warm_up_longer_than_the_run() -> None:
    np.testing.assert_allclose(factors(schedules.Cosine(warmup=10), 4), [0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize("name", ["constant", "step", "cosine"])
def test_every_schedule_takes_a_warm_up_from_text(name: str) -> None:
    schedule = make("schedule", f"{name}(warmup=2)")
    assert schedule.factor(0, 10, 1) == 0.5
    assert schedule.factor(1, 10, 1) == 1.0


BAD: list[tuple[Any, str]] = [
    (lambda: schedules.Constant(warmup=-1), "schedule: warmup expected a number of steps or a"),
    (lambda: schedules.Constant(warmup=1.5), "schedule: warmup expected a number of steps or a"),
    (lambda: schedules.Constant(warmup=math.nan), "schedule: warmup expected"),
    (lambda: schedules.Constant(warmup=math.inf), "schedule: warmup expected"),
    (lambda: schedules.Cosine(warmup="long"), "schedule: warmup expected"),
    (lambda: schedules.Step(0), "schedule step: every expected a positive number of epochs; got 0"),
    (lambda: schedules.Step(2.5), "schedule step: every expected a positive number of epochs"),
    (lambda: schedules.Step(2, gamma="half"), "schedule step: gamma expected a finite number >= 0"),
    (lambda: schedules.Step(2, gamma=-1), "schedule step: gamma expected a finite number >= 0"),
    (
        lambda: schedules.Cosine(floor=2),
        "schedule cosine: floor expected a number in [0, 1]; got 2",
    ),
    (lambda: schedules.Cosine(floor="a"), "schedule cosine: floor expected a number in [0, 1]"),
    (lambda: schedules.OneCycle(rise=1.0), "schedule one-cycle: expected 0 < rise < 1"),
    (lambda: schedules.OneCycle(start=0.5), "schedule one-cycle: expected 0 < rise < 1"),
    (lambda: schedules.OneCycle(end="a"), "schedule one-cycle: expected 0 < rise < 1"),
]


@pytest.mark.parametrize(("make_schedule", "message"), BAD)
def test_a_bad_option_is_named(make_schedule: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        make_schedule()


def test_names() -> None:
    assert set(registry.names("schedule")) >= {"constant", "step", "cosine", "one-cycle"}
    with pytest.raises(UnknownNameError, match=r"unknown schedule 'cosin'.*Did you mean 'cosine'"):
        make("schedule", "cosin")
