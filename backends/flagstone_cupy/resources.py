"""What a compiled kernel takes of a multiprocessor, read from the assembler's log."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ENTRY = re.compile(
    r"Compiling entry function '(?P<symbol>\w+)' for 'sm_\w+'.*?"
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, "
    r"(?P<loads>\d+) bytes spill loads.*?Used (?P<registers>\d+) registers(?P<rest>[^\n]*)",
    re.DOTALL,
)
_SHARED = re.compile(r"(\d+) bytes smem")


@dataclass(frozen=True, slots=True)
class Resources:
    """Of one kernel: registers a thread, static shared bytes a block, and what it lacks room for.

    ``local`` is the stack frame in bytes, ``spills`` the bytes of registers stored to it.
    """

    registers: int
    shared: int
    local: int
    spills: int


def resources(log: str) -> dict[str, Resources]:
    """A function's name in the cubin -> what it takes."""
    found = {}
    for entry in _ENTRY.finditer(log):
        shared = _SHARED.search(entry["rest"])
        found[entry["symbol"]] = Resources(
            int(entry["registers"]),
            int(shared[1]) if shared else 0,
            int(entry["stack"]),
            int(entry["stores"]) + int(entry["loads"]),
        )
    return found
