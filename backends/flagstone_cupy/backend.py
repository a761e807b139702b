"""CuPy as a backend of flagstone: its namespace, our kernels, and the card's memory."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cupy
import cupyx
import numpy as np

from flagstone.backend import Backend, MemoryInfo
from flagstone.capturing import Recorded
from flagstone.devices import Device
from flagstone.errors import UnavailableError
from flagstone_cupy import launch, persistent, ranges
from flagstone_cupy.graph import GraphReplay
from flagstone_cupy.kernels import tiles
from flagstone_cupy.room import CupyRoom
from flagstone_cupy.runner import CupyRunner, memory_of
from flagstone_cupy.signature import BFLOAT16
from flagstone_cupy.staging import CupyStaging
from flagstone_cupy.table import KERNELS


def precisions_of(capability: int) -> tuple[tuple[str, ...], dict[str, str]]:
    """What a card of this compute capability (86 for 8.6) computes in, and why not the rest."""
    lacks = {}
    if capability < tiles.TENSOR_CORES_SINCE:
        told = f"it needs compute capability 8.0; this card has {capability / 10}"
        lacks = {"tf32": told, "mixed-bf16": told}
    elif BFLOAT16.names is not None:
        lacks["mixed-bf16"] = "CuPy has bfloat16 from ml_dtypes, which is not installed"
    has = (p for p in ("exact", "tf32", "mixed-fp16", "mixed-bf16") if p not in lacks)
    return tuple(has), lacks | {"fast": "it is a way of NumPy's convolutions"}


PINNED_BYTES = 1 << 16  # from this size on, an array comes to the host through pinned memory


class CupyBackend(Backend):
    """One NVIDIA card. Opening it makes it the calling thread's current CUDA device."""

    name = "cupy"
    xp = cupy
    kernels = KERNELS

    def __init__(self, device: Device) -> None:
        super().__init__(device)
        self._card = cupy.cuda.Device(device.index or 0)
        self._card.use()
        self._memory = memory_of(self._card.id)
        self._rooms: weakref.WeakSet[CupyRoom] = weakref.WeakSet()
        launch.install(_RUNNER)
        self.precisions, self.lacks = precisions_of(_RUNNER.capability)

    @classmethod
    def of_card(cls, index: int) -> CupyBackend:
        """The backend for a card by its number.

        Raises:
            UnavailableError: CUDA does not start, or there is no such card.
        """
        try:
            cards = cupy.cuda.runtime.getDeviceCount()
        except cupy.cuda.runtime.CUDARuntimeError as error:
            raise UnavailableError(f"device 'cuda:{index}': CUDA does not start: {error}") from None
        if index >= cards:
            raise UnavailableError(
                f"device 'cuda:{index}': this machine has {cards} card{'s'[: cards > 1]}, "
                f"cuda:0 to cuda:{cards - 1}"
            )
        return cls(Device("cuda", index))

    def describe(self) -> str:
        properties = cupy.cuda.runtime.getDeviceProperties(self._card.id)
        return f"cupy {cupy.__version__}, {properties['name'].decode()}"

    def devices(self) -> list[Device]:
        return [Device("cuda", i) for i in range(cupy.cuda.runtime.getDeviceCount())]

    def asarray(self, x: Any, dtype: str | None = None) -> cupy.ndarray:
        """``x`` on the card; CuPy stages host arrays in pinned memory and does not wait.

        Raises:
            CardMemoryError: the card has no room for it.
        """
        return cupy.asarray(x, dtype=dtype)

    def to_numpy(self, a: cupy.ndarray) -> Any:
        """A NumPy array on the host; waits for the work that makes ``a``."""
        if not isinstance(a, cupy.ndarray) or a.nbytes < PINNED_BYTES:
            return np.asarray(cupy.asnumpy(a))
        host = cupyx.empty_pinned(a.shape, a.dtype)
        a.get(out=host)
        return host

    def synchronize(self) -> None:
        self._card.synchronize()

    def mark(self, name: str) -> contextlib.AbstractContextManager[None]:
        """An NVTX range, which Nsight Systems shows above the kernels that it started."""
        return ranges.marked(name)

    @contextlib.contextmanager
    def stream(self) -> Iterator[cupy.cuda.Stream]:
        """Within it, this thread's work goes to a stream of its own, which waits for no other.

        It begins after what was asked of the stream before, and that one waits for it at the end.
        """
        outer = cupy.cuda.get_current_stream()
        inner = cupy.cuda.Stream(non_blocking=True)
        inner.wait_event(outer.record())
        try:
            with inner:
                yield inner
        finally:
            outer.wait_event(inner.record())

    def memory(self) -> MemoryInfo:
        """Of the card: bytes that arrays and graphs hold, the most they held, all, and free."""
        with self._card:
            free, total = cupy.cuda.runtime.memGetInfo()
            free += cupy.get_default_memory_pool().free_bytes()
            graphs = sum(room.bytes() for room in self._rooms)
            return MemoryInfo(self._memory.used() + graphs, self._memory.peak + graphs, total, free)

    def staging(self, kinds: Sequence[tuple[tuple[int, ...], str]]) -> CupyStaging:
        return CupyStaging(self, kinds)

    def capture(self, step: Callable[..., Any], *_example: Any) -> Callable[..., Any]:
        """The step, recorded on its first calls, then one CUDA graph; see ``graph.py``.

        Tiny ones are one block's work instead; ``persistent.py`` has the rule.
        """
        return Recorded(step, self, lambda p: persistent.replay_of(p) or GraphReplay(p, self._room))

    def _room(self) -> CupyRoom:
        room = CupyRoom(self._card)
        self._rooms.add(room)
        return room


_RUNNER = CupyRunner()  # it serves every card of the process
