"""All benchmarks there are, and choosing among them by name."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator

from flagstone.benchmarking import (
    of_files,
    of_kernels,
    of_models,
    of_ops,
    of_parts,
    of_start,
)
from flagstone.benchmarking.benchmark import Benchmark
from flagstone.errors import UnknownNameError


def catalogue() -> dict[str, Benchmark]:
    """Name -> benchmark, in the order in which they are run. What plugins have registered is in it
    under its name."""
    return {benchmark.name: benchmark for benchmark in _all()}


def _all() -> Iterator[Benchmark]:
    for module in (of_start, of_kernels, of_ops, of_parts, of_models, of_files):
        yield from module.benchmarks()


def chosen(names: Iterable[str]) -> list[Benchmark]:
    """The benchmarks that any of ``names`` means: a name, a pattern (``"kernel/conv*"``), or one of
    a name's parts (``"mlp"``, ``"kernel"``). All of the gate's for no names.

    Raises:
        UnknownNameError: one means nothing.
    """
    known = catalogue()
    names = list(names)
    if not names:
        return [benchmark for benchmark in known.values() if benchmark.in_gate]
    meant: set[str] = set()
    for name in names:
        found = {full for full in known if matches(full, name)}
        if not found:
            parts = {part for full in known for part in full.split("/")}
            raise UnknownNameError("benchmark", name, parts)
        meant |= found
    return [benchmark for full, benchmark in known.items() if full in meant]


def matches(full: str, name: str) -> bool:
    """Whether ``name`` means the benchmark ``full``."""
    return name in full.split("/") or fnmatch.fnmatchcase(full, name)
