"""The checks of a schedule."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, ClassVar

from flagstone.errors import FlagstoneError
from flagstone.schedules import Schedule
from flagstone.testing.comparing import given
from flagstone.testing.randomness import SEEDS, global_seed
from flagstone.testing.refusals import refuses
from flagstone.testing.suite import Suite

EPOCHS, PER_EPOCH = 12, 5
LOSSES = (1.0, 0.8, 0.7, 0.7, 0.7, 0.71, 0.7, 0.7, 0.7, 0.7, 0.69, 0.69)
BUILT_IN: Mapping[str, Mapping[str, Any]] = {
    "multi-step": {"milestones": (3, 6)},
    "piecewise": {"at": (0.0, 0.5, 1.0), "factors": (0.5, 1.0, 0.0)},
    "reduce-on-plateau": {"patience": 1},
    "sequential": {"parts": ("constant", "cosine"), "at": (4,)},
    "product": {"parts": ("constant", "step(every=2)")},
}
"""Options of the built-in schedules that cannot be made without, or would do nothing so soon."""


class ScheduleSuite(Suite):
    """The checks of a schedule of the learning rate: ``target(**params)``.

    Attributes:
        params: its options.
    """

    kind: ClassVar[str] = "schedule"
    params: Mapping[str, Any] = {}

    def make(self) -> Any:
        """The schedule."""
        return self.target(**(self.params or BUILT_IN.get(self.name, {})))

    def test_factors(self) -> None:
        """Every factor is a finite Python number >= 0, in runs of any length."""
        schedule = self.make()
        if not isinstance(schedule, Schedule):
            raise AssertionError(
                f"expected a flagstone.schedules.Schedule; got {type(schedule).__name__}"
            )
        for steps, per_epoch in ((1, 1), (2, 1), (7, 7), (EPOCHS * PER_EPOCH, PER_EPOCH)):
            for step in range(steps):
                factor = schedule.factor(step, steps, per_epoch)
                with given(f"step {step} of {steps}"):
                    if not isinstance(factor, (int, float)):
                        raise AssertionError(
                            f"expected a Python number; got {type(factor).__name__}"
                        )
                    if not (math.isfinite(factor) and factor >= 0):
                        raise AssertionError(f"expected a finite factor >= 0; got {factor!r}")

    def test_purity(self) -> None:
        """A factor follows from the step alone, in whatever order and how often one asks."""
        schedule = self.make()
        forwards = factors(schedule)
        places = range(EPOCHS * PER_EPOCH)
        backwards = [_factor(schedule, step) for step in reversed(places)][::-1]
        for step, (one, other) in enumerate(zip(forwards, backwards, strict=True)):
            if one != other:
                raise AssertionError(
                    f"step {step}: expected {one!r}, as when asked in order; got {other!r}"
                )

    def test_determinism(self) -> None:
        """Equal runs have equal factors; nothing is drawn from global random generators."""
        found = []
        for seed in SEEDS:
            with global_seed(seed):
                found.append(run(self.make(), 0))
        if found[0] != found[1]:
            raise AssertionError("expected equal factors in a second run; got others")

    def test_save_and_resume(self) -> None:
        """Going on from ``state_dict``, kept as JSON, gives the factors of one run."""
        straight = run(self.make(), 0)
        for stop in (1, 4, 8):
            first = self.make()
            before = run(first, 0, stop)
            state = json.loads(json.dumps(first.state_dict()))
            second = self.make()
            run(second, 0, 2)  # it has seen another run
            second.load_state_dict(state)
            after = run(second, stop)
            if before + after != straight:
                raise AssertionError(
                    f"stopped after epoch {stop}: expected the factors "
                    f"{straight[stop * PER_EPOCH :][:3]}, ...; got {after[:3]}, ..."
                )

    def test_begins_anew(self) -> None:
        """``load_state_dict({})`` forgets the losses of an earlier run."""
        used = self.make()
        straight = run(used, 0)
        used.load_state_dict({})
        if run(used, 0) != straight:
            raise AssertionError("expected the factors of a new schedule; got others")

    def test_error_messages(self) -> None:
        """Bad options are refused with an error of flagstone's, in one line."""
        import inspect

        options = inspect.signature(self.target).parameters
        given_options = self.params or BUILT_IN.get(self.name, {})
        for name in options:
            bad = {**given_options, name: object()}
            refuses(f"{name}=object()", lambda b=bad: self.target(**b), FlagstoneError, name)  # type: ignore[misc]  # mypy cannot infer a lambda's default


def _factor(schedule: Any, step: int) -> float:
    factor: float = schedule.factor(step, EPOCHS * PER_EPOCH, PER_EPOCH)
    return factor


def factors(schedule: Any) -> list[float]:
    """All of a run's, asked without telling losses."""
    return [_factor(schedule, step) for step in range(EPOCHS * PER_EPOCH)]


def run(schedule: Any, start: int, stop: int = EPOCHS) -> list[float]:
    """The factors of these epochs, as the trainer asks and tells."""
    found = []
    for epoch in range(start, stop):
        found += [_factor(schedule, epoch * PER_EPOCH + i) for i in range(PER_EPOCH)]
        schedule.observe(LOSSES[epoch], epoch + 1)
    return found
