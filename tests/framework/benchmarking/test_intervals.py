"""What is concluded from times whose truth is known, because they are drawn."""

from __future__ import annotations

import math
import random

import pytest

from flagstone.benchmarking.intervals import (
    Interval,
    ratio_interval,
    spread,
    unpaired_interval,
    verdict,
)

FACTOR = 1.3


def drawn(
    ratio: float, seed: int, noise: float = 0.05, rounds: int = 5
) -> list[list[tuple[float, float]]]:
    """Pairs as a machine gives them: every process and every sample is off by some, a few by much,
    and the machine itself drifts."""
    rng = random.Random(seed)
    found = []
    for number in range(rounds):
        base, head = (math.exp(rng.gauss(0, noise)) for _ in range(2))
        pairs = []
        for _ in range(5):
            weather = 1 + 0.5 * number
            late = [3.0 if rng.random() < 0.05 else 1.0 for _ in range(2)]
            pairs.append(
                (
                    weather * base * late[0] * math.exp(rng.gauss(0, noise)),
                    weather * head * late[1] * ratio * math.exp(rng.gauss(0, noise)),
                )
            )
        found.append(pairs)
    return found


def test_equal_times_have_an_interval_without_width() -> None:
    assert ratio_interval([[(2.0, 3.0)] * 4] * 3) == Interval(
        pytest.approx(1.5), pytest.approx(1.5), pytest.approx(1.5)
    )


def test_the_ratio_is_the_median_of_the_pairs_ratios() -> None:
    found = ratio_interval([[(1.0, 1.0), (1.0, 2.0)], [(10.0, 20.0), (1.0, 50.0), (4.0, 8.0)]])
    assert found.ratio == pytest.approx(2.0)
    assert found.low <= 2.0 <= found.high


def test_it_is_the_same_every_time() -> None:
    assert ratio_interval(drawn(1.0, 3)) == ratio_interval(drawn(1.0, 3))


def test_the_true_ratio_is_mostly_inside() -> None:
    found = [ratio_interval(drawn(1.5, seed)) for seed in range(60)]
    assert sum(i.low <= 1.5 <= i.high for i in found) >= 52  # few rounds cover less than 99 %


def test_a_difference_between_processes_alone_is_not_taken_for_certain() -> None:
    """Samples within a process agree to 0.1 %; only rounds tell how far processes differ."""
    rng = random.Random(1)
    rounds = [[(1.0, math.exp(rng.gauss(0, 0.2)))] * 20 for _ in range(5)]
    found = ratio_interval(rounds)
    assert found.high / found.low > 1.2


def test_half_as_slow_again_is_caught_and_unchanged_code_is_not() -> None:
    caught = [verdict(ratio_interval(drawn(1.5, seed, rounds=10)), FACTOR) for seed in range(40)]
    assert caught.count("slower") >= 36
    alarms = [verdict(ratio_interval(drawn(1.0, seed)), FACTOR) for seed in range(100)]
    assert alarms.count("slower") == 0


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1.31, 1.6, "slower"),
        (1.30, 1.6, "no difference shown"),  # it must lie beyond, not at
        (0.5, 0.76, "faster"),
        (0.5, 0.77, "no difference shown"),
        (0.5, 2.0, "no difference shown"),
    ],
)
def test_the_verdict_wants_the_whole_interval(low: float, high: float, expected: str) -> None:
    assert verdict(Interval((low + high) / 2, low, high), FACTOR) == expected


def test_times_of_two_days_are_compared_by_their_medians() -> None:
    found = unpaired_interval([1.0, 2.0, 3.0], [4.0, 4.0, 4.0])
    assert found.ratio == pytest.approx(2.0)
    assert (found.low, found.high) == (pytest.approx(4 / 3), pytest.approx(4.0))


def test_nothing_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="at least one pair of times"):
        ratio_interval([[], []])
    with pytest.raises(ValueError, match="times on both sides"):
        unpaired_interval([1.0], [])


def test_spread_is_half_the_quartiles_distance_over_the_median() -> None:
    assert spread([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(1 / 3)
    assert spread([7.0]) == 0.0
