"""All benchmarks there are, and choosing among them by name."""

from __future__ import annotations

import difflib
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
    """The benchmarks that any of ``names`` means: a name, how one begins (``"op/abs"``), a pattern
    (``"kernel/conv*"``), or one of a name's parts (``"mlp"``). All of the gate's for no names.

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
            raise _unknown(name, known)
        meant |= found
    return [benchmark for full, benchmark in known.items() if full in meant]


def matches(full: str, name: str) -> bool:
    """Whether ``name`` means the benchmark ``full``."""
    begins = full.startswith(f"{name.rstrip('/')}/")
    return begins or name in full.split("/") or fnmatch.fnmatchcase(full, name)


def _unknown(name: str, known: Iterable[str]) -> UnknownNameError:
    """What is near is any name or beginning; what is listed, the groups only."""
    paths = [full.split("/") for full in known]
    names = {"/".join(parts[:n]) for parts in paths for n in range(1, len(parts) + 1)}
    near = difflib.get_close_matches(name, sorted(names.union(*paths)), n=1)
    groups = {parts[0] for parts in paths}
    hint = "flagstone bench --list shows all."
    return UnknownNameError("benchmark", name, groups, hint, "".join(near))
