"""The table of schedules, step by step: PyTorch's schedulers, and what they are composed of."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from flagstone import schedules
from flagstone.errors import ConfigurationError, UnknownNameError
from flagstone.named import make
from flagstone.plugins import ScheduleSpec, registry

STEPS = 60


def factors(schedule: schedules.Schedule, steps: int = STEPS, per_epoch: int = 1) -> list[float]:
    return [schedule.factor(i, steps, per_epoch) for i in range(steps)]


CASES: dict[str, tuple[schedules.Schedule, Callable[[Any, Any], Any]]] = {
    "constant": (schedules.Constant(), lambda s, o: s.ConstantLR(o, factor=1.0)),
    "step": (schedules.Step(4, 0.3), lambda s, o: s.StepLR(o, step_size=4, gamma=0.3)),
    "cosine": (
        schedules.Cosine(0.1), lambda s, o: s.CosineAnnealingLR(o, T_max=STEPS, eta_min=0.1),
    ),
    "one-cycle": (
        schedules.OneCycle(0.3, 25.0, 1e4),
        lambda s, o: s.OneCycleLR(
            o, 1.0, total_steps=STEPS, pct_start=0.3, div_factor=25.0, final_div_factor=1e4,
            cycle_momentum=False,
        ),
    ),
    "multi-step": (
        schedules.MultiStep((3, 10, 40), 0.3),
        lambda s, o: s.MultiStepLR(o, [3, 10, 40], gamma=0.3),
    ),
    "exponential": (schedules.Exponential(0.9), lambda s, o: s.ExponentialLR(o, gamma=0.9)),
    "polynomial": (
        schedules.Polynomial(2.5), lambda s, o: s.PolynomialLR(o, total_iters=STEPS, power=2.5),
    ),
    "polynomial, rising": (
        schedules.Polynomial(3.0, rising=True),
        lambda s, o: s.LambdaLR(o, lambda i: (i / STEPS) ** 3),
    ),
    "piecewise": (
        schedules.Piecewise((0.0, 0.23, 1.0), (0.2, 1.0, 0.07)),
        lambda s, o: s.LambdaLR(
            o, lambda i: np.interp(i, [0, int(0.23 * STEPS), STEPS], [0.2, 1.0, 0.07])
        ),
    ),
    "linear": (
        schedules.Linear(0.2, 0.9, 7),
        lambda s, o: s.LinearLR(o, start_factor=0.2, end_factor=0.9, total_iters=7),
    ),
    "linear, down over all": (
        schedules.Linear(),
        lambda s, o: s.LinearLR(o, start_factor=1.0, end_factor=0.0, total_iters=STEPS),
    ),
    "cosine restarts": (
        schedules.CosineRestarts(7, 1, 0.1),
        lambda s, o: s.CosineAnnealingWarmRestarts(o, T_0=7, T_mult=1, eta_min=0.1),
    ),
    "cosine restarts, longer each time": (
        schedules.CosineRestarts(4, 3),
        lambda s, o: s.CosineAnnealingWarmRestarts(o, T_0=4, T_mult=3),
    ),
    "triangular": (
        schedules.Triangular(7, low=0.2),
        lambda s, o: s.CyclicLR(o, 0.2, 1.0, step_size_up=7, cycle_momentum=False),
    ),
    "triangular2": (
        schedules.Triangular(4, 9, low=0.2, shrink=0.5),
        lambda s, o: s.CyclicLR(
            o, 0.2, 1.0, step_size_up=4, step_size_down=9, mode="triangular2",
            cycle_momentum=False,
        ),
    ),
    "exp_range": (
        schedules.Triangular(5, 2, low=0.1, gamma=0.97),
        lambda s, o: s.CyclicLR(
            o, 0.1, 1.0, step_size_up=5, step_size_down=2, mode="exp_range", gamma=0.97,
            cycle_momentum=False,
        ),
    ),
    "sequential": (
        schedules.Sequential(
            ("linear(start=0.1, end=1.0)", schedules.Exponential(0.9), "cosine"), (5, 20)
        ),
        lambda s, o: s.SequentialLR(
            o,
            [
                s.LinearLR(o, start_factor=0.1, end_factor=1.0, total_iters=5),
                s.ExponentialLR(o, gamma=0.9),
                s.CosineAnnealingLR(o, T_max=STEPS - 20),
            ],
            milestones=[5, 20],
        ),
    ),
    "product": (
        schedules.Product(("linear(start=0.1, end=1.0, over=5)", "exponential(gamma=0.9)")),
        lambda s, o: s.ChainedScheduler(
            [s.LinearLR(o, start_factor=0.1, total_iters=5), s.ExponentialLR(o, gamma=0.9)]
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_pytorchs_rates(name: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch, the reference, is not installed")
    schedule, make_scheduler = CASES[name]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make_scheduler(torch.optim.lr_scheduler, optimizer)
    expected = []
    for _ in range(STEPS):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(expected) < STEPS:  # one cycle is over then
            scheduler.step()
    np.testing.assert_allclose(factors(schedule), expected, rtol=1e-9, atol=1e-12)


PLATEAUS: list[dict[str, Any]] = [
    {"patience": 2},
    {"factor": 0.5, "patience": 0, "threshold": 0.05},
    {"factor": 0.5, "patience": 1, "threshold": 0.1, "threshold_mode": "abs"},
    {"factor": 0.3, "patience": 0, "cooldown": 3, "floor": 0.02},
]


@pytest.mark.parametrize("options", PLATEAUS)
def test_plateaus_are_pytorchs(options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch, the reference, is not installed")
    schedule = schedules.ReduceOnPlateau(**options)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = {"min_lr" if k == "floor" else k: v for k, v in options.items()}
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, eps=0.0, **theirs)
    rng = np.random.default_rng(0)
    seen = set()
    for epoch in range(1, STEPS + 1):
        loss = float(2.0 / epoch + 0.1 * rng.random())
        schedule.observe(loss, epoch)
        scheduler.step(loss)
        seen.add(schedule.factor(epoch, STEPS, 1))
        assert schedule.factor(epoch, STEPS, 1) == pytest.approx(optimizer.param_groups[0]["lr"])
    assert len(seen) > 2


def test_a_plateaus_state_goes_on() -> None:
    one, other = schedules.ReduceOnPlateau(patience=1), schedules.ReduceOnPlateau(patience=1)
    for epoch, loss in enumerate((2.0, 1.0, 1.5), start=1):
        one.observe(loss, epoch)
    assert one.state_dict() == {"now": 1.0, "best": 1.0, "bad": 1, "cooling": 0}
    other.load_state_dict(one.state_dict())
    for schedule in (one, other):
        schedule.observe(1.5, 4)
        assert schedule.factor(0, 1, 1) == pytest.approx(0.1)
    other.load_state_dict({})
    assert other.state_dict() == {"now": 1.0, "best": None, "bad": 0, "cooling": 0}


def test_epochs_of_several_steps() -> None:
    assert factors(schedules.MultiStep((1, 2), 0.5), 6, 2) == [1, 1, 0.5, 0.5, 0.25, 0.25]
    assert factors(schedules.Exponential(0.5), 6, 3) == [1, 1, 1, 0.5, 0.5, 0.5]
    restarts = factors(schedules.CosineRestarts(2), 12, 3)
    np.testing.assert_allclose(restarts[:6], factors(schedules.Cosine(), 6))
    np.testing.assert_allclose(restarts[6:], restarts[:6])
    both = schedules.Sequential(("linear(start=0.5, end=1.0)", "exponential(gamma=0.5)"), (1,))
    np.testing.assert_allclose(factors(both, 6, 2), [0.5, 0.75, 1, 1, 0.5, 0.5])


def test_a_part_hears_only_of_its_own_epochs() -> None:
    plateau = "reduce-on-plateau(patience=0, factor=0.5)"
    schedule = schedules.Sequential(("constant", plateau), (2,))
    for epoch in range(1, 5):
        schedule.observe(1.0, epoch)
    assert schedule.state_dict() == {"1": {"now": 0.5, "best": 1.0, "bad": 0, "cooling": 0}}


def test_a_run_that_ends_before_the_second_part() -> None:
    schedule = schedules.Sequential(("polynomial", "constant"), (10,))
    np.testing.assert_allclose(factors(schedule, 4), [1, 0.75, 0.5, 0.25])


@pytest.mark.parametrize(
    ("text", "at_the_start"),
    [
        ("multi-step(milestones=(3,))", 0.5), ("exponential", 0.5), ("polynomial", 0.5),
        ("linear", 0.5), ("cosine-restarts", 0.5), ("triangular(low=0.2)", 0.1),
        ("reduce-on-plateau", 0.5),
    ],
)  # fmt: skip
def test_each_takes_a_warm_up_from_text(text: str, at_the_start: float) -> None:
    name, _, options = text.removesuffix(")").partition("(")
    schedule = make("schedule", f"{name}({options}{', ' if options else ''}warmup=2)")
    assert schedule.factor(0, 10, 1) == pytest.approx(at_the_start)


BAD: list[tuple[str, str]] = [
    ("multi-step(milestones=3)", "schedule multi-step: milestones expected a tuple of rising pos"),
    ("multi-step(milestones=(3, 2))", "schedule multi-step: milestones expected a tuple of rising"),
    ("exponential(gamma='a')", "schedule exponential: gamma expected a finite number >= 0"),
    ("polynomial(power=-1)", "schedule polynomial: power expected a finite number >= 0; got -1"),
    ("polynomial(floor=2)", "schedule polynomial: floor expected a number in [0, 1]; got 2"),
    ("polynomial(rising=1)", "schedule polynomial: rising expected True or False; got 1"),
    ("piecewise(at=(0.0, 0.5), factors=(1.0, 0.0))", "schedule piecewise: at expected a tuple of"),
    (
        "piecewise(at=(0.0, 1.0), factors=(1.0,))",
        "schedule piecewise: factors expected a tuple of 2",
    ),
    ("linear(over=1.5)", "schedule linear: over expected a positive number of steps, or a fracti"),
    ("linear(end=-1)", "schedule linear: end expected a finite number >= 0; got -1"),
    ("cosine-restarts(period=0)", "schedule cosine-restarts: period expected a positive number of"),
    ("cosine-restarts(times=1.5)", "schedule cosine-restarts: times expected a positive integer"),
    ("triangular(up=0.5)", "schedule triangular: up expected a positive number of steps; got 0.5"),
    ("triangular(shrink=2)", "schedule triangular: shrink expected a number in [0, 1]; got 2"),
    ("reduce-on-plateau(factor=1)", "schedule reduce-on-plateau: factor expected a number in [0"),
    ("reduce-on-plateau(patience=-1)", "schedule reduce-on-plateau: patience expected an integer"),
    ("reduce-on-plateau(threshold_mode='x')", "threshold_mode expected 'rel' or 'abs'; got 'x'"),
    ("sequential(parts=(), at=())", "schedule sequential: parts expected a tuple of schedules"),
    ("sequential(parts='cosine', at=())", "schedule sequential: parts expected a tuple of sched"),
    ("sequential(parts=('cosine',), at=(3,))", "schedule sequential: at expected a tuple of 0 ris"),
    ("product(parts=(1,))", "schedule product: parts expected a tuple of schedules, or of their"),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_a_bad_option_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        make("schedule", text)


def test_an_unknown_part_is_named() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'cosine'"):
        make("schedule", "product(parts=('cosin',))")


# That nothing escapes the table


def missing_rows() -> list[str]:
    covered = {type(schedule) for schedule, _ in CASES.values()} | {schedules.ReduceOnPlateau}
    loaded = {name: registry.load("schedule", name) for name in registry.names("schedule")}
    return sorted(name for name, schedule in loaded.items() if schedule not in covered)


def test_every_registered_schedule_has_a_row() -> None:
    assert missing_rows() == []


class PlantedSchedule(schedules.Schedule):
    """A schedule that is in no row."""


def test_a_schedule_without_a_row_is_found(planted: Any) -> None:
    with planted(ScheduleSpec("planted", f"{__name__}:PlantedSchedule")):
        assert missing_rows() == ["planted"]
    assert missing_rows() == []


def test_every_class_is_registered() -> None:
    names = registry.names("schedule")
    classes = {registry.load("schedule", name) for name in names}
    assert classes >= {getattr(schedules, n) for n in schedules.__all__} - {schedules.Schedule}
