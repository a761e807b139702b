"""A step along a direction that fulfils the strong Wolfe conditions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

SUFFICIENT_DECREASE = 1e-4  # c1 and c2 of Nocedal & Wright, the values they name for quasi-Newton
CURVATURE = 0.9
ROUNDING = 1e-14  # relative, of a float64 loss: below it only slopes tell


class Point(NamedTuple):
    """What is known at one step along the direction."""

    step: float
    loss: float
    slope: float  # of the loss along the direction
    gradient: Any


def strong_wolfe(
    evaluate: Callable[[float], Point], start: Point, first: float, *, tolerance: float, most: int
) -> tuple[Point, int]:
    """A point with sufficient decrease and a small slope (Nocedal & Wright, Numerical Optimization,
    algorithms 3.5 and 3.6, with the interpolation and safeguards of Schmidt's minFunc, as PyTorch).

    Args:
        evaluate: step -> point; a loss that is not finite must come as infinity.
        start: at step 0, with a negative slope.
        first: the first step to try.
        tolerance: an interval of steps shorter than this is not refined.
        most: how often ``evaluate`` may be called after the first step.

    Returns:
        The point, the best that was found if none fulfils the conditions; how often ``evaluate``
        was called.
    """
    before, now = start, evaluate(first)
    tried = 0
    while tried < most:
        rose = not _decreases(now, start) or (tried > 1 and now.loss >= before.loss)
        if not rose and abs(now.slope) <= -CURVATURE * start.slope:
            return now, tried + 1
        if rose or now.slope >= 0:
            return _zoom(evaluate, start, (before, now), tried, tolerance, most)
        low, high = now.step + 0.01 * (now.step - before.step), now.step * 10
        step = _between(before, now, low, high)
        before, now = now, evaluate(step)
        tried += 1
    return min(start, now, key=lambda point: point.loss), tried + 1


def _zoom(
    evaluate: Callable[[float], Point], start: Point, bracket: tuple[Point, Point], tried: int,
    tolerance: float, most: int,
) -> tuple[Point, int]:  # fmt: skip
    """Narrow a bracket of which one end is low and the slope there leads to the other."""
    low, high = sorted(bracket, key=lambda point: point.loss)
    stuck = False
    while tried < most and abs(high.step - low.step) >= tolerance:
        left, right = sorted((low.step, high.step))
        step = _between(low, high, left, right)
        margin = 0.1 * (right - left)
        if min(right - step, step - left) >= margin:
            stuck = False
        elif stuck or step >= right or step <= left:  # twice too near to an end: move off it
            step = right - margin if abs(step - right) < abs(step - left) else left + margin
            stuck = False
        else:
            stuck = True
        now = evaluate(step)
        tried += 1
        if not _decreases(now, start) or now.loss >= low.loss:
            low, high = sorted((low, now), key=lambda point: point.loss)
        else:
            if abs(now.slope) <= -CURVATURE * start.slope:
                return now, tried + 1
            if now.slope * (high.step - low.step) >= 0:
                high = low
            low = now
    return low, tried + 1


def _decreases(now: Point, start: Point) -> bool:
    """Whether the loss is low enough, or, where it is the same but for rounding, the slope (the
    approximate condition of Hager & Zhang, "A new conjugate gradient method", 2005, eq. 1.6)."""
    if now.loss <= start.loss + SUFFICIENT_DECREASE * now.step * start.slope:
        return True
    same = abs(now.loss - start.loss) <= ROUNDING * abs(start.loss)
    return same and now.slope <= (2 * SUFFICIENT_DECREASE - 1) * start.slope


def _between(a: Point, b: Point, low: float, high: float) -> float:
    """The minimum of the cubic through two points and their slopes (Nocedal & Wright, eq. 3.59),
    kept in [low, high]; the middle where there is none."""
    if a.step > b.step:
        a, b = b, a
    if not all(math.isfinite(v) for v in (a.loss, b.loss, a.slope, b.slope)):
        return (low + high) / 2
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.step - b.step)
    square = d1 * d1 - a.slope * b.slope
    if not square >= 0:
        return (low + high) / 2
    d2 = math.sqrt(square)
    bottom = b.slope - a.slope + 2 * d2
    if bottom == 0:
        return (low + high) / 2
    step = b.step - (b.step - a.step) * (b.slope + d2 - d1) / bottom
    return min(max(step, low), high)
