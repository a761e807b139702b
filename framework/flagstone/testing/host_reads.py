"""Two backends for checks: NumPy without kernels, and one that gives no value away inside a step.

A step that a device is to record and replay must not look at a value: what was seen when it was
recorded would be built into it. The second backend's arrays refuse to become Python numbers while
a step runs, and so does everything that asks the backend for NumPy arrays. What stays hidden from
it is NumPy called on ``tensor.array`` itself, which works on no device but the CPU.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np

from flagstone.backend import Backend, OpLike, OpTable, open_backend
from flagstone.devices import Device
from flagstone.plugins import BackendSpec, hookimpl, registry

REFERENCE, GUARDED = "generic-numpy", "no-host-reads"
_FRAMEWORK_PLUMBING = ("tensors.py", "tape.py", "host_reads.py", "door.py", "backend.py")
_steps = 0  # how many run now


class HostReadError(AssertionError):
    """A value was read on the host inside a step."""


def refuse(what: str = "reads a value on the host") -> NoReturn:
    """Say where the step does what it must not."""
    frames = [
        frame
        for frame in traceback.extract_stack()
        if not frame.filename.endswith(_FRAMEWORK_PLUMBING) and "numpy" not in frame.filename
    ]
    own = [frame for frame in frames if "/flagstone/" not in frame.filename.replace("\\", "/")]
    inner = [frame for frame in frames if frame not in own]
    after_own = own and frames.index(own[-1]) > (frames.index(inner[-1]) if inner else -1)
    at = own[-1] if after_own or not inner else inner[-1]
    raise HostReadError(
        "expected a step in which the host reads no value, sends none and does not wait, so that a "
        f"device can record it; it {what} at {at.filename}, line {at.lineno}: {at.line}"
    )


@contextlib.contextmanager
def in_step() -> Iterator[None]:
    """Within it the guarded backend gives no value away."""
    global _steps
    _steps += 1
    try:
        yield
    finally:
        _steps -= 1


def _guarded(name: str) -> Callable[..., Any]:
    def method(self: Any, *arguments: Any, **named: Any) -> Any:
        if _steps:
            refuse()
        return getattr(np.ndarray, name)(self, *arguments, **named)

    return method


class OpaqueArray(np.ndarray[Any, Any]):
    """An array that Python cannot look into while a step runs; its elements are arrays."""

    __bool__ = _guarded("__bool__")
    __int__ = _guarded("__int__")
    __float__ = _guarded("__float__")
    __complex__ = _guarded("__complex__")
    __index__ = _guarded("__index__")
    item = _guarded("item")
    tolist = _guarded("tolist")
    tobytes = _guarded("tobytes")

    def __getitem__(self, index: Any) -> Any:
        return opaque(super().__getitem__(index))

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))


def opaque(a: Any) -> Any:
    """``a``, an array or a NumPy number, as an :class:`OpaqueArray` of the same memory."""
    if isinstance(a, tuple):
        return tuple(opaque(x) for x in a)
    return np.asarray(a).view(OpaqueArray)


class ReferenceBackend(Backend):
    """NumPy, every op in its generic form."""

    name = REFERENCE
    xp = np


class GuardedBackend(Backend):
    """The reference, whose values cannot be read inside a step."""

    name = GUARDED
    xp = np

    def __init__(self, device: Device) -> None:
        super().__init__(device)
        self.table = _OpaqueTable(self)

    def asarray(self, x: Any, dtype: str | None = None) -> Any:
        if _steps and not isinstance(x, OpaqueArray):
            refuse("sends what is on the host")
        return opaque(np.asarray(x, dtype))

    def synchronize(self) -> None:
        if _steps:
            refuse("waits for the device")

    def to_numpy(self, a: Any) -> Any:
        if _steps:
            refuse()
        return np.asarray(a).view(np.ndarray)

    def capture(self, step: Callable[..., Any], *_example: Any) -> Callable[..., Any]:
        def guarded(*arguments: Any) -> Any:
            with in_step():
                return step(*arguments)

        return guarded


class _OpaqueTable(OpTable):
    def __missing__(self, op: OpLike) -> Callable[..., Any]:
        serve = super().__missing__(op)

        def bound(*arrays: Any, **static: Any) -> Any:
            return opaque(serve(*arrays, **static))

        self[op] = bound
        return bound


def open_reference(index: int | None) -> ReferenceBackend:
    """What the reference's spec names."""
    return ReferenceBackend(Device(REFERENCE, index))


def open_guarded(index: int | None) -> GuardedBackend:
    """What the guarded backend's spec names."""
    return GuardedBackend(Device(GUARDED, index))


class _Plugin:
    @hookimpl
    def flagstone_backends(self) -> Iterator[BackendSpec]:
        for name, target in ((REFERENCE, "open_reference"), (GUARDED, "open_guarded")):
            yield BackendSpec(name, f"{__name__}:{target}", devices=(name,), priority=-100)


@contextlib.contextmanager
def check_backend(name: str) -> Iterator[Backend]:
    """The backend :data:`REFERENCE` or :data:`GUARDED`, which is a device's name meanwhile."""
    plugin = "flagstone.testing"
    present = any(row.name == plugin for row in registry.providers())
    if not present:
        registry.register(_Plugin(), plugin)
    try:
        yield open_backend(name)
    finally:
        if not present:
            registry.unregister(plugin)
