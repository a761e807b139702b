"""The replay of a recorded step on NumPy: a Python function of bound calls, generated once.

A call whose op has a form in :mod:`flagstone_numpy.replay.form` writes into a place in one block
of memory that is planned once; a view of a place, of a parameter or of another array that stays
where it is is made once. Other calls go to their kernels and make their arrays anew each time. So
do the calls that make what the step returns, which belongs to the caller.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from flagstone.recording import Program
from flagstone_numpy.replay import (  # noqa: F401  # their forms
    elementwise,
    fused,
    losses,
    products,
    reductions,
)
from flagstone_numpy.replay.passes import Layout
from flagstone_numpy.replay.writer import Writer

Array = np.ndarray


def build(program: Program) -> Callable[..., Sequence[Array]]:
    """The replay of a program, called with the arrays of the step's arguments.

    It has four attributes: ``source``, its text, ``memory``, the bytes that it holds on to between
    steps, ``launches``, how many functions it calls, and ``sweep``, which does a step for every row
    of some tables, as :meth:`flagstone.capturing.Captured.sweep`.
    """
    source, memory, function = Writer(program).finish()
    body = source.partition("\n")[2]
    read = [re.search(rf"\bi{i}\b", body) for i in range(len(program.inputs))]

    def sweep(
        tables: Sequence[Array], first: int, last: int, rest: Sequence[Array]
    ) -> Iterator[int]:
        rows = [
            [table[i, ...] for i in range(first, last)] if is_read else itertools.repeat(None)
            for table, is_read in zip(tables, read, strict=False)
        ]
        steps = range(first + 1, last + 1)
        for done, *arrays in zip(steps, *rows):  # noqa: B905  # to the end of the steps
            function(*arrays, *rest)
            yield done

    launches = sum("(" in line for line in body.splitlines())
    vars(function).update(source=source, memory=memory, launches=launches, sweep=sweep)
    return function


__all__ = ["Layout", "build"]
