"""Running kernels on a card, and allocating on it, through CuPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cupy

from flagstone.errors import FlagstoneError, UnavailableError
from flagstone_cupy.compile import architecture_of, compiled
from flagstone_cupy.kernel import Kernel

STATIC_LIMIT = 48 << 10  # shared bytes that a kernel may ask for without saying so first


class CardMemoryError(FlagstoneError, MemoryError):
    """The card has no room for an array."""


class CupyRunner:
    """Loads a kernel when it is first launched on a card, and launches it on the current stream."""

    def __init__(self) -> None:
        self._loaded: dict[tuple[int, Kernel], Any] = {}
        self._shared: dict[tuple[int, Kernel], int] = {}
        self._capabilities: dict[int, int] = {}

    @property
    def capability(self) -> int:
        """The compute capability of the current card, 86 for 8.6."""
        card = cupy.cuda.runtime.getDevice()
        if card not in self._capabilities:
            properties = cupy.cuda.runtime.getDeviceProperties(card)
            self._capabilities[card] = 10 * properties["major"] + properties["minor"]
        return self._capabilities[card]

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return cupy.empty(shape, dtype)

    def is_here(self, a: Any) -> bool:
        return isinstance(a, cupy.ndarray)

    def copy(self, to: Any, a: Any) -> None:
        to[...] = a

    def run(
        self, kernel: Kernel, grid: Sequence[int], block: Sequence[int], shared: int,
        arguments: list[Any],
    ) -> None:  # fmt: skip
        key = (cupy.cuda.runtime.getDevice(), kernel)
        raw = self._loaded.get(key)
        if raw is None:
            raw = self._loaded[key] = self._load(kernel)
        if shared > STATIC_LIMIT and shared > self._shared.get(key, 0):
            raw.max_dynamic_shared_size_bytes = shared
            self._shared[key] = shared
        raw(tuple(grid), tuple(block), tuple(arguments), shared_mem=shared)

    def _load(self, kernel: Kernel) -> Any:
        major, minor = divmod(self.capability, 10)
        if self.capability < kernel.since:
            raise UnavailableError(
                f"{kernel} needs compute capability {kernel.since / 10}; this card has "
                f"{major}.{minor}"
            )
        architecture = architecture_of(major, minor)
        cubin = compiled(kernel.source, [kernel.expression], architecture)
        module = cupy.RawModule(path=str(cubin.path))
        return module.get_function(cubin.symbols[kernel.expression])


class CardMemory:
    """CuPy's pool of one card, with its peak, and with errors in our words.

    Attributes:
        peak: the most bytes that arrays held since the card was opened.
    """

    def __init__(self, card: int) -> None:
        self.card = card
        self.peak = self.used()

    def used(self) -> int:
        """The bytes that arrays hold; the card must be the current one."""
        return int(cupy.get_default_memory_pool().used_bytes())


_memories: dict[int, CardMemory] = {}


def memory_of(card: int) -> CardMemory:
    """The memory of a card, which must be the current one; from now on it is watched."""
    if not _memories:
        cupy.cuda.set_allocator(_watched(cupy.cuda.get_allocator()))
    if card not in _memories:
        _memories[card] = CardMemory(card)
    return _memories[card]


def _watched(allocate: Callable[[int], Any]) -> Callable[[int], Any]:
    """CuPy's allocator (its pool's, or one that the user chose), noting peaks."""

    def allocate_here(size: int) -> Any:
        try:
            pointer = allocate(size)
        except cupy.cuda.memory.OutOfMemoryError as error:
            raise out_of_memory(error) from None
        memory = _memories.get(cupy.cuda.runtime.getDevice())
        if memory is not None:
            memory.peak = max(memory.peak, memory.used())
        return pointer

    return allocate_here


def out_of_memory(error: Exception) -> CardMemoryError:
    """CuPy's error in our words, with what is free and what would help."""
    free, total = cupy.cuda.runtime.memGetInfo()
    held = cupy.get_default_memory_pool().used_bytes()
    return CardMemoryError(
        f"the card is out of memory ({str(error).splitlines()[0].rstrip('.')}); arrays hold "
        f"{held / 2**20:.0f} MiB, and {free / 2**20:.0f} of {total / 2**20:.0f} MiB are free; "
        "a smaller --batch-size needs less"
    )
