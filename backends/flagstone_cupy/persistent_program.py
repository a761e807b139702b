"""Writing a recorded step as a program of ``kernels/persistent.cu``: state, places, words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from flagstone.recording import CONSTANT, INPUT, KEPT, Call, Program, Value
from flagstone_cupy.kernels import persistent as kernel
from flagstone_cupy.kernels.tiles import address

CODE = {name: i for i, name in enumerate(kernel.CODES)}
INTEGERS = "iub"  # kinds of dtype that are kept as numbers of the floating one
SAME = ("reshape_to", "cast")  # ops whose output is the input, as it is kept here


class UnservedError(Exception):
    """A step is not within the rule."""


class Operand(NamedTuple):
    """Where a value lies in the arena, without gaps, and its shape."""

    place: int
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class Stepped(NamedTuple):
    """A word: how far the next step's part of an argument is, 0 unless that comes in a table."""

    argument: int
    size: int


Word = int | Stepped


class Translation:
    """A program being written.

    Attributes:
        dtype: of all floating values.
        arrays, tables: kept values and arguments that the kernel is given, floating and int64.
        constants: the floating array that it is given first.
        work: multiply-adds so far.
        values: how many the arena holds.
        widest: how many threads the largest instruction keeps busy.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.dtype = self._dtype()
        self.arrays: list[Value] = []
        self.tables: list[Value] = []
        self.work = self.values = 0
        self.widest = 1
        self._before: list[Word] = []
        self._step: list[Word] = []
        self._after: list[Word] = []
        self._places: dict[Value, Operand] = {}
        self._numbers: dict[str, Operand] = {}
        self.constants: list[float] = []
        self._free: list[tuple[int, int]] = []
        self._scratch: list[Operand] = []
        self._last = self._last_uses()
        self._rows_only = self._row_sources()
        self._bring_state()
        self._bring_arguments()

    # What instructions are written with

    def emit(self, name: str, *words: Word, threads: int = 1) -> None:
        """An instruction of the step."""
        self._step += [CODE[name], len(words) + 2, *words]
        self.widest = max(self.widest, threads)

    def operand(self, x: Any) -> Operand:
        """Where an input of a call lies; a number gets a place that holds it."""
        if isinstance(x, Value):
            found = self._places.get(x)
            if found is None and x.kind == CONSTANT:
                found = self._places[x] = self._constant(x)
            if found is None:
                raise UnservedError(f"{x!r} is used in a way that has no instruction")
            return found
        if x is None:
            return Operand(-1, ())
        return self.number(float(x))

    def number(self, x: float) -> Operand:
        """A place that holds a number."""
        key = repr(x)  # 0.0 is not -0.0
        if key not in self._numbers:
            self._numbers[key] = self.list_of(x)
        return self._numbers[key]

    def list_of(self, *numbers: float) -> Operand:
        """Neighbouring places that hold numbers."""
        operand = Operand(self._grow(len(numbers)), (len(numbers),))
        self._set(operand.place, numbers)
        return operand

    def made(self, value: Value) -> Operand:
        """A new place for what a call makes."""
        if value.dtype.kind == "f" and value.dtype != self.dtype:
            raise UnservedError(f"{value.dtype} beside {self.dtype}")
        operand = Operand(self._take(math.prod(value.shape)), value.shape)
        self._places[value] = operand
        return operand

    def same(self, value: Value, x: Any) -> None:
        """What a call makes is what it takes, in another shape."""
        self._places[value] = Operand(self.operand(x).place, value.shape)

    def scratch(self, *shape: int) -> Operand:
        """A place that is free again after the call."""
        operand = Operand(self._take(math.prod(shape)), shape)
        self._scratch.append(operand)
        return operand

    def rows_of(self, source: Value, index: Value) -> tuple[int, int, Word]:
        """For rows taken by number: which array has them, which the numbers, and their step."""
        if source.kind != KEPT or index.dtype != np.dtype("int64"):
            raise UnservedError("rows of what the step made, or by other numbers than int64")
        if index.kind == INPUT:
            step: Word = Stepped(self.program.inputs.index(index), math.prod(index.shape))
        elif index.kind == KEPT:
            step = 0
        else:
            raise UnservedError("rows by numbers that the step made")
        return self.listed(source), self.listed(index), step

    def listed(self, value: Value) -> int:
        """The number under which the kernel gets an array."""
        if value.dtype == self.dtype:
            among, most = self.arrays, kernel.ARRAYS - 1 - len(self.program.results)
        elif value.dtype == np.dtype("int64"):
            among, most = self.tables, kernel.TABLES
        else:
            raise UnservedError(f"a table of {value.dtype}")
        if value.array is not None and not value.array.flags.c_contiguous:
            raise UnservedError("an array with gaps")
        if value not in among:
            among.append(value)
        if len(among) > most:
            raise UnservedError(f"more than {most} arrays")
        return among.index(value) + (among is self.arrays)  # constants come first

    def done(self, call: Call) -> None:
        """Free the places of what nothing after this call uses."""
        over = [self._places[value] for value in self._last.get(call, ()) if value in self._places]
        for operand in (*over, *self._scratch):
            if operand.size:
                self._give(operand.place, operand.size)
        self._scratch.clear()

    # The whole

    def length(self, results: int) -> int:
        """How many words there are, with so many results."""
        return len(self._before) + len(self._step) + len(self._after) + 5 * results

    def code(
        self, swept: int, results: Sequence[int], sizes: Sequence[int]
    ) -> tuple[list[int], tuple[int, int, int]]:
        """The words, where the steps begin and end, and how many words there are.

        Args:
            swept: how many of the first arguments come in tables with a row for each step.
            results: the places of what is returned.
            sizes: of these.
        """
        store = [
            word
            for i, (place, size) in enumerate(zip(results, sizes, strict=True))
            for word in (CODE["STORE"], 5, place, len(self.arrays) + 1 + i, size)
        ]
        parts = [self._before, self._step, [*self._after, *store]]
        words = [_resolved(word, swept) for part in parts for word in part]
        begin, end = len(parts[0]), len(parts[0]) + len(parts[1])
        return words, (begin, end, len(words))

    # What is there before the first step

    def _dtype(self) -> np.dtype:
        values = [
            x for call in self.program.calls for x in (*call.inputs, *call.outputs)
            if isinstance(x, Value) and x.dtype.kind == "f"
        ]  # fmt: skip
        if not values or values[0].dtype not in kernel.PERSISTENT:
            raise UnservedError("no floating values, or of a dtype without a kernel")
        return np.dtype(values[0].dtype)

    def _row_sources(self) -> set[Value]:
        """The values that are only read by rows, or only number rows: they stay where they are."""
        by_rows: set[Value] = set()
        otherwise: set[Value] = set()
        for call in self.program.calls:
            here = by_rows if call.op.name == "take_rows" else otherwise
            here.update(x for x in call.inputs if isinstance(x, Value))
        return by_rows - otherwise

    def _bring_state(self) -> None:
        """Give kept arrays, whole ones with their views, a place; bring and take them back."""
        kept: dict[Value, None] = {}
        written: set[Value] = set()
        for call in self.program.calls:
            kept.update((x, None) for x in call.inputs if isinstance(x, Value) and x.kind == KEPT)
            written.update(call.mutates)
        if any(value.kind != KEPT for value in written):
            raise UnservedError("a step that writes to its arguments, or to what it made")
        spans = {value: _span(value.array) for value in kept}
        rows = [spans[value] for value in kept if value in self._rows_only]
        changing = [spans[value] for value in written]
        if any(lo < high and low < hi for lo, hi in rows for low, high in changing):
            raise UnservedError("rows of what the step writes to")
        order = [value for value in kept if value not in self._rows_only]
        root, first, end = None, 0, 0
        changed: dict[Value, bool] = {}
        for value in sorted(order, key=lambda v: (spans[v][0], -spans[v][1])):
            start, stop = spans[value]
            if root is None or start >= end:
                root, first, end = value, start, stop
                self._places[root] = Operand(self._grow(math.prod(root.shape)), root.shape)
                changed[root] = False
            elif stop > end or value.dtype != root.dtype:
                raise UnservedError("kept arrays that share memory in part")
            place = self._places[root].place + (start - first) // value.dtype.itemsize
            self._places[value] = Operand(place, value.shape)
            changed[root] |= value in written
        for value, is_changed in changed.items():
            place, size = self._places[value].place, math.prod(value.shape)
            name = "LOAD" if value.dtype == self.dtype else "NUMBERS"
            if is_changed and name == "NUMBERS":
                raise UnservedError("integers that the step writes to")
            self._before += [CODE[name], 7, place, self.listed(value), size, 0, 0]
            if is_changed:
                self._after += [CODE["STORE"], 5, place, self.listed(value), size]

    def _bring_arguments(self) -> None:
        """Bring in what of a step's arguments is used but to number rows."""
        used = {x for call in self.program.calls for x in call.inputs if isinstance(x, Value)}
        for i, value in enumerate(self.program.inputs):
            if value not in used or value in self._rows_only:
                continue
            size = math.prod(value.shape)
            self._places[value] = Operand(self._grow(size), value.shape)
            name = "LOAD" if value.dtype == self.dtype else "NUMBERS"
            self.emit(name, self._places[value].place, self.listed(value), size, Stepped(i, size),
                      0)  # fmt: skip

    # Places

    def _last_uses(self) -> dict[Call, list[Value]]:
        """Call -> the made values whose place nothing after it uses."""
        root: dict[Value, Value] = {}
        last: dict[Value, Call] = {}
        for call in self.program.calls:
            if call.op.name in SAME and isinstance(call.inputs[0], Value):
                root[call.outputs[0]] = root.get(call.inputs[0], call.inputs[0])
            for x in (*call.inputs, *call.outputs):
                if isinstance(x, Value):
                    last[root.get(x, x)] = call
        returned = {root.get(x, x) for x in self.program.results}
        own = {x for call in self.program.calls for x in call.outputs if x not in root}
        found: dict[Call, list[Value]] = {}
        for value, call in last.items():
            if value in own and value not in returned:
                found.setdefault(call, []).append(value)
        return found

    def _grow(self, size: int) -> int:
        """Places at the end of the arena, kept for good."""
        place = self.values
        self.values += size
        return place

    def _take(self, size: int) -> int:
        """Places that are free, the smallest gap that is large enough."""
        fits = [(length, start) for start, length in self._free if length >= size]
        if not fits:
            return self._grow(size)
        length, start = min(fits)
        self._free.remove((start, length))
        if length > size:
            self._give(start + size, length - size)
        return start

    def _give(self, start: int, length: int) -> None:
        for gap in list(self._free):
            if gap[0] + gap[1] == start or start + length == gap[0]:
                self._free.remove(gap)
                start, length = min(start, gap[0]), length + gap[1]
        self._free.append((start, length))

    # Constants: a table of them is one more array

    def _constant(self, value: Value) -> Operand:
        array = np.asarray(self.program.backend.to_numpy(value.array))
        if array.dtype.kind not in "f" + INTEGERS:
            raise UnservedError(f"a constant of {array.dtype}")
        operand = Operand(self._grow(array.size), value.shape)
        self._set(operand.place, [float(x) for x in array.reshape(-1)])
        return operand

    def _set(self, place: int, numbers: Sequence[float]) -> None:
        at = len(self.constants)
        self.constants += numbers
        self._before += [CODE["LOAD"], 7, place, 0, len(numbers), 0, at]


def _span(array: Any) -> tuple[int, int]:
    """Where a kept array begins and ends in memory."""
    if not array.flags.c_contiguous:
        raise UnservedError("a kept array with gaps")
    start = address(array)
    return start, start + array.nbytes


def _resolved(word: Word, swept: int) -> int:
    if isinstance(word, Stepped):
        return word.size if word.argument < swept else 0
    return word
