"""Schedules that go one way: in steps, exponentially, by a power, linearly."""

from __future__ import annotations

import bisect
import itertools

from flagstone.schedules.base import Schedule, is_count, is_finite, require


class Step(Schedule):
    """Times ``gamma`` after every ``every`` epochs (PyTorch's StepLR).

    Args:
        every: how many epochs the rate stays as it is.
        gamma: what it is multiplied by then.
        warmup: as in :class:`Schedule`.
    """

    def __init__(self, every: int = 10, gamma: float = 0.1, warmup: float = 0) -> None:
        super().__init__(warmup)
        require("step", "every", every, is_count(every), "a positive number of epochs")
        require("step", "gamma", gamma, is_finite(gamma), "a finite number >= 0")
        self.every, self.gamma = every, gamma

    def after_warmup(self, step: int, steps: int, steps_per_epoch: int) -> float:
        return float(self.gamma ** (step // (self.every * steps_per_epoch)))


class MultiStep(Schedule):
    """Times ``gamma`` at the start of each of the epochs ``milestones`` (PyTorch's MultiStepLR).

    Args:
        milestones: the epochs, numbered from 0, as in ``(30, 60)``.
        gamma: what the rate is multiplied by then.
        warmup: as in :class:`Schedule`.
    """

    def __init__(self, milestones: tuple[int, ...], gamma: float = 0.1, warmup: float = 0) -> None:
        super().__init__(warmup)
        listed = isinstance(milestones, (tuple, list)) and all(is_count(m) for m in milestones)
        expected = "a tuple of rising positive epochs"
        rising = listed and list(milestones) == sorted(set(milestones))
        require("multi-step", "milestones", milestones, rising, expected)
        require("multi-step", "gamma", gamma, is_finite(gamma), "a finite number >= 0")
        self.milestones, self.gamma = tuple(milestones), gamma

    def after_warmup(self, step: int, steps: int, steps_per_epoch: int) -> float:
        return float(self.gamma ** bisect.bisect_right(self.milestones, step // steps_per_epoch))


class Exponential(Schedule):
    """Times ``gamma`` after every epoch (PyTorch's ExponentialLR).

    Args:
        gamma: what the rate is multiplied by.
        warmup: as in :class:`Schedule`.
    """

    def __init__(self, gamma: float = 0.95, warmup: float = 0) -> None:
        super().__init__(warmup)
        require("exponential", "gamma", gamma, is_finite(gamma), "a finite number >= 0")
        self.gamma = gamma

    def after_warmup(self, step: int, steps: int, steps_per_epoch: int) -> float:
        return float(self.gamma ** (step // steps_per_epoch))


class Polynomial(Schedule):
    """From 1 to ``floor`` as ``(1 - step / steps) ** power`` falls (PyTorch's PolynomialLR, over
    all steps); ``rising``, from ``floor`` to 1 as ``(step / steps) ** power`` rises.

    Args:
        power: 1 for a straight line.
        floor: the least factor, in [0, 1].
        warmup: as in :class:`Schedule`.
        rising: up instead of down.
    """

    def __init__(
        self, power: float = 1.0, floor: float = 0.0, warmup: float = 0, rising: bool = False
    ) -> None:
        super().__init__(warmup)
        require("polynomial", "rising", rising, isinstance(rising, bool), "True or False")
        require("polynomial", "power", power, is_finite(power), "a finite number >= 0")
        require("polynomial", "floor", floor, is_finite(floor, 0, 1), "a number in [0, 1]")
        self.power, self.floor, self.rising = power, floor, rising

    def after_warmup(self, step: int, steps: int, steps_per_epoch: int) -> float:
        place = min(step / steps, 1.0)
        place = place if self.rising else 1 - place
        return float(self.floor + (1 - self.floor) * place**self.power)


class Piecewise(Schedule):
    """In straight lines from point to point (``numpy.interp``).

    Args:
        at: where the points are, as rising fractions of all steps (each rounded down to a step),
            from 0.0 to 1.0.
        factors: of the base rate, one for each point.

    Example:
        >>> Piecewise(at=(0.0, 0.23, 1.0), factors=(0.2, 1.0, 0.07))
    """

    def __init__(self, at: tuple[float, ...], factors: tuple[float, ...]) -> None:
        super().__init__()
        rising = isinstance(at, (tuple, list)) and all(is_finite(a, 0, 1) for a in at)
        rising = rising and len(at) > 1 and (at[0], at[-1]) == (0, 1)
        rising = rising and all(a < b for a, b in itertools.pairwise(at))
        require("piecewise", "at", at, rising, "a tuple of rising fractions from 0.0 to 1.0")
        holds = isinstance(factors, (tuple, list)) and all(is_finite(f) for f in factors)
        holds = holds and len(factors) == len(at)
        require("piecewise", "factors", factors, holds, f"a tuple of {len(at)} numbers >= 0")
        self.at, self.factors = tuple(at), tuple(factors)

    def after_warmup(self, step: int, steps: int, steps_per_epoch: int) -> float:
        places = [int(a * steps) for a in self.at]
        i = min(bisect.bisect_right(places, step), len(places) - 1)
        (a, b), (start, end) = places[i - 1 : i + 1], self.factors[i - 1 : i + 1]
        return start + (end - start) * (min(step, b) - a) / (b - a) if a < b else end


class Linear(Schedule):
    """From ``start`` to ``end`` in a straight line, and then ``end`` (PyTorch's LinearLR).

    Args:
        start, end: factors of the base rate.
        over: how many steps the line takes, or which fraction of all (1 for all, a float).
        warmup: as in :class:`Schedule`.
    """

    def __init__(
        self, start: float = 1.0, end: float = 0.0, over: float = 1.0, warmup: float = 0
    ) -> None:
        super().__init__(warmup)
        require("linear", "start", start, is_finite(start), "a finite number >= 0")
        require("linear", "end", end, is_finite(end), "a finite number >= 0")
        holds = is_count(over) or (isinstance(over, float) and 0 < over <= 1)
        expected = "a positive number of steps, or a fraction in (0, 1] as a float"
        require("linear", "over", over, holds, expected)
        self.start, self.end, self.over = start, end, over

    def after_warmup(self, step: int, steps: int, steps_per_epoch: int) -> float:
        length = self.over if is_count(self.over) else self.over * steps
        return self.start + (self.end - self.start) * min(step / length, 1.0)
