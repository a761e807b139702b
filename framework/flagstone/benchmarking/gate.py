"""Is one commit slower than another? CI asks it of every pull request, a plugin's CI too.

    python -m flagstone.benchmarking.gate BASE HEAD [NAME ...]

Both commits of the repository in the current directory are installed into environments of their
own. Rounds alternate: in each, both get a fresh process with one BLAS thread, and samples of every
benchmark are taken in turns. A benchmark whose interval reaches beyond the factor is measured
again, with twice the rounds, and only these fresh times can call it slower: its whole interval must
lie beyond the factor. Where the ratio does and the interval not yet, as on a busy machine, further
rounds are added to them, up to eight times as many as at first.

The exit code says what happened:

    0  no benchmark is slower
    1  one is slower: a regression
    2  the command line is wrong
    3  a commit cannot be checked out, built or imported
    4  a benchmark raised, or its process ended, on the head
    5  nothing was measured: all was skipped
    6  the gate itself failed
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flagstone.benchmarking.builds import BuildError, checked_out, installed
from flagstone.benchmarking.intervals import Interval, Verdict, ratio_interval, verdict
from flagstone.benchmarking.report import markdown
from flagstone.benchmarking.sides import Crash, Measured, Side, measure, worker
from flagstone.errors import ConfigurationError
from flagstone.training.files import require_writable

OK, REGRESSION, USAGE, BROKEN_BUILD, CRASHED, NOTHING, BUG = range(7)
FACTOR = 1.3
ROUNDS = 5
MOST = 8  # times ROUNDS, of what is measured again
MESSAGES = {
    USAGE: "the command line is wrong",
    OK: "no benchmark is slower by more than the factor",
    REGRESSION: "regression: a benchmark is slower by more than the factor",
    BROKEN_BUILD: "broken build: a commit cannot be checked out, built or imported",
    CRASHED: "crash: a benchmark raised, or its process ended, on the head",
    NOTHING: "nothing was measured: every benchmark was skipped",
    BUG: "the gate itself failed",
}


@dataclass(frozen=True)
class Result:
    """One benchmark on one device.

    Attributes:
        name, device: which.
        base, head: median seconds; ``None`` where it was not measured.
        interval: of head over base.
        outcome: a verdict, ``"crashed"``, ``"skipped"``, ``"new"`` or ``"gone"``.
        note: why there is no verdict.
        rounds: on how many it rests.
    """

    name: str
    device: str
    base: float | None
    head: float | None
    interval: Interval | None
    outcome: Verdict | str
    note: str = ""
    rounds: int = 0


def judge(case: Measured, factor: float) -> Result:
    """What the times of a base (first) and a head (second) say."""
    if not case.sound:
        return Result(case.name, case.device, None, None, None, *_unsound(case))
    interval = ratio_interval([[(s[0], s[1]) for s in pairs] for pairs in case.rounds])
    base, head = (sorted(case.times(i))[len(case.times(i)) // 2] for i in (0, 1))
    outcome = verdict(interval, factor)
    return Result(case.name, case.device, base, head, interval, outcome, rounds=len(case.rounds))


def _unsound(case: Measured) -> tuple[str, str]:
    if "head" in case.crashed:
        return "crashed", case.crashed["head"]
    if "base" in case.crashed:
        return "new", f"on the base it fails: {case.crashed['base']}"
    if "head" in case.skipped and "base" not in case.skipped:
        return "gone", case.skipped["head"]
    if "base" in case.skipped and "head" not in case.skipped:
        return "new", f"on the base: {case.skipped['base']}"
    return "skipped", case.skipped.get("head", "no round was run")


def compared(
    sides: dict[str, Callable[[], Side]],
    cases: Sequence[tuple[str, str]],
    factor: float,
    rounds: int,
    told: Callable[[str], None],
) -> list[Result]:
    """Measure, and measure again what looks slower, until that is sure or enough."""
    results = [judge(case, factor) for case in measure(sides, cases, rounds)]
    suspects = [r for r in results if r.interval is not None and r.interval.high > factor]
    again: dict[tuple[str, str], Measured] = {}
    for _ in range(MOST // 2):
        if not suspects:
            break
        told(f"measured again: {', '.join(f'{r.name} on {r.device}' for r in suspects)}")
        wanted = [(r.name, r.device) for r in suspects]
        for case in measure(sides, wanted, 2 * rounds):
            key = (case.name, case.device)
            if key in again:
                case.rounds = [*again[key].rounds, *case.rounds]
            again[key] = case
        judged = {key: judge(again[key], factor) for key in wanted}
        results = [judged.get((r.name, r.device), r) for r in results]
        suspects = [r for r in judged.values() if _undecided(r, factor)]
    return results


def _undecided(result: Result, factor: float) -> bool:
    """Whether it seems to be slower by more than the factor, and that is not sure."""
    return result.interval is not None and result.interval.low <= factor < result.interval.ratio


def exit_code(results: Sequence[Result]) -> int:
    """What the gate ends with; a crash is told before a regression."""
    outcomes = {result.outcome for result in results}
    if "crashed" in outcomes:
        return CRASHED
    if "slower" in outcomes:
        return REGRESSION
    return OK if any(result.interval is not None for result in results) else NOTHING


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="gate", description=str(__doc__), formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("base", help="a commit; with --pythons the base's interpreter")
    add("head", help="a commit; with --pythons the head's interpreter")
    add("names", nargs="*", metavar="NAME", help="benchmarks, as of flagstone bench; the gate's own"
        " by default; ALL for all")  # fmt: skip
    add(
        "--factor", type=float, default=FACTOR, help="how much slower is a regression (%(default)s)"
    )
    add("--rounds", type=int, default=ROUNDS, help="fresh pairs of processes (%(default)s)")
    add("--device", action="append", help="where to measure, several times; cpu by default")
    add("--repository", type=Path, default=Path(), help="whose commits they are (.)")
    add("--extras", default="", help="extras of the project to install, separated by commas")
    add("--pip", action="append", default=[], help="a further argument of pip install")
    add("--pythons", action="store_true", help="base and head are interpreters of environments")
    add("--markdown", type=Path, help="write the table there, too")
    add("--json", type=Path, help="write all times' summary there")
    options = parser.parse_intermixed_args(arguments)
    if options.factor <= 1 or options.rounds < 1:
        parser.error("--factor expects a number above 1, --rounds a positive integer")
    for option in ("markdown", "json"):
        if (path := getattr(options, option)) is not None:
            try:
                require_writable(path, f"--{option}")
            except ConfigurationError as error:
                parser.error(str(error))
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the gate; returns its exit code."""
    options = _arguments(arguments)
    results: list[Result] = []
    problem = ""
    try:
        with contextlib.ExitStack() as stack:
            pythons = _environments(options, stack)
            results = _gate(options, pythons)
            code = exit_code(results)
    except BuildError as error:
        code, problem = BROKEN_BUILD, str(error)
    except Crash as error:  # before any benchmark: the list of them cannot be had
        code, problem = (BROKEN_BUILD, f"flagstone does not start: {error}")
    except LookupError as error:
        code, problem = USAGE, str(error)
    except Exception:  # noqa: BLE001 - Python's own exit code, 1, would say regression
        code, problem = BUG, traceback.format_exc()
    _tell(options, results, code, problem)
    return code


def _environments(options: argparse.Namespace, stack: contextlib.ExitStack) -> dict[str, str]:
    if options.pythons:
        return {"base": options.base, "head": options.head}
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flagstone-gate-")))
    revisions = {"base": options.base, "head": options.head}
    trees, pythons = {}, {}
    for side, revision in revisions.items():  # both, before the first takes its time to install
        with _of_side(side, revision):
            trees[side] = stack.enter_context(
                checked_out(options.repository, revision, folder / f"{side}-tree")
            )
    for side, revision in revisions.items():
        with _of_side(side, revision):
            _say(f"{side}: installing {revision}")
            pythons[side] = installed(
                trees[side], folder / f"{side}-env", extras=options.extras, more=options.pip
            )
    return pythons


@contextlib.contextmanager
def _of_side(side: str, revision: str) -> Iterator[None]:
    """A failure within it names the side."""
    try:
        yield
    except BuildError as error:
        raise BuildError(f"{side} ({revision}): {error}") from error


def _gate(options: argparse.Namespace, pythons: dict[str, str]) -> list[Result]:
    wanted = ["*"] if options.names == ["ALL"] else options.names
    with worker(pythons["head"]) as head:
        names = head.names(wanted)
    cases = [(name, device) for device in options.device or ["cpu"] for name in names]
    _say(f"{len(cases)} benchmarks, {options.rounds} rounds, factor {options.factor}")
    sides: dict[str, Callable[[], Side]] = {
        side: lambda python=python: worker(python)  # type: ignore[misc]  # bound now, not later
        for side, python in pythons.items()
    }
    return compared(sides, cases, options.factor, options.rounds, _say)


def _tell(options: argparse.Namespace, results: list[Result], code: int, problem: str) -> None:
    text = markdown(results, MESSAGES[code], options.factor, problem)
    sys.stdout.write(text)
    if options.markdown is not None:
        options.markdown.write_text(text, encoding="utf-8")
    if options.json is not None:
        document: dict[str, Any] = {
            "exit_code": code,
            "message": MESSAGES[code],
            "problem": problem,
            "factor": options.factor,
            "results": [asdict(result) for result in results],
        }
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
