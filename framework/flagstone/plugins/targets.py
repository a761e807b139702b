"""Importing what a string names, and saying in one line why that failed."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from typing import Any

from flagstone.errors import FlagstoneError, PluginError, UnavailableError
from flagstone.plugins.guests import importing

_INSTALL = {
    "sklearn": 'pip install "flagstone[sklearn]"',
    "polars": 'pip install "flagstone[data]"',
    "cupy": 'pip install "flagstone[cuda13x]" (or "flagstone[cuda12x]" for CUDA 12)',
}
_MACHINERY = ("importlib", "_frozen_importlib", "pluggy", "flagstone.plugins")
_LONGEST = 400  # characters of a stranger's message that a one-line reason keeps


def import_target(target: str) -> Any:
    """The object that ``"module"`` or ``"module:attribute.path"`` names.

    Raises:
        PluginError: the module has no such attribute; says which one is near.
        Exception, SystemExit: whatever importing the module raises.
    """
    module, _, path = target.partition(":")
    found: Any = importlib.import_module(module)
    for attribute in path.split(".") if path else ():
        try:
            found = getattr(found, attribute)
        except AttributeError:
            near = difflib.get_close_matches(attribute, dir(found), n=1)
            guess = f"; did you mean {near[0]!r}?" if near else ""
            raise PluginError(f"{target!r}: there is no attribute {attribute!r}{guess}") from None
    return found


def load_target(owner: object, target: str, requires: Sequence[str] = ()) -> Any:
    """:func:`import_target` with every failure told as ``owner``'s.

    Args:
        owner: what the target belongs to; its ``str`` begins every message.
        target: ``"module:attribute"``.
        requires: names of modules that must be importable.

    Raises:
        UnavailableError: a needed module is not installed; says what to install.
        PluginError: the target cannot be imported for any other reason.
    """
    for module in requires:
        if not is_importable(module):
            raise UnavailableError(f"{owner} {needs(module)}")
    try:
        if target.partition(":")[0] in sys.modules:  # nothing is imported: nothing to listen to
            return import_target(target)
        with importing(owner):
            return import_target(target)
    except UnavailableError:
        raise
    except PluginError as error:
        raise PluginError(f"{owner}: {error}") from error
    except ModuleNotFoundError as error:
        own = target.partition(":")[0]
        if error.name is None or f"{own}.".startswith(f"{error.name}."):
            raise PluginError(f"{owner}: there is no module {own!r}") from error
        raise UnavailableError(f"{owner} {needs(error.name)}") from error
    except (Exception, SystemExit) as error:  # a stranger's code may raise anything
        raise PluginError(f"{owner}: importing {target!r} failed: {explain(error)}") from error


def is_importable(module: str) -> bool:
    """Whether ``module`` is installed; of a dotted name only the parents are imported."""
    if module in sys.modules:
        return sys.modules[module] is not None
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def needs(module: str) -> str:
    """``"needs the module ..., which is not installed: pip install ..."``."""
    package = module.partition(".")[0]
    how = _INSTALL.get(package, f"install the package that provides it (pip install {package}?)")
    return f"needs the module {module!r}, which is not installed: {how}"


def with_article(name: str) -> str:
    """``"an int"``, ``"a list"``: a type's name as a sentence has it."""
    return f"{'an' if name[:1].lower() in 'aeio' else 'a'} {name}"


def a_type(value: object) -> str:
    """``"an int"`` for 3: what kind of object a stranger handed over."""
    return with_article(type(value).__name__)


def explain(error: BaseException) -> str:
    """One line for ``error``: its type, its message and where in the plugin it was raised."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - a stranger's __str__ may raise anything
        text = "its message cannot be shown"
    if len(text) > _LONGEST:
        text = text[: _LONGEST - 3] + "..."
    if isinstance(error, FlagstoneError):
        return text
    if isinstance(error, SystemExit):
        text = f"it called sys.exit({text})"
    else:
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text + _place(error)


def _place(error: BaseException) -> str:
    """``" (file.py, line 3)"``: the innermost frame that is not the import machinery or ours."""
    place = ""
    trace = error.__traceback__
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        if not any(module == name or module.startswith(f"{name}.") for name in _MACHINERY):
            place = f" ({trace.tb_frame.f_code.co_filename}, line {trace.tb_lineno})"
        trace = trace.tb_next
    return place
