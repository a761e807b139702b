"""The contract of a backend, and opening one by a device's name.

A backend brings an array namespace; the generic form of every op, written in array-API terms, then
works on it. It gets faster kernel by kernel: a kernel is a function with an op's name and
arguments. Which function serves which op is settled at an op's first use on an opened backend and
kept, so a training step only calls bound functions.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from flagstone.devices import AUTO, Device, default_device, parse_device
from flagstone.errors import (
    ConfigurationError,
    DeviceMismatchError,
    PluginError,
    UnavailableError,
    UnknownNameError,
)
from flagstone.fusion import without_stale
from flagstone.kernels import EXACT as EXACT
from flagstone.kernels import Array as Array
from flagstone.kernels import Kernel as Kernel
from flagstone.kernels import Traits as Traits
from flagstone.kernels import declines as declines
from flagstone.kernels import in_front, with_fallback
from flagstone.kernels import settled as settled
from flagstone.kernels import takes_precision as takes_precision
from flagstone.kernels import traits as traits
from flagstone.plugins import BackendSpec, registry
from flagstone.plugins.guests import quiet_output
from flagstone.staging import Staging as Staging

MIXED = {"mixed-fp16": "float16", "mixed-bf16": "bfloat16"}
"""Precision -> the dtype in which products are computed beside float32."""


class OpLike(Protocol):
    """What a backend needs to know of an op."""

    name: str
    generic: Kernel


@dataclass(frozen=True, slots=True)
class MemoryInfo:
    """Memory of a device in bytes; ``None`` where the backend cannot tell.

    ``free`` is that of a device with memory of its own: data that do not fit are streamed to it.
    """

    used: int | None = None
    peak: int | None = None
    total: int | None = None
    free: int | None = None


class Backend:
    """An array namespace on one device, with the kernels that make it fast.

    A subclass sets ``name``, ``xp`` and ``kernels`` and overrides what its arrays need. The
    defaults below are right for any namespace that follows the array API standard 2024.12 and
    whose arrays NumPy can read.

    Attributes:
        name: the backend's name, as in its ``BackendSpec``.
        device: the device that this opened backend serves.
        xp: the array namespace.
        kernels: op name -> function with that op's arguments (without ``xp``). One that also has a
            keyword argument ``precision``, ``"exact"`` by default, is given the backend's.
        precisions: what it can compute in, ``"exact"`` first; see :meth:`with_precision`.
        lacks: name of a precision that others have -> why this one has it not.
        precision: what it computes in, one of ``precisions``.
        low: of a mixed precision, the dtype of 16 bits; else ``None``.
        is_immediate: whether a kernel's work is done when it returns, and a value read at no cost.
    """

    name: str
    xp: Any
    kernels: Mapping[str, Kernel] = {}
    precisions: tuple[str, ...] = (EXACT,)
    lacks: Mapping[str, str] = {}
    precision: str = EXACT
    low: str | None = None
    is_immediate = False

    def __init__(self, device: Device) -> None:
        self.device = device
        self.table = OpTable(self)
        self._by_precision: dict[str, Backend] = {EXACT: self}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {_told(self)}>"

    def __reduce__(self) -> tuple[Any, ...]:
        # copied and pickled as the device it serves
        return open_backend, (str(self.device), self.precision)

    def with_precision(self, precision: str) -> Backend:
        """This backend, computing in another precision: one instance for each.

        Tensors of two instances do not meet in an op, for which one's precision would hold?

        Raises:
            ConfigurationError: it has no such precision; the message says why, and what it has.
        """
        if precision not in self.precisions:
            raise ConfigurationError(
                f"precision: expected {' or '.join(self.precisions)}, which {self.name} on "
                f"{self.device} has; got {precision!r}: "
                f"{self.lacks.get(precision, 'it has none of this name')}"
            )
        if precision not in self._by_precision:
            other = object.__new__(type(self))
            vars(other).update(vars(self))
            other.precision, other.table = precision, OpTable(other)
            other.low = MIXED.get(precision)
            self._by_precision[precision] = other
        return self._by_precision[precision]

    def describe(self) -> str:
        """What serves here, for people: ``"numpy 2.4.6, OpenBLAS, 2 threads"``."""
        return f"{self.name} {getattr(self.xp, '__version__', '')}".strip()

    def devices(self) -> list[Device]:
        """The devices that this backend could open on this machine."""
        return [self.device]

    def asarray(self, x: Any, dtype: str | None = None) -> Array:
        """``x`` (a NumPy array, number or nested list) as an array on this device.

        Args:
            x: host data, or an array that is already this backend's.
            dtype: a name such as ``"float32"``; by default what ``x`` has.
        """
        return self.xp.asarray(x, dtype=None if dtype is None else getattr(self.xp, dtype))

    def to_numpy(self, a: Array) -> Any:
        """A NumPy array with the values of ``a``, sharing memory where that is possible."""
        import numpy as np

        return np.asarray(a)

    def ones_like(self, a: Array) -> Array:
        """An array of ones of the shape and dtype of ``a``: where a gradient starts."""
        return self.xp.ones_like(self.xp.asarray(a))

    def synchronize(self) -> None:
        """Return when all work that was asked of the device is done."""

    def settle(self) -> None:
        """Return when no thread of the backend's holds arrays of calls that have returned; whoever
        records a step then asks which of its arrays live on."""

    def mark(self, _name: str) -> contextlib.AbstractContextManager[None]:
        """A range in the device's own profiler, which ``flagstone profile`` asks for; none here."""
        return contextlib.nullcontext()

    def capture(self, step: Callable[..., Any], *_example: Any) -> Callable[..., Any]:
        """A function that does what ``step`` does, for arguments like the example's.

        Shapes and dtypes of tensors, and arguments that are no tensors, are those of the example;
        :func:`flagstone.capture` asks again for others. Every call counts as one step, the first
        included, with the numbers that ``step`` itself would give: capturing changes no value. The
        function returned may have an attribute ``fits``, called before every step, which says
        whether what it relies on still holds; if not, another capture is made.

        Here the step itself, which is always right. ``Recorded(step, self)`` of
        :mod:`flagstone.capturing` records it and replays it without the tape on any backend, and
        takes a function that makes something faster of the record.
        """
        return step

    def memory(self) -> MemoryInfo:
        """How much of the device's memory is in use."""
        return MemoryInfo()

    def staging(self, kinds: Sequence[tuple[tuple[int, ...], str]]) -> Staging:
        """Buffers through which batches go to the device.

        Args:
            kinds: shape and dtype of each array of the largest batch.
        """
        return Staging(self, kinds)


class OpTable(dict[Any, Kernel]):
    """Op -> the bound function that serves it; filled at an op's first use."""

    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self._backend = backend

    def __missing__(self, op: OpLike) -> Kernel:
        backend = self._backend
        generic = functools.partial(op.generic, backend.xp)
        kernel = backend.kernels.get(op.name)
        if kernel is None:
            self[op] = generic
            return generic
        known = traits(kernel)
        if backend.precision != EXACT and takes_precision(kernel):
            kernel = functools.partial(kernel, precision=backend.precision)
        if known.may_decline:
            least = 0 if known.served_by else known.least  # else the backend's own is asked
            kernel = with_fallback(backend.name, op.name, kernel, generic, least)
        self[op] = kernel
        return kernel


_opened: dict[tuple[str, Device], tuple[BackendSpec, Backend]] = {}
_opening = threading.RLock()


def open_backend(
    device: str | Device | Backend | None = None, precision: str | None = None
) -> Backend:
    """The backend that serves ``device``, opened once per device, precision and process.

    Args:
        device: ``auto``, ``cpu``, ``cuda[:N]``, a backend's name, an opened backend, or ``None``
            for the default.
        precision: one of the backend's ``precisions``; by default ``"exact"``, or an opened
            backend's own.

    Raises:
        UnknownNameError: no plugin provides such a device.
        UnavailableError: one does, but it cannot work here; the message says why.
        ConfigurationError: ``device`` is not written as a device is, or its backend has no such
            precision.
    """
    backend = device if isinstance(device, Backend) else _opened_for(device)
    return backend if precision is None else backend.with_precision(precision)


def _opened_for(device: str | Device | None) -> Backend:
    wanted = default_device() if device is None else parse_device(device)
    if wanted.kind == AUTO:
        wanted = default_device() if default_device().kind != AUTO else wanted
    spec = _first_that_works() if wanted.kind == AUTO else _spec_of(wanted)
    kind = spec.devices[0] if wanted.kind in (AUTO, spec.name) else wanted.kind
    key = (spec.name, Device(kind, wanted.index))
    with _opening:
        if key not in _opened or _opened[key][0] != spec:  # another plugin's of that name
            if wanted.kind != AUTO:
                probe = spec.run_probe()
                if not probe.ok:
                    raise UnavailableError(f"device {str(wanted)!r}: {probe.reason}")
            _opened[key] = spec, _open(spec, Device(kind, wanted.index))
        return _opened[key][1]


def _open(spec: BackendSpec, device: Device) -> Backend:
    with quiet_output():  # a stranger's code; standard output is for results
        backend = spec.load()(device.index)
    if not isinstance(backend, Backend):
        raise PluginError(
            f"backend {spec.name!r}: {spec.target} must return a flagstone.backend.Backend; "
            f"it returned {type(backend).__name__}"
        )
    own = backend.kernels
    added = {
        spec.name: in_front(spec.load(), own.get(spec.name)) for spec in registry.kernels(backend)
    }
    backend.kernels = without_stale(own, added)
    return backend


def _spec_of(wanted: Device) -> BackendSpec:
    specs: list[BackendSpec] = registry.specs("backend")
    for spec in specs:
        if wanted.kind in spec.devices or wanted.kind == spec.name:
            return spec
    known = {AUTO, *(spec.name for spec in specs), *(d for s in specs for d in s.devices)}
    if wanted.kind == "cuda":
        raise UnavailableError(
            f"device {str(wanted)!r}: no installed backend provides it; on a machine with an "
            "NVIDIA card install flagstone[cuda13x] or flagstone[cuda12x], or use --device cpu"
        )
    meant = "cuda" if wanted.kind in ("gpu", "nvidia") else ""  # which are spelled like others
    raise UnknownNameError("device", str(wanted), known, "cuda:1 names the second card.", meant)


def _first_that_works() -> BackendSpec:
    reasons = []
    for spec in sorted(registry.specs("backend"), key=lambda s: -s.priority):
        probe = spec.run_probe()
        if probe.ok:
            return spec
        reasons.append(f"{spec.name}: {probe.reason}")
    raise UnavailableError(
        "device 'auto': no backend works here" + "".join(f"; {reason}" for reason in reasons)
    )


def mismatch(op: str, first: Backend, second: Backend) -> DeviceMismatchError:
    """The error for one op given arrays of two devices."""
    return DeviceMismatchError(
        f"{op}: expected all arrays on one device; got {_told(first)} and {_told(second)}. "
        f"Move one with x.to({_name(first)})"
    )


def _told(backend: Backend) -> str:
    precision = "" if backend.precision == EXACT else f" in {backend.precision}"
    return f"{backend.name} on {backend.device}{precision}"


def _name(backend: Backend) -> str:
    """What ``Tensor.to`` takes for it."""
    name = repr(str(backend.device))
    return name if backend.precision == EXACT else f"open_backend({name}, {backend.precision!r})"
