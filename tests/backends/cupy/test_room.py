"""What a room asks of CuPy, with a CuPy made of paper."""

from __future__ import annotations

import contextlib
import importlib
import sys
import threading
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from flagstone.errors import FlagstoneError

MODULES = ("flagstone_cupy.runner", "flagstone_cupy.room", "flagstone_cupy.staging")


class PaperRuntimeError(RuntimeError):
    """cupy.cuda.runtime.CUDARuntimeError."""


class PaperMemoryError(MemoryError):
    """cupy.cuda.memory.OutOfMemoryError."""


class Event(str):
    """cupy.cuda.Event."""

    def __new__(cls, text: str, _say: Any) -> Event:
        return super().__new__(cls, text)

    def __init__(self, text: str, say: Any) -> None:
        self._say = say

    def synchronize(self) -> None:
        self._say(f"the host waits for {self}")


class Paper:
    """The parts of ``cupy`` that a room uses, which note what happens in ``said``."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.full = self.ends_badly = False
        self.allocators = [self.ordinary]
        self.pinned: Any = self.ordinary_pinned
        self.streams: list[Any] = [self.stream("outer")]

    def ordinary(self, size: int) -> str:
        return "ordinary"

    def ordinary_pinned(self, size: int) -> str:
        return "pinned"

    def array(self, shape: Any, dtype: Any) -> Any:
        said = self.said

        class Array(np.ndarray[Any, Any]):
            def set(self, a: Any, stream: Any) -> None:
                said.append(f"{len(a)} rows on {stream.name}")
                self[...] = a

        return np.zeros(shape, dtype).view(Array)

    def stream(self, name: str) -> Any:
        say = self.said.append

        @contextlib.contextmanager
        def entered() -> Iterator[None]:
            self.streams.append(stream)
            try:
                yield
            finally:
                self.streams.pop()

        def end() -> Any:
            say(f"{name} ends a capture")
            if self.ends_badly:
                raise PaperRuntimeError("cudaErrorStreamCaptureInvalidated")
            return SimpleNamespace(launch=lambda s: say(f"the graph starts on {s.name}"))

        class Stream:
            def __enter__(self) -> None:
                self.context = entered()
                self.context.__enter__()

            def __exit__(self, *error: Any) -> None:
                self.context.__exit__(*error)

        stream: Any = Stream()
        stream.name = name
        stream.record = lambda: Event(f"event of {name}", say)
        stream.wait_event = lambda event: say(f"{name} waits for {event}")
        stream.begin_capture = lambda: say(f"{name} begins a capture")
        stream.end_capture = end
        return stream

    @contextlib.contextmanager
    def using(self, allocator: Any) -> Iterator[None]:
        self.allocators.append(allocator)
        try:
            yield
        finally:
            self.allocators.pop()

    def pool(self) -> Any:
        def malloc(size: int) -> str:
            if self.full:
                raise PaperMemoryError("Out of memory allocating 9 bytes.")
            return "private"

        return SimpleNamespace(
            malloc=malloc,
            total_bytes=lambda: 4096,
            free_all_blocks=lambda: self.said.append("the pool is freed"),
        )

    def module(self) -> ModuleType:
        cupy: Any = ModuleType("cupy")

        def free() -> None:
            self.said.append("the default pool is freed")

        def set_pinned(allocator: Any) -> None:
            self.pinned = allocator

        cupy.empty_like, cupy.ndarray, cupy.empty = np.empty_like, np.ndarray, self.array
        cupy.get_default_memory_pool = lambda: SimpleNamespace(
            free_all_blocks=free, used_bytes=lambda: 0
        )
        cupy.get_default_pinned_memory_pool = lambda: SimpleNamespace(malloc=self.ordinary_pinned)
        cupy.cuda = SimpleNamespace(
            MemoryPool=self.pool,
            Stream=lambda non_blocking: self.stream("inner" if non_blocking else "blocking"),
            get_current_stream=lambda: self.streams[-1],
            using_allocator=self.using,
            set_pinned_memory_allocator=set_pinned,
            runtime=SimpleNamespace(
                CUDARuntimeError=PaperRuntimeError, memGetInfo=lambda: (0, 1000)
            ),
            memory=SimpleNamespace(OutOfMemoryError=PaperMemoryError),
        )
        return cupy


@pytest.fixture
def paper(monkeypatch: pytest.MonkeyPatch) -> Iterator[Paper]:
    made = Paper()
    monkeypatch.setitem(sys.modules, "cupy", made.module())
    cupyx: Any = ModuleType("cupyx")
    cupyx.empty_pinned = np.empty
    monkeypatch.setitem(sys.modules, "cupyx", cupyx)
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield made
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def room(paper: Paper) -> Any:
    return importlib.import_module("flagstone_cupy.room").CupyRoom(contextlib.nullcontext())


def test_work_in_a_room_comes_after_what_was_asked_before_and_before_what_comes(
    paper: Paper, room: Any
) -> None:
    with room.working():
        assert paper.streams[-1].name == "inner"
        assert paper.allocators[-1](8) == "private"
        paper.said.append("work")
    assert paper.said == [
        "inner waits for event of outer", "work", "outer waits for event of inner"
    ]  # fmt: skip
    assert paper.allocators[-1](8) == "ordinary"


def test_a_capture_and_its_launch(paper: Paper, room: Any) -> None:
    graph = room.capture(lambda: paper.said.append(f"work with {paper.allocators[-1](8)} memory"))
    room.launch(graph)
    assert paper.said == [
        "inner begins a capture", "work with private memory", "inner ends a capture",
        "the graph starts on outer",
    ]  # fmt: skip
    assert room.bytes() == 4096


def test_a_capture_that_fails_is_ended(paper: Paper, room: Any) -> None:
    paper.ends_badly = True

    def work() -> None:
        raise NotImplementedError("calling cuBLAS API during stream capture")

    with pytest.raises(NotImplementedError, match="cuBLAS"):
        room.capture(work)
    assert paper.said[-1] == "inner ends a capture"
    assert paper.streams[-1].name == "outer"
    assert paper.pinned(8) == "pinned"


def test_nothing_is_sent_from_the_host_in_a_capture(paper: Paper, room: Any) -> None:
    others: list[str] = []

    def work() -> None:
        thread = threading.Thread(target=lambda: others.append(paper.pinned(8)))
        thread.start()
        thread.join()
        paper.pinned(8)

    with pytest.raises(RuntimeError, match="an array of the host"):
        room.capture(work)
    assert others == ["pinned"], "other threads may"
    assert paper.pinned(8) == "pinned"


def test_what_lies_free_elsewhere_is_given_back_before_a_room_is_too_small(
    paper: Paper, room: Any
) -> None:
    paper.full = True
    with room.working(), pytest.raises(MemoryError, match="the card is out of memory") as raised:
        paper.allocators[-1](8)
    assert isinstance(raised.value, FlagstoneError)
    assert "the default pool is freed" in paper.said


def test_a_room_that_is_closed_gives_its_memory_back(paper: Paper, room: Any) -> None:
    room.close()
    assert paper.said == ["the pool is freed"]


def test_copies_take_the_short_way_where_both_lie_in_one_piece(paper: Paper, room: Any) -> None:
    copied: list[Any] = []

    class Array(np.ndarray[Any, Any]):
        @property
        def data(self) -> Any:
            def copy(source: Any, size: int, stream: Any) -> None:
                copied.append((size, stream.name))

            return SimpleNamespace(copy_from_device_async=copy)

    to, a = (np.arange(12.0).reshape(3, 4).view(Array) for _ in range(2))
    room.copy(to, a)
    assert copied == [(96, "outer")]
    to[...] = 0
    room.copy(to.T, a.reshape(4, 3))
    assert len(copied) == 1
    np.testing.assert_array_equal(to.T, a.reshape(4, 3))


def test_batches_go_to_the_card_beside_the_work(paper: Paper) -> None:
    staging = importlib.import_module("flagstone_cupy.staging").CupyStaging(None, [((4, 2), "f4")])
    outer, inner = "event of outer", "event of inner"
    for place, count, before in ((0, 4, outer), (1, 4, outer), (0, 3, inner)):
        (host,) = staging.host(place)
        assert paper.said.pop() == f"the host waits for {before}"
        host[:count] = count
        staging.send(place, count)
        assert paper.said == [f"inner waits for {outer}", f"{count} rows on inner"]
        (there,) = staging.take(place)
        assert paper.said.pop() == f"outer waits for {inner}"
        np.testing.assert_array_equal(there, np.full((count, 2), count))
        staging.release(place)
        paper.said.clear()
