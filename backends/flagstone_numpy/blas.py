"""How many threads NumPy's BLAS uses: read it, set it, hold it at one.

BLAS splits one product; :mod:`flagstone_numpy.threads` splits a batch. Both at once take more
threads than there are cores, and a thread of BLAS that has finished spins for milliseconds where
a worker should run. So BLAS is held at one thread while workers run, through its own functions:
0.3 us by ctypes. NumPy's wheels rename OpenBLAS's functions; other builds do not.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple


class Control(NamedTuple):
    """The two functions that read and set a BLAS's number of threads."""

    how: str
    get: Callable[[], int]
    set: Callable[[int], object]


_SYMBOLS = (
    ("scipy_openblas_get_num_threads64_", "scipy_openblas_set_num_threads64_"),  # NumPy's wheels
    ("scipy_openblas_get_num_threads", "scipy_openblas_set_num_threads"),
    ("openblas_get_num_threads64_", "openblas_set_num_threads64_"),
    ("openblas_get_num_threads", "openblas_set_num_threads"),
    ("MKL_Get_Max_Threads", "MKL_Set_Num_Threads"),
    ("bli_thread_get_num_threads", "bli_thread_set_num_threads"),
)


def find_control() -> Control | None:
    """Return what controls the BLAS that NumPy is linked with, or None: then it cannot be held."""
    return _by_symbol(_numpys_libraries()) or _by_threadpoolctl()


def _numpys_libraries() -> Iterator[Any]:
    """Yield NumPy's loaded extension module; a look-up in it reaches the libraries it links.

    Windows looks a name up in one library alone, so there the wheel's own are yielded too.
    """
    from numpy._core import _multiarray_umath  # type: ignore[attr-defined]  # has no stub

    paths = [str(_multiarray_umath.__file__)]
    if sys.platform == "win32":
        import numpy as np

        folder = os.path.join(os.path.dirname(os.path.dirname(np.__file__)), "numpy.libs")
        with contextlib.suppress(OSError):
            paths += [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
    for path in paths:
        with contextlib.suppress(OSError):
            yield ctypes.PyDLL(path)  # already loaded; keeps the GIL, for a call of nanoseconds


def _by_symbol(libraries: Iterator[Any]) -> Control | None:
    for library in libraries:
        for get_name, set_name in _SYMBOLS:
            get, put = getattr(library, get_name, None), getattr(library, set_name, None)
            if get is not None and put is not None:
                get.argtypes, get.restype = (), ctypes.c_int
                put.argtypes, put.restype = (ctypes.c_int,), None
                return Control(set_name, get, put)
    return None


def _by_threadpoolctl() -> Control | None:
    try:
        threadpoolctl: Any = importlib.import_module("threadpoolctl")
    except ImportError:
        return None
    found = threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
    if not found:
        return None

    def put(threads: int) -> None:
        for library in found:
            library.set_num_threads(threads)

    return Control("threadpoolctl", lambda: int(found[0].get_num_threads() or 1), put)


class Hold:
    """A context in which BLAS has one thread; it may be entered again, and by several threads.

    The first to enter notes the number of threads, the last to leave sets it back, however it
    leaves. Without a control nothing happens and :attr:`works` is False.
    """

    def __init__(self, control: Control | None) -> None:
        self.control = control
        self.works = control is not None
        self._lock = threading.Lock()
        self._inside = 0
        self._before = 1

    @property
    def before(self) -> int:
        """How many threads BLAS has where it is not held; 1 where that is not known."""
        if self.control is None:
            return 1
        with self._lock:
            return self._before if self._inside else self.control.get()

    def __enter__(self) -> Hold:
        if self.control is not None:
            with self._lock:
                if not self._inside:
                    self._before = self.control.get()
                    if self._before != 1:
                        self.control.set(1)
                self._inside += 1
        return self

    def __exit__(self, *_: object) -> None:
        if self.control is not None:
            with self._lock:
                self._inside -= 1
                if not self._inside and self._before != 1:
                    self.control.set(self._before)

    def after_fork(self) -> None:
        """In a forked child: only the forking thread is left, so nobody holds BLAS any more."""
        self._lock = threading.Lock()
        if self._inside and self.control is not None:
            self.control.set(self._before)
        self._inside = 0
