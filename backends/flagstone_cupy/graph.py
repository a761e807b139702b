"""Replays of a recorded step as one CUDA graph, or one for several steps.

A graph holds addresses, so everything in it has one: the step's arguments are copied into *slots*,
and what it makes lies in a *room*, memory and a stream of its own that live as long as the graph.
The first replay does the step's launches in the room, one by one, which fills the room with the
memory that they need; then the same launches are captured, and every other replay starts them all
at once. What a room is made of is told by ``room.py`` for a card, in the tests by the simulator.

In a sweep the device itself reads the arguments of each step from tables, by a number that it
counts, so a step is one launch of a graph and nothing else; and a graph holds several steps where
they are short.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from flagstone.capturing import UnrepeatableError
from flagstone.errors import CaptureError
from flagstone.recording import INPUT, KEPT, Call, Program, owner
from flagstone_cupy.kernels import gather

Array = Any
ENOUGH_CALLS = 128
"""Op calls that a graph should have, so that starting it takes no longer than doing its work."""
MOST_STEPS = 16
"""Steps of one graph."""


class Room(Protocol):
    """Memory and a stream for graphs; see :mod:`flagstone_cupy.room`."""

    def working(self) -> AbstractContextManager[Any]:
        """Within it, work goes to the room's stream and arrays into its memory. It begins after
        what was asked of the device before, which waits for it at the end."""

    def capture(self, work: Callable[[], Any]) -> Any:
        """A graph of what ``work`` asks of the device, which is not done now."""

    def launch(self, graph: Any) -> None:
        """Start a graph on the current stream."""

    def like(self, a: Array) -> Array:
        """A new array of that shape, dtype and order of axes."""

    def copy(self, to: Array, a: Array) -> None:
        """Copy values, on the current stream."""

    def close(self) -> None:
        """Give the memory back; graphs and arrays are gone."""


class GraphReplay:
    """A step's program, replayed as a graph.

    Args:
        program: what to replay.
        room: makes a room.
    """

    def __init__(self, program: Program, room: Callable[[], Room]) -> None:
        self._room = room()
        self._program = program
        self._slots: list[Array] = []
        self._written: list[int] = []  # arguments that the step writes to
        self._graph: Any = None
        self._results: list[Array] = []
        self._sweep: Sweep | None = None

    def __call__(self, *arrays: Array) -> list[Array]:
        """Arrays of the step's arguments -> those of its results, which are the caller's."""
        if self._graph is None:
            return self._first(arrays)
        if self._sweep is not None:
            self._sweep.loaded = False  # its tables lie where this graph may write
        copy = self._room.copy
        for slot, a in zip(self._slots, arrays, strict=True):
            copy(slot, a)
        self._room.launch(self._graph)
        return self._given(arrays, self._results)

    @property
    def launches(self) -> float:
        """Of a graph, for each step of a sweep."""
        return 1 / steps_of_a_graph(self._program)

    @property
    def sweep(self) -> Callable[..., Iterator[int]] | None:
        """Steps whose arguments lie in tables; ``None`` for a step that writes to its arguments."""
        return None if self._graph is None or self._written else self._steps

    def __del__(self) -> None:
        self._graph = self._sweep = None
        self._slots, self._results = [], []
        self._room.close()  # nothing of what it held is left

    def _first(self, arrays: Sequence[Array]) -> list[Array]:
        """Do the step, in the room, and capture it."""
        room, program = self._room, self._program
        written: set[int] = set()

        def note(call: Call, taken: list[Array]) -> None:
            pairs = zip(call.inputs, taken, strict=True)
            written.update(id(owner(a)) for x, a in pairs if x in call.mutates)

        with room.working():
            self._slots = [room.like(a) for a in arrays]
            for slot, a in zip(self._slots, arrays, strict=True):
                room.copy(slot, a)
            results = program.run(*self._slots, watch=note)
        self._written = [i for i, slot in enumerate(self._slots) if id(owner(slot)) in written]
        given = self._given(arrays, results)
        del results
        try:
            self._graph, self._results = captured(program, room, self._slots)
        except CaptureError as error:
            raise UnrepeatableError(str(error), given) from error
        return given

    def _given(self, arrays: Sequence[Array], results: Sequence[Array]) -> list[Array]:
        """Copies of results that lie in the room, and what arguments became."""
        for i in self._written:
            self._room.copy(arrays[i], self._slots[i])
        given = []
        for value, a in zip(self._program.results, results, strict=True):
            if value.kind == KEPT:
                given.append(a)
            elif value.kind == INPUT:
                given.append(arrays[self._program.inputs.index(value)])
            else:
                given.append(a.copy())
        return given

    def _steps(
        self, tables: Sequence[Array], first: int, last: int, rest: Sequence[Array]
    ) -> Iterator[int]:
        sweep = self._sweep
        if sweep is None or not sweep.serves(tables):
            self._sweep = None  # its memory can serve the next
            sweep = self._sweep = Sweep(self._program, self._room, tables, rest)
        yield from sweep.steps(tables, first, last, rest)


def steps_of_a_graph(program: Program) -> int:
    """How many steps a graph of a sweep holds."""
    return max(1, min(MOST_STEPS, ENOUGH_CALLS // max(1, len(program.calls))))


class Sweep:
    """Graphs of one and of several steps that take their arguments from tables on the device.

    Args:
        program: a step's; its first arguments come from tables.
        room: where the graphs live.
        tables: arrays like those that :meth:`steps` gets, one for each of these arguments.
        rest: arrays like the step's other arguments.

    Attributes:
        several: how many steps the larger graph does.
        loaded: whether the tables are where the graphs read them, and the next step's number.
    """

    def __init__(
        self, program: Program, room: Room, tables: Sequence[Array], rest: Sequence[Array]
    ) -> None:
        self._program, self._room = program, room
        with room.working():
            self._tables = [room.like(t) for t in tables]
            self._rows = [room.like(t[0, ...]) for t in tables]
            self._rest = [room.like(a) for a in rest]
            self._number = gather.row_number()
        self._graphs: dict[int, Any] = {}
        self.loaded = False
        self.several = steps_of_a_graph(program)

    def serves(self, tables: Sequence[Array]) -> bool:
        """Whether these tables are like those that it was made for."""
        return [t.shape for t in tables] == [t.shape for t in self._tables]

    def steps(
        self, tables: Sequence[Array], first: int, last: int, rest: Sequence[Array]
    ) -> Iterator[int]:
        """See :meth:`flagstone.capturing.Captured.sweep`."""
        self.loaded = False
        while first < last:
            if not self.loaded:
                for to, a in zip([*self._tables, *self._rest], [*tables, *rest], strict=True):
                    self._room.copy(to, a)
                self._number[...] = first
                self.loaded = True
            number = self.several if last - first >= self.several else 1
            if number not in self._graphs:
                self._graphs[number], _ = captured(
                    self._program, self._room, [*self._rows, *self._rest], number, self._feed
                )
            self._room.launch(self._graphs[number])
            first += number
            yield first

    def _feed(self) -> None:
        """Bring the rows of the next step to where it takes them."""
        for table, row in zip(self._tables, self._rows, strict=True):
            gather.feed(table, self._number, row)
        gather.count_row(self._number)


def captured(
    program: Program, room: Room, slots: Sequence[Array], steps: int = 1,
    before: Callable[[], None] | None = None,
) -> tuple[Any, list[Array]]:  # fmt: skip
    """A graph of the program's calls, ``steps`` times, each after ``before``; and its results.

    Raises:
        CaptureError: names the op that cannot be part of a graph.
    """
    at, results = "", []

    def note(call: Call, _taken: list[Array]) -> None:
        nonlocal at
        at = f"{call.op.name}: "

    def work() -> None:
        nonlocal results
        for _ in range(steps):
            if before is not None:
                before()
            results = program.run(*slots, watch=note)

    try:
        return room.capture(work), results
    except (NotImplementedError, RuntimeError, MemoryError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CaptureError(f"{at}a CUDA graph cannot hold what it asks for ({reason})") from error
