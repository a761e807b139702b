"""Where a step's time and memory go: every op call with its kernel's time, layer and bytes.

Within a :class:`Profiler` the kernels of a backend are timed one by one, which waits for the device
after each, so the sum tells what kernels take and not what a step takes.
"""

from __future__ import annotations

import contextlib
import math
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from flagstone.backend import Backend
from flagstone.tape import Node, state


@dataclass(frozen=True, slots=True)
class OpCall:
    """One op call.

    Attributes:
        op: its name.
        layer: path and kind of the layer that it is done for, ``""`` outside of any.
        phase: ``"forward"``, ``"backward"``, or ``"rest"``: data, loss, update, sums.
        start: seconds since the profiler was entered.
        seconds: what the kernel took.
        bytes: of the arrays that it made.
        live: bytes of all arrays that op calls made so far and that were in use after it.
    """

    op: str
    layer: str
    phase: str
    start: float
    seconds: float
    bytes: int
    live: int


class Profiler:
    """A context in which a backend's op calls on this thread are noted in :attr:`calls`.

    Each time it is entered is a step; steps, layers and ops are marked for the device's own
    profiler as well (:meth:`Backend.mark`).

    Args:
        backend: whose op calls.
        layer: its layers' paths and kinds name what calls are for.
    """

    def __init__(self, backend: Backend, layer: Any = None) -> None:
        self.backend = backend
        self.calls: list[OpCall] = []
        named = [] if layer is None else layer.named_layers()
        self._paths = {id(part): f"{path} {type(part).__name__}".strip() for path, part in named}
        self._running: list[str] = []
        self._made_by: weakref.WeakKeyDictionary[Node, str] = weakref.WeakKeyDictionary()
        self._pulling: Node | None = None
        self._live = self._steps = 0

    def __enter__(self) -> Profiler:
        self._table, self._watcher = self.backend.table, state.watcher
        self.backend.table = _Timed(self)  # type: ignore[assignment]  # a table like the other
        state.watcher = self
        self._started = time.perf_counter()
        self._steps += 1
        self._range = self.backend.mark(f"step {self._steps}")
        self._range.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._range.__exit__(None, None, None)
        self.backend.table, state.watcher = self._table, self._watcher

    # A watcher of the tape

    def call(self, layer: Any, inputs: tuple[Any, ...]) -> Any:
        """Run a layer, and remember that it runs."""
        name = self._paths.get(id(layer), type(layer).__name__)
        self._running.append(name)
        try:
            with self.backend.mark(name):
                return layer.forward(*inputs)
        finally:
            self._running.pop()

    def stepping(self, optimizer: Any) -> None:
        """Of no interest here."""

    def taped(self, node: Node) -> None:
        """Remember for which layer an op call is."""
        if self._running:
            self._made_by[node] = self._running[-1]

    def pulling(self, node: Node | None) -> None:
        """Remember which call is being differentiated."""
        self._pulling = node

    # A table of kernels

    def timed(self, op: Any) -> Callable[..., Any]:
        """The kernel of an op, noting each call."""
        kernel = self._table[op]
        synchronize = self.backend.synchronize

        def run(*arrays: Any, **static: Any) -> Any:
            synchronize()
            with self._marked(op.name):
                start = time.perf_counter()
                result = kernel(*arrays, **static)
                synchronize()
                end = time.perf_counter()
            self._note(op.name, start, end, result if type(result) is tuple else (result,), arrays)
            return result

        return run

    @contextlib.contextmanager
    def _marked(self, op: str) -> Iterator[None]:
        """A range of the op's name, in one of the layer whose gradients it computes."""
        layer = "" if self._pulling is None else self._made_by.get(self._pulling, "")
        with contextlib.ExitStack() as ranges:
            if layer:
                ranges.enter_context(self.backend.mark(f"{layer} backward"))
            ranges.enter_context(self.backend.mark(op))
            yield

    def _note(self, op: str, start: float, end: float, made: Any, arrays: Any) -> None:
        size = sum(self._hold(a) for a in made if not any(_shares(a, x) for x in arrays))
        layer, phase = "", "rest"
        if self._pulling is not None:
            layer, phase = self._made_by.get(self._pulling, ""), "backward"
        elif self._running:
            layer, phase = self._running[-1], "forward"
        begun = start - self._started
        self.calls.append(OpCall(op, layer, phase, begun, end - start, size, self._live))

    def _hold(self, array: Any) -> int:
        """Count an array as in use until it is freed; its bytes."""
        size = math.prod(array.shape) * int(getattr(array.dtype, "itemsize", 4))
        with contextlib.suppress(TypeError):  # what cannot be referred to weakly is small
            weakref.finalize(array, self._free, size).atexit = False
            self._live += size
        return size

    def _free(self, size: int) -> None:
        self._live -= size


class _Timed(dict[Any, Callable[..., Any]]):
    """A table whose kernels a profiler times."""

    def __init__(self, profiler: Profiler) -> None:
        super().__init__()
        self._profiler = profiler

    def __missing__(self, op: Any) -> Callable[..., Any]:
        self[op] = run = self._profiler.timed(op)
        return run


def _shares(a: Any, x: Any) -> bool:
    """Whether ``a`` is a view of ``x``'s memory, where arrays say it (``base``)."""
    return x is not None and _owner(a) is _owner(x)


def _owner(array: Any) -> Any:
    while (base := getattr(array, "base", None)) is not None:
        array = base
    return array


@dataclass(frozen=True, slots=True)
class Row:
    """What several op calls have in common.

    Attributes:
        name: the op, or the layer's path.
        calls: how many, in one step.
        seconds: in one step.
        bytes: that they made, in one step.
    """

    name: str
    calls: float
    seconds: float
    bytes: float


def by(what: Callable[[OpCall], str], calls: list[OpCall], steps: int) -> list[Row]:
    """Op calls in groups, the slowest first, as means over ``steps``."""
    groups: dict[str, list[OpCall]] = {}
    for call in calls:
        groups.setdefault(what(call), []).append(call)
    rows = [
        Row(
            name,
            len(group) / steps,
            sum(c.seconds for c in group) / steps,
            sum(c.bytes for c in group) / steps,
        )
        for name, group in groups.items()
    ]
    return sorted(rows, key=lambda row: -row.seconds)


def chrome_trace(calls: list[OpCall]) -> dict[str, Any]:
    """What ``chrome://tracing`` and Perfetto show: one event for each op call."""
    return {"displayTimeUnit": "ms", "traceEvents": list(_events(calls))}


def _events(calls: list[OpCall]) -> Iterator[dict[str, Any]]:
    for c in calls:
        yield {
            "name": c.op, "cat": c.phase, "ph": "X", "pid": 1, "tid": 1,
            "ts": round(c.start * 1e6, 3), "dur": round(c.seconds * 1e6, 3),
            "args": {"layer": c.layer, "bytes": c.bytes},
        }  # fmt: skip
        yield {
            "name": "arrays in use", "ph": "C", "pid": 1,
            "ts": round((c.start + c.seconds) * 1e6, 3), "args": {"bytes": c.live},
        }  # fmt: skip
