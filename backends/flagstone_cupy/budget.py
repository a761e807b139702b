"""What every kernel may take of a multiprocessor, and what it takes.

``kernels/budget.toml`` has a line a kernel, ``"file.cu:expression" = [registers, shared]``: the
most registers a thread on any architecture, and the static shared bytes a block. No kernel may
spill or use local memory. The compile gate holds the kernels to it; ``python -m
flagstone_cupy.budget`` writes it anew, of all files or those that it names, for a look at the
difference.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence

from flagstone_cupy.compile import compiled
from flagstone_cupy.kernel import REGISTRY, Kernel
from flagstone_cupy.resources import Resources, resources
from flagstone_cupy.signature import KERNELS

FILE = KERNELS / "budget.toml"


def budget() -> dict[str, list[int]]:
    """Kernel -> registers, shared bytes."""
    return tomllib.loads(FILE.read_text(encoding="utf-8"))


def measured(source: str, architecture: str) -> dict[str, Resources]:
    """Of the kernels of one file that claim the architecture."""
    kernels = [k for k in packaged() if k.source == source and architecture in k.architectures]
    if not kernels:
        return {}
    cubin = compiled(source, [k.expression for k in kernels], architecture)
    taken = resources(cubin.log)
    return {str(k): taken[cubin.symbols[k.expression]] for k in kernels}


def packaged() -> list[Kernel]:
    """The kernels of the package; tests may declare others, by a path of their own."""
    from flagstone_cupy import table

    assert table.KERNELS  # the table declares them
    return [k for k in REGISTRY.values() if "/" not in k.source and "\\" not in k.source]


def needed(taken: Iterable[Mapping[str, Resources]]) -> dict[str, list[int]]:
    """The budget that these measurements fit exactly."""
    most: dict[str, list[int]] = {}
    for of_file in taken:
        for name, r in of_file.items():
            registers, shared = most.get(name, [0, 0])
            most[name] = [max(registers, r.registers), max(shared, r.shared)]
    return dict(sorted(most.items()))


def write(sources: Sequence[str] = ()) -> None:
    """Measure the kernels, of all files or some, for every architecture, and write the table."""
    kernels = {str(k): k for k in packaged()}
    chosen = [k for k in kernels.values() if not sources or k.source in sources]
    pairs = sorted({(k.source, a) for k in chosen for a in k.architectures})
    fresh = needed(measured(source, a) for source, a in pairs)
    kept = {name: line for name, line in budget().items() if name in kernels}
    taken = dict(sorted({**kept, **fresh}.items()))
    lines = ["# kernel = [registers a thread, static shared bytes a block]; see budget.py"]
    lines += [f'"{name}" = [{registers}, {shared}]' for name, (registers, shared) in taken.items()]
    FILE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(sys.argv[1:])
