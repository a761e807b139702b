"""How loops are compiled."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, TypeVar

import numba

import flagstone_numpy.kernels.winograd

Loop = TypeVar("Loop")


def stamp(*sources: Path) -> str:
    """A few letters that are others when any of the files, or a file of a folder, is another."""
    files = [f for s in sources for f in (sorted(s.glob("*.py")) if s.is_dir() else [s])]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files))
    return digest.hexdigest()[:12]


SOURCES = Path(__file__).parent, Path(flagstone_numpy.kernels.winograd.__file__)
_STAMP = stamp(*SOURCES)


def compiled(loop: Loop) -> Loop:
    """Decorator: compile at the first call with arguments of a type, and keep the code on disk.

    It is kept beside the source, or in the user's cache folder where that cannot be written
    (``NUMBA_CACHE_DIR`` names another). Numba knows it by the loop's name and its file's date and
    size, but a loop's code is also made from other files, such as those that write LLVM's terms:
    so the name has a stamp of all. Sums may be reordered so that they become vector instructions;
    infinities and NaN stay what they are.
    """
    named: Any = loop
    named.__qualname__ = f"{named.__qualname__}_{_STAMP}"
    compile_: Any = numba.njit(
        nogil=True, cache=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"}
    )
    kept: Loop = compile_(loop)
    return kept
