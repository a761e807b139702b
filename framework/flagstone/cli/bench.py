"""``flagstone bench``: how long things take here, and whether that differs from before."""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from flagstone.cli.failures import FAILED
from flagstone.cli.options import json_option, naming_device
from flagstone.cli.output import emit, say, table
from flagstone.errors import ConfigurationError, FlagstoneError, InputError, UnavailableError
from flagstone.plugins import registry

if TYPE_CHECKING:
    from flagstone.benchmarking.benchmark import Benchmark
    from flagstone.benchmarking.intervals import Interval
    from flagstone.benchmarking.sides import Measured, Side

Times = dict[tuple[str, str], list[float]]  # name and device -> samples


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME ...]")
@click.option("--device", multiple=True, metavar="DEVICE", envvar="FLAGSTONE_DEVICE",
              help="cpu, cuda, cuda:N or a backend; several times for several.  "
              "[default: all that work]")  # fmt: skip
@click.option("--against", metavar="FILE|REV",
              help="Compare with a file of --json, or with a commit of this folder's.")  # fmt: skip
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True,
              help="How often everything is gone through.")  # fmt: skip
@click.option("--factor", type=click.FloatRange(1.0), default=1.05, show_default=True,
              help="The least difference to be told with --against.")  # fmt: skip
@click.option("--list", "only_list", is_flag=True, help="List the benchmarks, and run none.")
@json_option
@click.pass_context
def bench(
    ctx: click.Context,
    /,
    names: tuple[str, ...],
    device: tuple[str, ...],
    against: str | None,
    rounds: int,
    factor: float,
    only_list: bool,
    as_json: bool,
) -> None:
    """Time benchmarks: kernels, optimizers, start-up, files, and every model.

    NAME is a benchmark, how names begin, such as op/abs, a pattern such as 'kernel/conv*', or a
    part of names: a group such as step, or what is measured, such as mlp or a plugin's own model.
    Several rounds go through all of them. With --against the same benchmarks are timed on both
    sides, a commit's in turns with these, and a difference is told only where a 99 % bootstrap
    interval lies beyond --factor.

    Ends with 1 if a benchmark failed.
    """
    from flagstone.benchmarking.catalogue import catalogue, chosen

    _require_used(ctx, only_list, against)
    if only_list:
        _list(chosen(names or tuple(catalogue())), as_json)
        return
    benchmarks = chosen(names)
    with naming_device():
        cases = _cases(benchmarks, device)
    before = _times_in(against) if against is not None and Path(against).is_file() else None
    say(f"{len(cases)} to time, in {rounds} rounds")
    document: dict[str, Any] = {"rounds": rounds, "against": against, **_here()}
    if against is None:
        rows = [_row(case, 0) for case in _timed({"here": Local}, cases, rounds)]
    elif before is not None:
        document["in_turns"] = False
        rows = _with_file(before, _timed({"here": Local}, cases, rounds), factor)
    else:
        document["in_turns"] = True
        rows = _with_commit(against, cases, rounds, factor)
    document["benchmarks"] = rows
    if as_json:
        emit(document)
    else:
        _show(rows, against, document.get("in_turns", True))
    if any(row["error"] for row in rows):
        ctx.exit(FAILED)


def _require_used(ctx: click.Context, only_list: bool, against: str | None) -> None:
    """No option may be given that would do nothing."""
    useless = ("device", "against", "rounds", "factor") if only_list else ()
    if against is None:
        useless = (*useless, "factor")
    for name in useless:
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            other = "does not go with --list" if only_list else "is for --against"
            raise click.UsageError(f"--{name} {other}.", ctx)


class Local:
    """This process, as a side."""

    _timer: Any = None

    def __enter__(self) -> Local:
        return self

    def __exit__(self, *_: object) -> None:
        self._timer = None

    def open(self, name: str, device: str) -> None:
        """Prepare a benchmark."""
        from flagstone.backend import open_backend
        from flagstone.benchmarking.benchmark import NotHere
        from flagstone.benchmarking.catalogue import catalogue
        from flagstone.benchmarking.sides import Crash, Skip
        from flagstone.benchmarking.timing import Timer

        try:
            self._timer = Timer(catalogue()[name], open_backend(device))
        except (NotHere, UnavailableError) as error:
            raise Skip(str(error)) from None
        except Exception as error:  # a stranger's code, any failure
            raise Crash(f"{type(error).__name__}: {error}") from error

    def sample(self) -> float:
        """Seconds of one call."""
        from flagstone.benchmarking.sides import Crash

        try:
            seconds: float = self._timer.sample()
        except Exception as error:  # a stranger's code, any failure
            raise Crash(f"{type(error).__name__}: {error}") from error
        return seconds


def _list(benchmarks: Sequence[Benchmark], as_json: bool) -> None:
    rows = [{"name": b.name, "in_gate": b.in_gate, "on_host": b.on_host} for b in benchmarks]
    if as_json:
        emit({"benchmarks": rows})
    else:
        table(("name", "in the gate"), [(b.name, "yes" if b.in_gate else "") for b in benchmarks])


def _cases(benchmarks: Sequence[Benchmark], devices: Sequence[str]) -> list[tuple[str, str]]:
    """Every benchmark on every device; what uses none, once."""
    from flagstone.backend import open_backend

    if devices:
        opened = [str(open_backend(device).device) for device in devices]
    else:
        opened = [
            spec.devices[0] for spec in registry.specs("backend") if spec.run_probe().ok
        ]  # fmt: skip
    return [
        (b.name, device) for b in benchmarks for device in (opened[:1] if b.on_host else opened)
    ]


def _here() -> dict[str, Any]:
    from flagstone.cli.environment import software, variables

    return {**software(), "variables": variables()}


def _timed(
    sides: dict[str, Callable[[], Side]], cases: Sequence[tuple[str, str]], rounds: int
) -> list[Measured]:
    from flagstone.benchmarking.sides import measure

    last = -1

    def told(number: int, _: Measured) -> None:
        nonlocal last
        if number != last:
            last = number
            say(f"round {number + 1} of {rounds}")

    return measure(sides, cases, rounds, told=told)


def _row(case: Measured, side: int, interval: Interval | None = None) -> dict[str, Any]:
    from flagstone.benchmarking.intervals import spread

    times = case.times(side)
    return {
        "name": case.name,
        "device": case.device,
        "seconds": statistics.median(times) if times else None,
        "fastest": min(times, default=None),
        "spread": spread(times) if times else None,
        "samples": times,
        "skipped": "; ".join(f"{where}: {why}" for where, why in case.skipped.items()),
        "error": "; ".join(f"{where}: {why}" for where, why in case.crashed.items()),
        "ratio": None if interval is None else interval.ratio,
        "low": None if interval is None else interval.low,
        "high": None if interval is None else interval.high,
        "verdict": None,
    }


def _judged(row: dict[str, Any], interval: Interval, factor: float) -> dict[str, Any]:
    from flagstone.benchmarking.intervals import verdict

    found = {"ratio": interval.ratio, "low": interval.low, "high": interval.high}
    return {**row, **found, "verdict": verdict(interval, factor)}


def _times_in(path: str) -> Times:
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
        return {(r["name"], r["device"]): r["samples"] for r in document["benchmarks"]}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"--against: {path} is no file that flagstone bench --json wrote ({error!r})"
        ) from None


def _with_file(before: Times, cases: Sequence[Measured], factor: float) -> list[dict[str, Any]]:
    from flagstone.benchmarking.intervals import unpaired_interval

    rows = []
    for case in cases:
        row, old = _row(case, 0), before.get((case.name, case.device))
        if old and row["samples"]:
            row = _judged(row, unpaired_interval(old, row["samples"]), factor)
        rows.append(row)
    return rows


def _with_commit(
    revision: str, cases: Sequence[tuple[str, str]], rounds: int, factor: float
) -> list[dict[str, Any]]:
    from flagstone.benchmarking.builds import BuildError, checked_out, installed_beside
    from flagstone.benchmarking.intervals import ratio_interval
    from flagstone.benchmarking.sides import worker

    _require_commit(revision)
    with tempfile.TemporaryDirectory(prefix="flagstone-bench-") as folder:
        try:
            with checked_out(Path(), revision, Path(folder, "tree")) as tree:
                say(f"installing {revision}")
                python = installed_beside(tree, Path(folder, "env"))
                sides: dict[str, Callable[[], Side]] = {
                    revision: lambda: worker(python), "here": worker,
                }  # fmt: skip
                found = _timed(sides, cases, rounds)
        except BuildError as error:
            raise FlagstoneError(f"--against {revision}: {error}") from None
    rows = []
    for case in found:
        row = _row(case, 1)
        if case.sound:
            pairs = [[(before, now) for before, now in samples] for samples in case.rounds]
            row = _judged(row, ratio_interval(pairs), factor)
        rows.append(row)
    return rows


def _require_commit(revision: str) -> None:
    done = subprocess.run(
        ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", revision + "^{commit}"],
        check=False,
        capture_output=True,
    )
    if done.returncode:
        raise ConfigurationError(
            f"--against: {revision!r} is no file here and no commit of a repository here"
        )


def _show(rows: Sequence[dict[str, Any]], against: str | None, in_turns: bool) -> None:
    from flagstone.benchmarking.report import seconds

    header = ["name", "device", "time", "fastest", "spread"]
    if against is not None:
        header += ["ratio", "99 % interval", "verdict"]
    lines = []
    for row in rows:
        if row["seconds"] is None:
            why = f"FAILED: {row['error']}" if row["error"] else f"skipped: {row['skipped']}"
            line = [row["name"], row["device"], *[""] * (len(header) - 3), why]
        else:
            line = [
                row["name"], row["device"], seconds(row["seconds"]), seconds(row["fastest"]),
                f"{row['spread']:.0%}",
            ]  # fmt: skip
            if against is not None:
                line += _told(row)
        lines.append(line)
    table(header, lines)
    if against is not None and not in_turns:
        click.echo(
            f"{against} was not measured in turns with this: what the machine did in between "
            "counts as a difference, too. Compare with a commit to leave it out."
        )


def _told(row: dict[str, Any]) -> list[str]:
    if row["verdict"] is None:
        return ["", "", "not measured there"]
    return [f"{row['ratio']:.2f}", f"{row['low']:.2f} to {row['high']:.2f}", row["verdict"]]
