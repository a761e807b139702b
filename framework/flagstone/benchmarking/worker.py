"""A process that times benchmarks in the environment whose Python runs it.

    python -P worker.py

Started by the gate, twice per round: in the environment of the base and in that of the head. The
benchmarks are those beside this file, in both, so that both are asked the same, even where the
flagstone that is installed has others or none. It reads one JSON object a line from standard input
and answers each with one on standard output; what benchmarks print goes to standard error.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PACKAGE = "flagstone.benchmarking"


def use_definitions(folder: Path = HERE) -> None:
    """Let ``import flagstone.benchmarking`` give the package in ``folder``."""
    import flagstone

    if PACKAGE in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(
        PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = flagstone.benchmarking = module
    spec.loader.exec_module(module)


class Worker:
    """What is asked for, one method for each request."""

    def __init__(self) -> None:
        self._timer: Any = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to ``{"do": METHOD, ...}``."""
        from flagstone.benchmarking.benchmark import NotHere
        from flagstone.errors import UnavailableError

        request = dict(request)
        do = request.pop("do")
        try:
            done: dict[str, Any] = getattr(self, f"do_{do}")(**request)
        except (NotHere, UnavailableError) as error:
            return {"skipped": str(error)}
        except Exception as error:  # noqa: BLE001 - of a benchmark, any failure; it is reported
            return {"error": f"{type(error).__name__}: {error}"}
        return done

    def do_list(self, names: list[str]) -> dict[str, Any]:
        """The benchmarks that ``names`` mean."""
        from flagstone.benchmarking.catalogue import chosen
        from flagstone.errors import UnknownNameError

        try:
            benchmarks = chosen(names)
        except UnknownNameError as error:
            return {"unknown": str(error)}
        return {"names": [benchmark.name for benchmark in benchmarks]}

    def do_open(self, name: str, device: str) -> dict[str, Any]:
        """Prepare a benchmark."""
        from flagstone.backend import open_backend
        from flagstone.benchmarking.benchmark import NotHere
        from flagstone.benchmarking.catalogue import catalogue
        from flagstone.benchmarking.timing import Timer

        self._timer = None
        known = catalogue()
        if name not in known:
            raise NotHere("there is no such thing in this environment")
        self._timer = Timer(known[name], open_backend(device))
        return {"repeats": self._timer.repeats}

    def do_sample(self) -> dict[str, Any]:
        """Seconds of one call."""
        return {"seconds": self._timer.sample()}


def main() -> None:
    """Answer until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    use_definitions()
    worker = Worker()
    for line in sys.stdin:
        answers.write(json.dumps(worker.answer(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
