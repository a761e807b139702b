"""Start-up: what a fresh process takes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from flagstone.benchmarking.benchmark import Benchmark, Run

if TYPE_CHECKING:
    from flagstone.backend import Backend

CODE = {  # what the process runs; asv times the same
    "import": "import flagstone",
    "import-nn": "from flagstone import nn, ops, optim",
    "help": "from flagstone.cli.app import cli; cli(['--help'], standalone_mode=False)",
    "models": "from flagstone.cli.app import cli; cli(['models'], standalone_mode=False)",
}


def benchmarks() -> Iterator[Benchmark]:
    """One for each of ``CODE``."""
    for name, code in CODE.items():
        yield Benchmark(f"start/{name}", _starting(code), on_host=True)


def _starting(code: str) -> Callable[[Backend], Run]:
    def prepare(_: Backend) -> Run:
        command = [sys.executable, "-P", "-c", code]

        def run() -> None:
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

        return run

    return prepare
