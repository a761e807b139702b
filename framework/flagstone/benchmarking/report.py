"""Results for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flagstone.benchmarking.gate import Result
    from flagstone.benchmarking.intervals import Interval

ORDER = ("crashed", "slower", "faster", "new", "gone", "skipped", "no difference shown")


def seconds(value: float) -> str:
    """A time with a unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size:
            return (
                f"{value / size:.3g} {unit}" if value < 100 * size else f"{value / size:.0f} {unit}"
            )
    return f"{value / 1e-9:.0f} ns"


def between(interval: Interval) -> str:
    """Such as ``1.02 (0.98 to 1.07)``."""
    return f"{interval.ratio:.2f} ({interval.low:.2f} to {interval.high:.2f})"


def markdown(results: Sequence[Result], message: str, factor: float, problem: str) -> str:
    """The gate's result for a pull request: what matters in a table, the rest folded away."""
    lines = [f"**{message[:1].upper()}{message[1:]}** (factor {factor:g})", ""]
    if problem:
        lines += ["```", problem, "```", ""]
    ordered = sorted(results, key=lambda r: ORDER.index(r.outcome))
    news = [r for r in ordered if r.outcome in ("crashed", "slower", "faster", "new", "gone")]
    rest = [r for r in ordered if r not in news]
    if news:
        lines += _table(news)
    if rest:
        counts = f"{sum(r.interval is not None for r in rest)} without a difference shown, "
        counts += f"{sum(r.outcome == 'skipped' for r in rest)} skipped"
        lines += ["<details>", f"<summary>{counts}</summary>", "", *_table(rest), "</details>", ""]
    return "\n".join(lines) + "\n"


def _table(results: Sequence[Result]) -> list[str]:
    lines = [
        "| benchmark | device | base | head | head / base (99 %) | outcome |",
        "|---|---|---|---|---|---|",
    ]
    for r in results:
        note = " ".join(r.note.replace("|", "\\|").split())
        told = f"{r.outcome}: {note}" if note else r.outcome
        times = [("" if t is None else seconds(t)) for t in (r.base, r.head)]
        ratio = "" if r.interval is None else between(r.interval)
        lines.append(f"| {r.name} | {r.device} | {times[0]} | {times[1]} | {ratio} | {told} |")
    return [*lines, ""]
