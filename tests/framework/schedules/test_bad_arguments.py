"""Every option of every schedule is looked at when it is made; what is shown, asked and loaded."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from flagstone import schedules
from flagstone.errors import ConfigurationError
from flagstone.plugins import registry

REQUIRED: dict[str, dict[str, Any]] = {
    "multi-step": {"milestones": (3, 6)},
    "piecewise": {"at": (0.0, 1.0), "factors": (1.0, 0.1)},
    "sequential": {"parts": ("cosine", "linear"), "at": (2,)},
    "product": {"parts": ("cosine", "linear")},
}


class Anything:
    def __repr__(self) -> str:
        return "anything"


def options() -> list[tuple[str, str]]:
    return [
        (name, option)
        for name in registry.names("schedule")
        for option in inspect.signature(registry.load("schedule", name)).parameters
    ]


@pytest.mark.parametrize(("name", "option"), options())
def test_a_schedule_refuses_what_an_option_cannot_be(name: str, option: str) -> None:
    make = registry.load("schedule", name)
    for value in (Anything(), "nonsense", math.nan, math.inf, -2, (Anything(),)):
        told = rf"{option}\b.*\b(got|got .*){re.escape(repr(value))}"
        with pytest.raises(ConfigurationError, match=told):
            make(**{**REQUIRED.get(name, {}), option: value})


@pytest.mark.parametrize("name", registry.names("schedule"))
def test_past_the_end_and_of_no_steps_there_is_a_factor(name: str) -> None:
    schedule = registry.load("schedule", name)(**REQUIRED.get(name, {}))
    for step, steps in ((0, 0), (20, 20), (33, 20), (0, 1)):
        found = schedule.factor(step, steps, 5)
        assert 0 <= found < math.inf
    for asked in ((-1, 10, 5), (0, -1, 5), (0, 10, 0), (None, 10, 5), (0, 10, "a")):
        with pytest.raises(ConfigurationError, match=r"factor expected step >= 0.*got"):
            schedule.factor(*asked)


@pytest.mark.parametrize("name", registry.names("schedule"))
def test_what_it_shows_makes_it_again(name: str) -> None:
    schedule = registry.load("schedule", name)(**REQUIRED.get(name, {}))
    again = eval(repr(schedule), vars(schedules).copy())
    found, expected = ([s.factor(i, 40, 4) for i in range(40)] for s in (again, schedule))
    assert found == expected


def test_numbers_of_numpy_are_numbers() -> None:
    schedule = schedules.Linear(over=np.int64(4))
    assert [schedule.factor(i, 8, 2) for i in range(5)] == [1.0, 0.75, 0.5, 0.25, 0.0]


def plateau(**state: Any) -> None:
    schedules.ReduceOnPlateau().load_state_dict(state)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plateau(now="x"), "reduce-on-plateau: now expected a finite number >= 0; got 'x'"),
        (lambda: plateau(best="x"), "reduce-on-plateau: best expected a number or None; got 'x'"),
        (lambda: plateau(bad=-1), "reduce-on-plateau: bad expected an integer >= 0; got -1"),
        (lambda: plateau(cooling=0.5), "cooling expected an integer >= 0; got 0.5"),
        (lambda: plateau(worst=1), "expected now, best, bad, cooling; got also worst"),
        (lambda: schedules.Cosine().load_state_dict({"now": 1}), "Cosine expected no states; got"),
        (lambda: schedules.Cosine().load_state_dict(None), "Cosine expected a dict, as state_dict"),
        (
            lambda: schedules.Product(("cosine",)).load_state_dict({"1": {}}),
            "product expected 0; got also 1",
        ),
        (
            # of another type on purpose
            lambda: schedules.ReduceOnPlateau().observe("low", 1),  # type: ignore[arg-type]
            "reduce-on-plateau: loss expected a number; got 'low'",
        ),
    ],
)
def test_a_bad_state_is_told(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        call()
