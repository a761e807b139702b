"""Replays of the steps of tiny models: one block does many steps in one launch.

A recorded step is written as a program for ``kernels/persistent.cu``, op call by op call, so it
does not matter which model it is of. The rule, which looks at shapes and ops alone: every op is one
of ``OPS`` with one floating dtype, no sum has ``MOST_SUMMED`` values or more (the ordinary kernels
would split longer ones), a step does at most ``MOST_WORK`` multiply-adds in products, and all its
arrays, but for tables whose rows it takes, lie in 48 KiB of shared memory. Other steps become CUDA
graphs. Linear, logistic and softmax regression on small tables and perceptrons of the size that
learns XOR are within it, with squared error or cross-entropy, by SGD or Adam.

Sums are added up in the order of the ordinary kernels, so the numbers are theirs; on a card, where
the compiler may round a product and a sum once, to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from flagstone.recording import INPUT, MADE, Program, Value
from flagstone_cupy.kernels import persistent as kernel
from flagstone_cupy.launch import Array, contiguous, copy, empty
from flagstone_cupy.persistent_ops import OPS
from flagstone_cupy.persistent_program import Operand, Translation, UnservedError

MOST_WORK = 1 << 17
"""Multiply-adds of one step; more keep one block busy for longer than launches take."""
MOST_STEPS = 256
"""Steps of one launch: after it the host may stop training, or tell how far it is."""


class PersistentReplay:
    """A step's program, replayed by one block.

    Args:
        program: what to replay.

    Raises:
        UnservedError: it is not within the rule; the message says why.
    """

    launches = 0.0  # of each step in a sweep, which is one launch

    def __init__(self, program: Program) -> None:
        t = Translation(program)
        for call in program.calls:
            write = OPS.get(call.op.name)
            if write is None:
                raise UnservedError(f"{call.op.name} has no instruction")
            write(t, call)
            t.done(call)
        if t.work > MOST_WORK:
            raise UnservedError(f"{t.work} multiply-adds a step")
        self._results: list[tuple[int, Operand]] = []
        for i, value in enumerate(program.results):
            if value.kind != MADE or value.dtype != t.dtype:
                raise UnservedError("a result that no op of the step made, or of another dtype")
            self._results.append((i, t.operand(value)))
        kernel_bytes = kernel.shared_bytes(t.values, t.length(len(self._results)), t.dtype.itemsize)
        if kernel_bytes > kernel.MOST_SHARED:
            raise UnservedError(f"{kernel_bytes} bytes of shared memory")
        self._t, self._program = t, program
        self._constants = _on_device(np.array(t.constants, t.dtype))
        self._codes: dict[int, tuple[Array, tuple[int, int, int]]] = {}

    def __call__(self, *arrays: Array) -> list[Array]:
        """One step: arrays of its arguments -> those of its results."""
        made = [empty(self._program.results[i].shape, self._t.dtype) for i, _ in self._results]
        self._run(arrays, 0, 1, made)
        return made

    def sweep(
        self, tables: Sequence[Array], first: int, last: int, rest: Sequence[Array]
    ) -> Iterator[int]:
        """See :meth:`flagstone.capturing.Captured.sweep`."""
        while first < last:
            stop = min(first + MOST_STEPS, last)
            rows = [t[first:stop] for t in tables]
            self._run([*rows, *rest], len(tables), stop - first, None)
            first = stop
            yield first

    def _run(
        self, inputs: Sequence[Array], swept: int, steps: int, made: list[Array] | None
    ) -> None:
        t, results = self._t, self._results if made is not None else []
        key = 2 * swept + (made is not None)
        if key not in self._codes:
            places, sizes = [o.place for _, o in results], [o.size for _, o in results]
            words, parts = t.code(swept, places, sizes)
            self._codes[key] = _on_device(np.array(words, np.int32)), parts
        program, parts = self._codes[key]
        given = [_flat(self._array(x, inputs)) for x in t.arrays]
        tables = [_flat(self._array(x, inputs)) for x in t.tables]
        kernel.run(
            program, parts, t.values, t.widest, steps, t.dtype,
            [self._constants, *given, *(_flat(a) for a in made or ())], tables,
        )  # fmt: skip

    def _array(self, value: Value, inputs: Sequence[Array]) -> Array:
        if value.kind == INPUT:
            return inputs[self._program.inputs.index(value)]
        return value.array  # a kept one


def replay_of(program: Program) -> PersistentReplay | None:
    """The replay of a step that is within the rule."""
    try:
        return PersistentReplay(program)
    except UnservedError:
        return None


def _on_device(a: Any) -> Array:
    """A NumPy array's values, of which there is at least one."""
    there = empty((max(1, a.size),), a.dtype)
    copy(there[: a.size], a)
    return there


def _flat(a: Array) -> Array:
    return contiguous(a).reshape(-1)
