"""Which device is meant: names, the default, and how it is changed.

A device is written ``cpu``, ``cuda``, ``cuda:1``, a backend's name (``numpy``), or ``auto``, the
first backend that works here. A library that drives several kinds of devices writes them behind its
name: ``torch:cuda``, ``torch:cuda:1``. The default is, in this order: the innermost :func:`device`
context, :func:`set_device`, the environment variable ``FLAGSTONE_DEVICE``, ``auto``.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass

from flagstone.errors import ConfigurationError

AUTO = "auto"
ENVIRONMENT = "FLAGSTONE_DEVICE"

_PATTERN = re.compile(r"([a-z][a-z0-9_-]*(?::[a-z][a-z0-9_-]*)*)(?::(\d{1,4}))?")
_in_context: ContextVar[str | None] = ContextVar("flagstone_device", default=None)
_for_process: str | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """One place where arrays live.

    Attributes:
        kind: the prefix that a backend claims, such as ``"cpu"``, ``"cuda"`` or ``"torch:cuda"``.
        index: which one of that kind, from 0; ``None`` where there can be only one.
    """

    kind: str
    index: int | None = None

    def __str__(self) -> str:
        return self.kind if self.index is None else f"{self.kind}:{self.index}"


def parse_device(text: str | Device, source: str = "device") -> Device:
    """The device that ``text`` writes, without asking whether it exists.

    Args:
        text: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or a backend's name.
        source: what to call the setting in an error.

    Raises:
        ConfigurationError: ``text`` is not of that form.
    """
    if isinstance(text, Device):
        return text
    match = _PATTERN.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ConfigurationError(
            f"{source}: expected auto, cpu, cuda, cuda:N or a backend's name; got {text!r}"
        )
    kind, index = match.groups()
    return Device(kind, None if index is None else int(index))


def default_device() -> Device:
    """The device in force where none is named.

    Raises:
        ConfigurationError: ``FLAGSTONE_DEVICE`` does not write a device.
    """
    chosen = _in_context.get() or _for_process
    if chosen is not None:
        return parse_device(chosen)
    return parse_device(os.environ.get(ENVIRONMENT) or AUTO, ENVIRONMENT)


def set_device(name: str | Device | None) -> None:
    """Make ``name`` the default for this process; ``None`` returns to the environment's."""
    global _for_process
    _for_process = None if name is None else str(parse_device(name))


@contextlib.contextmanager
def device(name: str | Device) -> Iterator[Device]:
    """Make ``name`` the default inside a ``with`` block, in this thread or task.

    Example:
        >>> import flagstone as fs
        >>> with fs.device("cpu"):
        ...     x = fs.tensor([1.0, 2.0])
    """
    wanted = parse_device(name)
    token = _in_context.set(str(wanted))
    try:
        yield wanted
    finally:
        _in_context.reset(token)
