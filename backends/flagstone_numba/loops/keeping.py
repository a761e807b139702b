"""Compiled code on disk: a file for each function, kind of arguments, machine and source.

Numba's own cache is not used, for three reasons. It asks the file that a function is in whether the
source has changed, long after that was imported, and asks no other file, though a function's code
is made from those that it calls as well: so a process that began before an edit could leave old
code under the name of the new. It numbers the files of a function's kinds of arguments, and two
processes that compile at the same time may take the same number; whoever asks later gets code for
arguments of another kind, which it may run. And a file that was cut short is an error there.

Here a file's name says all that its code was made from, as it is in memory: see
:func:`fingerprint`. It is written beside its place and renamed, and read only if it is whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import sys
import types
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

import llvmlite
import numba
import numba.core.caching
import numba.core.serialize
import numpy as np

OURS = "flagstone"
"""What the modules begin with whose functions are looked into; of others the name counts."""
DIGEST = 32  # bytes
caching: Any = numba.core.caching  # its types are partial
serialize: Any = numba.core.serialize


class Kept:
    """What a dispatcher of Numba asks for code, and gives it to, in place of its own cache."""

    def __init__(self, dispatcher: Any) -> None:
        function = dispatcher.py_func
        self._dispatcher = dispatcher
        self._name = f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}"
        self._how = caching.CompileResultCacheImpl(function)

    @property
    def cache_path(self) -> str:
        """The folder: beside the source, or the user's where that cannot be written."""
        return str(self._how.locator.get_cache_path())

    def load_overload(self, kinds: Any, context: Any) -> Any:
        """Code for arguments of these kinds, or ``None``."""
        context.refresh()
        try:
            with open(self._place(kinds, context.codegen()), "rb") as file:
                digest, code = file.read(DIGEST), file.read()
        except OSError:
            return None
        if hashlib.sha256(code).digest() != digest:
            return None
        return self._how.rebuild(context, pickle.loads(code))

    def save_overload(self, kinds: Any, made: Any) -> None:
        """Keep code for arguments of these kinds; where the disk is full, go without."""
        if not self._how.check_cachable(made):
            return
        place = self._place(kinds, made.codegen)
        code: bytes = serialize.dumps(self._how.reduce(made))
        beside = f"{place}.{uuid.uuid4().hex[:16]}"
        try:
            self._how.locator.ensure_cache_path()
            with open(beside, "wb") as file:
                file.write(hashlib.sha256(code).digest() + code)
            os.replace(beside, place)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(beside)

    def flush(self) -> None:
        """Nothing is to be forgotten when a function is compiled again: its names change."""

    def _place(self, kinds: Any, codegen: Any) -> str:
        options = sorted((name, _told(v)) for name, v in self._dispatcher.targetoptions.items())
        machine = codegen.magic_tuple(), sys.implementation.cache_tag
        versions = numba.__version__, llvmlite.__version__
        source = fingerprint(self._dispatcher.py_func)
        text = repr((str(kinds), options, machine, versions, source))
        name = f"{self._name}-{hashlib.sha256(text.encode()).hexdigest()[:24]}.code"
        return os.path.join(self.cache_path, name)


def fingerprint(function: Any) -> str:
    """A text that is another when what ``function`` is compiled from is another.

    That is its code and that of all functions of :data:`OURS` that it calls, or that write terms
    of LLVM for it, with the numbers, arrays and names that they refer to: as they have been
    imported, whatever the files hold by now.
    """
    digest = hashlib.sha256()
    for part in _parts(function, []):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()


def _parts(x: Any, seen: list[Any]) -> Iterator[str]:
    x = getattr(x, "py_func", getattr(x, "_defn", x))  # what is compiled, and an intrinsic
    if isinstance(x, np.ndarray):
        yield f"{x.dtype} {x.shape}"
        yield x.tobytes().hex()
    elif isinstance(x, (tuple, list)):
        yield from _all((len(x), *x), seen)
    elif isinstance(x, (set, frozenset)):
        yield _told(x)
    elif isinstance(x, dict):
        yield from _all((v for item in x.items() for v in item), seen)
    elif isinstance(x, types.CodeType):
        names = (x.co_names, x.co_varnames, x.co_freevars, x.co_cellvars)
        counts = (x.co_argcount, x.co_posonlyargcount, x.co_kwonlyargcount, x.co_flags)
        yield f"{x.co_code.hex()} {names} {counts}"
        yield from _all(x.co_consts, seen)
    elif isinstance(x, types.FunctionType) and x.__module__.startswith(OURS):
        if x in seen:
            yield f"{seen.index(x)}"
            return
        seen.append(x)
        yield from _all((x.__code__, x.__defaults__, x.__kwdefaults__), seen)
        yield from _all((cell.cell_contents for cell in x.__closure__ or ()), seen)
        for name in sorted(_names(x.__code__)):
            if name in x.__globals__:
                yield name
                yield from _parts(x.__globals__[name], seen)
    else:
        yield _told(x)


def _all(several: Iterable[Any], seen: list[Any]) -> Iterator[str]:
    for x in several:
        yield from _parts(x, seen)


def _names(code: types.CodeType) -> set[str]:
    """What the code, and the functions defined within it, may look up in their module."""
    inner = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return {*code.co_names, *(name for c in inner for name in _names(c))}


def _told(x: Any) -> str:
    """A value, or the name of what is somebody else's."""
    if x is None or x is Ellipsis or isinstance(x, (bool, int, float, complex, str, bytes)):
        return repr(x)
    if isinstance(x, (set, frozenset)):
        return str(sorted(map(_told, x)))
    kind = type(x)
    name = getattr(x, "__qualname__", None) or getattr(x, "__name__", "")
    return f"{kind.__module__}.{kind.__qualname__} {getattr(x, '__module__', '')} {name}"
