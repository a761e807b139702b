"""Timing in turns: what is compared, and the rounds."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

WORKER = Path(__file__).with_name("worker.py")
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "FLAGSTONE_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
}
PAIRS = 5  # samples of each side in a round


class Crash(Exception):  # noqa: N818  # it is what happened to another process
    """A benchmark raised, or the process that ran it ended."""


class Skip(Exception):  # noqa: N818  # no error
    """A benchmark cannot be run here."""


class Side(Protocol):
    """Something that times benchmarks."""

    def __enter__(self) -> Side: ...
    def __exit__(self, *_: object) -> None: ...
    def open(self, name: str, device: str) -> None:
        """Prepare a benchmark; raises Skip or Crash."""

    def sample(self) -> float:
        """Seconds of one call; raises Crash."""


class Process:
    """A worker in the environment of ``command[0]``.

    Args:
        command: what starts it; by default ``python -P worker.py``.
        environ: variables beside those of this process.
    """

    def __init__(self, command: Sequence[str], environ: Mapping[str, str] = ONE_THREAD) -> None:
        self._command, self._environ = list(command), dict(environ)

    def __enter__(self) -> Process:
        environ = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                env={**environ, **self._environ},
            )
        except OSError as error:
            raise Crash(f"{self._command[0]} cannot be started: {error.strerror}") from error
        return self

    def __exit__(self, *_: object) -> None:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.stdout.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def names(self, wanted: Iterable[str]) -> list[str]:
        """The benchmarks that ``wanted`` means there.

        Raises:
            LookupError: one means nothing.
        """
        answer = self._ask(do="list", names=list(wanted))
        if "unknown" in answer:
            raise LookupError(answer["unknown"])
        names: list[str] = answer["names"]
        return names

    def open(self, name: str, device: str) -> None:
        """Prepare a benchmark there."""
        self._ask(do="open", name=name, device=device)

    def sample(self) -> float:
        """Seconds of one call there."""
        seconds: float = self._ask(do="sample")["seconds"]
        return seconds

    def _ask(self, **request: Any) -> dict[str, Any]:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise Crash(f"its process ended with exit code {process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "skipped" in answer:
            raise Skip(answer["skipped"])
        if "error" in answer:
            raise Crash(answer["error"])
        return answer


def worker(python: str = sys.executable, environ: Mapping[str, str] = ONE_THREAD) -> Process:
    """A side that is the environment of the interpreter ``python``."""
    return Process([python, "-P", str(WORKER)], environ)


@dataclass
class Measured:
    """What was found of one benchmark on one device.

    Attributes:
        name, device: which.
        rounds: for each round, tuples with a time in seconds of every side.
        skipped: side -> why it was not run there.
        crashed: side -> how it failed there.
    """

    name: str
    device: str
    rounds: list[list[tuple[float, ...]]] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    crashed: dict[str, str] = field(default_factory=dict)

    @property
    def sound(self) -> bool:
        """Whether every side was timed in every round."""
        return bool(self.rounds) and not self.skipped and not self.crashed

    def times(self, side: int) -> list[float]:
        """All samples of a side."""
        return [sample[side] for pairs in self.rounds for sample in pairs]


def measure(
    sides: Mapping[str, Callable[[], Side]],
    cases: Iterable[tuple[str, str]],
    rounds: int,
    pairs: int = PAIRS,
    told: Callable[[int, Measured], None] = lambda *_: None,
) -> list[Measured]:
    """Time every case on every side, in turns.

    Args:
        sides: name -> what makes a new one, for every round; who is first alternates.
        cases: benchmarks and devices.
        rounds: how many.
        pairs: samples of every side in a round.
        told: called with the round's number and each case after it.
    """
    found = [Measured(name, device) for name, device in cases]
    names = list(sides)
    for number in range(rounds):
        running: dict[str, Side] = {}
        try:
            for name in names:
                running[name] = sides[name]().__enter__()
            for case in found:
                if not (case.skipped or case.crashed):
                    _round(running, case, pairs, number)
                    told(number, case)
                for name in case.crashed:  # it may have ended
                    if number == len(case.rounds):
                        running[name].__exit__(None, None, None)
                        running[name] = sides[name]().__enter__()
        finally:
            for side in running.values():
                side.__exit__(None, None, None)
    return found


def _round(running: Mapping[str, Side], case: Measured, pairs: int, number: int) -> None:
    for name, side in running.items():
        try:
            side.open(case.name, case.device)
        except Skip as reason:
            case.skipped[name] = str(reason)
        except Crash as reason:
            case.crashed[name] = str(reason)
    if case.skipped or case.crashed:
        return
    order = list(enumerate(running.items()))
    samples: list[tuple[float, ...]] = []
    for i in range(pairs):
        times = [0.0] * len(order)
        for position, (name, side) in order if (i + number) % 2 == 0 else reversed(order):
            try:
                times[position] = side.sample()
            except Crash as reason:
                case.crashed[name] = str(reason)
                return
        samples.append(tuple(times))
    case.rounds.append(samples)
