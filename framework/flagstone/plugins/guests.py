"""Running a stranger's code in our process: where its words go, and whose they are."""

from __future__ import annotations

import contextlib
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import TextIO

_lock = threading.Lock()
_inside = 0  # how many blocks of quiet_output run now, in all threads
_kept: TextIO | None = None


@contextlib.contextmanager
def quiet_output() -> Iterator[None]:
    """Send what the block prints to standard error; standard output holds results and only these.

    Blocks may overlap in several threads: the first redirects, the last one to end restores.
    """
    global _inside, _kept
    with _lock:
        if _inside == 0:
            _kept, sys.stdout = sys.stdout, sys.stderr
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                sys.stdout, _kept = _kept, None


@contextlib.contextmanager
def importing(owner: object) -> Iterator[None]:
    """Import ``owner``'s code: its warnings and an interruption say that they are its.

    A ``KeyboardInterrupt`` that the code raises by itself cannot be told from Ctrl-C; it passes,
    with a note that names ``owner`` and the way to go without it.
    """
    try:
        with warnings.catch_warnings(record=True) as caught, quiet_output():
            yield
    except KeyboardInterrupt as error:
        error.add_note(
            f"while importing {owner}; if that was not you but the plugin itself, leave plugins "
            "out: flagstone --no-plugins ..."
        )
        raise
    finally:
        for warning in caught:
            warnings.showwarning(
                f"{owner}: {warning.message}",
                warning.category,
                warning.filename,
                warning.lineno,
            )
