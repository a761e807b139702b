"""Opening a card, its memory and its launches, with a CuPy made of paper."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from flagstone.devices import Device
from flagstone.errors import FlagstoneError, UnavailableError
from flagstone_cupy import compile as nvrtc
from flagstone_cupy import launch, opening
from flagstone_cupy.kernels import elementwise
from flagstone_cupy.kernels.reduce import ROOT_OF_SUM

MODULES = tuple(
    f"flagstone_cupy.{name}" for name in ("backend", "runner", "ranges", "room", "staging")
)


class PaperError(RuntimeError):
    """cupy.cuda.runtime.CUDARuntimeError."""


class PaperMemoryError(MemoryError):
    """cupy.cuda.memory.OutOfMemoryError."""


class PaperFunction:
    """A RawKernel that notes its launches."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls: list[tuple[Any, ...]] = []

    def __call__(self, grid: Any, block: Any, args: Any, *, shared_mem: int) -> None:
        self.calls.append((grid, block, args, shared_mem))


class PaperDevice:
    def __init__(self, number: int) -> None:
        self.id = number

    def use(self) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...


@pytest.fixture
def paper(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module ``cupy`` of one card of compute capability 8.6 with 1000 bytes."""
    cupy = ModuleType("cupy")
    seen = SimpleNamespace(cards=1, major=8, minor=6, used=0, functions={}, allocator=None)

    def malloc(size: int) -> str:
        if seen.used + size > 1000:
            raise PaperMemoryError("Out of memory allocating 1,024 bytes (allocated so far: 0).")
        seen.used += size
        return f"{size} bytes"

    def module(*, path: str) -> Any:
        assert Path(path).read_bytes()[:4] == b"\x7fELF"

        def get_function(name: str) -> PaperFunction:
            return seen.functions.setdefault(name, PaperFunction(name))

        return SimpleNamespace(get_function=get_function)

    def set_allocator(allocator: Any) -> None:
        seen.allocator = allocator

    def count() -> int:
        if isinstance(seen.cards, Exception):
            raise seen.cards
        return int(seen.cards)

    runtime = SimpleNamespace(
        CUDARuntimeError=PaperError,
        getDeviceCount=count,
        getDevice=lambda: 0,
        memGetInfo=lambda: (1000 - seen.used, 1000),
        getDeviceProperties=lambda card: {
            "name": b"Paper", "major": seen.major, "minor": seen.minor,
        },
    )  # fmt: skip
    cupy.ndarray, cupy.empty, cupy.RawModule = np.ndarray, np.empty, module  # type: ignore[attr-defined]  # a paper module
    cupy.__version__ = "14.2.0"  # type: ignore[attr-defined]  # a paper module
    cupy.get_default_memory_pool = lambda: SimpleNamespace(  # type: ignore[attr-defined]  # a paper module
        used_bytes=lambda: seen.used, free_bytes=lambda: 50
    )
    cupy.cuda = SimpleNamespace(  # type: ignore[attr-defined]  # a paper module
        runtime=runtime,
        nvtx=None,
        Device=PaperDevice,
        memory=SimpleNamespace(OutOfMemoryError=PaperMemoryError),
        get_allocator=lambda: malloc,
        set_allocator=set_allocator,
    )
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(sys.modules, "cupy.cuda", cupy.cuda)
    monkeypatch.setitem(sys.modules, "cupyx", ModuleType("cupyx"))
    monkeypatch.setattr(opening, "installed", lambda: ["cupy-cuda13x"])
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    before = launch.install(None)
    yield seen
    launch.install(before)
    for name in MODULES:
        sys.modules.pop(name, None)


def test_two_distributions_are_refused(paper: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "installed", lambda: ["cupy-cuda13x", "cupy-cuda12x"])
    with pytest.raises(UnavailableError, match="cupy-cuda13x and cupy-cuda12x are both installed"):
        opening.open_cupy(None)


def test_a_cupy_that_cannot_be_imported(paper: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(UnavailableError, match=r"CuPy cannot be imported: .*flagstone\[cuda13x\]"):
        opening.open_cupy(None)


def test_a_driver_that_does_not_start(paper: Any) -> None:
    paper.cards = PaperError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")
    with pytest.raises(UnavailableError, match="'cuda:0': CUDA does not start: cudaErrorInsuff"):
        opening.open_cupy(None)


def test_a_card_that_is_not_there(paper: Any) -> None:
    paper.cards = 2
    with pytest.raises(UnavailableError, match="'cuda:2': this machine has 2 cards, cuda:0 to"):
        opening.open_cupy(2)


def test_an_open_card_describes_itself(paper: Any) -> None:
    backend = opening.open_cupy(None)
    assert backend.device == Device("cuda", 0)
    assert backend.devices() == [Device("cuda", 0)]
    assert backend.describe() == "cupy 14.2.0, Paper"
    assert backend.kernels["relu"] is elementwise.relu


def test_memory_is_watched(paper: Any) -> None:
    backend = opening.open_cupy(None)
    assert paper.allocator(600) == "600 bytes"
    paper.used -= 500
    memory = backend.memory()
    assert (memory.used, memory.peak, memory.total) == (100, 600, 1000)
    assert memory.free == 900 + 50, "what the pool holds and nobody uses is free too"


def test_a_full_card_says_what_is_free(paper: Any) -> None:
    opening.open_cupy(None)
    runner = importlib.import_module("flagstone_cupy.runner")
    with pytest.raises(runner.CardMemoryError, match="the card is out of memory"):
        paper.allocator(1024)
    assert issubclass(runner.CardMemoryError, FlagstoneError)
    assert issubclass(runner.CardMemoryError, MemoryError)


needs_nvrtc = pytest.mark.skipif(
    importlib.util.find_spec("cuda") is None, reason="NVRTC is not installed (cuda-bindings)"
)


@needs_nvrtc
def test_a_kernel_is_loaded_once_and_launched(paper: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    architectures = []
    compiled = nvrtc.compiled

    def noting(source: str, expressions: Any, architecture: str) -> Any:
        architectures.append(architecture)
        return compiled(source, expressions, architecture)

    opening.open_cupy(None)
    monkeypatch.setattr(sys.modules["flagstone_cupy.runner"], "compiled", noting)
    x = np.ones(3000, "float32")
    for _ in range(2):
        elementwise.leaky_relu(x, slope=0.5)
    assert architectures == ["86"]
    (function,) = paper.functions.values()
    assert "LeakyRelu" in function.name
    assert len(function.calls) == 2
    grid, block, arguments, shared = function.calls[0]
    assert (grid, block, shared) == ((3, 1, 1), (256, 1, 1), 0)
    assert arguments[0] is x
    assert [type(a) for a in arguments] == [np.ndarray, np.ndarray, np.float64, np.int64]


@needs_nvrtc
def test_much_shared_memory_is_asked_for_first(paper: Any) -> None:
    opening.open_cupy(None)
    given = (np.ones(1, "float32"), np.ones((), "float32"), 1)
    for shared in (1000, 60_000, 50_000):
        launch.launch(ROOT_OF_SUM["float"], (1, 1, 1), (256, 1, 1), shared, given)
    (function,) = paper.functions.values()
    assert function.max_dynamic_shared_size_bytes == 60_000
    assert [call[3] for call in function.calls] == [1000, 60_000, 50_000]


@needs_nvrtc
def test_a_card_that_is_too_old_for_a_kernel(paper: Any, monkeypatch: Any) -> None:
    opening.open_cupy(None)
    monkeypatch.setattr(ROOT_OF_SUM["float"], "since", 90)
    given = (np.ones(1, "float32"), np.ones((), "float32"), 1)
    with pytest.raises(UnavailableError, match=r"needs compute capability 9.0; this card has 8.6"):
        launch.launch(ROOT_OF_SUM["float"], (1, 1, 1), (256, 1, 1), 0, given)
