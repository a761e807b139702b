"""What times say in spite of their noise: a ratio with an interval, and a verdict.

A round is a pair of fresh processes; within it samples of both sides follow each other in turns.
Samples of one process resemble each other more than those of two (where memory came to lie, which
core it got), so the bootstrap draws rounds first and then pairs within each (Davison & Hinkley,
Bootstrap Methods and Their Application, 1997, section 3.8). The median of the drawn pairs' ratios
is what varies from draw to draw.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["slower", "faster", "no difference shown"]
DRAWS = 1000
LEVEL = 0.99


@dataclass(frozen=True)
class Interval:
    """A ratio of times and where it lies with the probability ``LEVEL``."""

    ratio: float
    low: float
    high: float


def ratio_interval(
    rounds: Sequence[Sequence[tuple[float, float]]], level: float = LEVEL, seed: int = 0
) -> Interval:
    """The median ratio of the second time to the first, with a percentile bootstrap interval.

    Args:
        rounds: pairs of seconds measured one right after the other, round by round.
        level: the probability that the interval is to cover.
        seed: of the draws.

    Raises:
        ValueError: there is no pair.
    """
    logs = [[math.log(b / a) for a, b in pairs] for pairs in rounds if pairs]
    if not logs:
        raise ValueError("ratio_interval: rounds expected at least one pair of times; got none")
    rng = random.Random(seed)
    medians = sorted(
        statistics.median(
            value for pairs in rng.choices(logs, k=len(logs))
            for value in rng.choices(pairs, k=len(pairs))
        )
        for _ in range(DRAWS)
    )  # fmt: skip
    return Interval(
        math.exp(statistics.median(value for pairs in logs for value in pairs)),
        *(math.exp(value) for value in _ends(medians, level)),
    )


def unpaired_interval(
    before: Sequence[float], after: Sequence[float], level: float = LEVEL, seed: int = 0
) -> Interval:
    """The ratio of medians of times that were not taken in turns, such as of another day.

    Raises:
        ValueError: there is nothing on one side.
    """
    if not before or not after:
        raise ValueError("unpaired_interval: expected times on both sides; got none on one")
    rng = random.Random(seed)

    def drawn(times: Sequence[float]) -> float:
        return statistics.median(rng.choices(times, k=len(times)))

    ratios = sorted(drawn(after) / drawn(before) for _ in range(DRAWS))
    return Interval(statistics.median(after) / statistics.median(before), *_ends(ratios, level))


def verdict(interval: Interval, factor: float) -> Verdict:
    """``"slower"`` only if the whole interval is beyond ``factor``, ``"faster"`` likewise."""
    if interval.low > factor:
        return "slower"
    if interval.high < 1 / factor:
        return "faster"
    return "no difference shown"


def spread(times: Sequence[float]) -> float:
    """Half the distance of the quartiles over the median: how much single times differ."""
    if len(times) < 2:
        return 0.0
    low, middle, high = statistics.quantiles(times, n=4, method="inclusive")
    return (high - low) / 2 / middle


def _ends(ordered: Sequence[float], level: float) -> tuple[float, float]:
    out = round((1 - level) / 2 * (len(ordered) - 1))
    return ordered[out], ordered[-1 - out]
