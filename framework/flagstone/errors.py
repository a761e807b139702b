"""Every error raised on purpose, each also the built-in that fits.

A message names the argument, what was expected, what was given and, where there is one, the call
that fixes it. ``exit_code`` is what the command line ends with: 1 the run failed, 2 usage, data
or configuration, 3 a backend, device or plugin is not available.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FlagstoneError(Exception):
    """Base of everything that flagstone raises on purpose."""

    exit_code: int = 1


class InputError(FlagstoneError, ValueError):
    """An argument, an array or a file has a value that cannot be used."""

    exit_code = 2


class ShapeError(InputError):
    """An array has a shape that the callee cannot take."""


class DTypeError(FlagstoneError, TypeError):
    """An array has a dtype that the callee cannot take, or two dtypes were mixed."""

    exit_code = 2


class ConfigurationError(FlagstoneError, ValueError):
    """An option, a configuration file or an environment variable cannot be used."""

    exit_code = 2


class UnknownNameError(FlagstoneError, LookupError):
    """No plugin provides the name that was asked for."""

    exit_code = 2

    def __init__(
        self, kind: str, name: str, known: Iterable[str], hint: str = "", meant: str = ""
    ) -> None:
        known = sorted(known)
        near = [meant] if meant else difflib.get_close_matches(name, known, n=1)
        known_text = ", ".join(known) if known else "none"
        guess = f" Did you mean {near[0]!r}?" if near else ""
        tail = f" {hint}" if hint else ""
        super().__init__(f"unknown {kind} {name!r}; known: {known_text}.{guess}{tail}")
        self.kind, self.name, self.known = kind, name, known

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


class UnavailableError(FlagstoneError, RuntimeError):
    """A backend, a device or a plugin exists by name but cannot be used here."""

    exit_code = 3


class DeviceMismatchError(FlagstoneError, RuntimeError):
    """One op was given arrays of two devices, or an array of none."""

    exit_code = 2


class GradientError(FlagstoneError, RuntimeError):
    """A gradient was asked for that the tape cannot give."""


class CaptureError(FlagstoneError, RuntimeError):
    """A step cannot be recorded and replayed; it can still be run as it is."""


class PluginError(FlagstoneError, RuntimeError):
    """A plugin broke the contract of its hook."""

    exit_code = 3


class RunError(FlagstoneError, RuntimeError):
    """A training run failed, or a run directory cannot be read."""


class ChecksumError(RunError):
    """A saved file does not hold what was written to it."""


class NotFittedError(FlagstoneError, ValueError, AttributeError):
    """A model was asked to predict before it was fitted."""

    exit_code = 2


def _rebuild(
    cls: type[FlagstoneError], args: tuple[object, ...], state: dict[str, object]
) -> FlagstoneError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error
