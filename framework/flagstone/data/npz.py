"""Reading a NumPy archive; pickled objects are refused, never loaded."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flagstone.errors import InputError, UnknownNameError

Array = npt.NDArray[Any]

# (X, y, X_test, y_test); the second row is the naming of Keras' mnist.npz
NAMINGS = (
    ("X", "y", "X_test", "y_test"),
    ("x_train", "y_train", "x_test", "y_test"),
    ("X_train", "y_train", "X_test", "y_test"),
    ("x", "y", "x_test", "y_test"),
)


def read_npz(
    path: Path, target: str | None = None
) -> tuple[Array, Array, Array | None, Array | None]:
    """``X, y, X_test, y_test`` of the archive; the test arrays are None where it has none.

    Arrays are named ``X, y`` or ``x_train, y_train``, and ``X_test`` or ``x_test`` with ``y_test``
    for a test split. ``target`` names the array that is ``y`` instead.

    Raises:
        InputError: the archive is damaged, holds objects, or lacks one of the arrays.
        UnknownNameError: it has no array named ``target``.
    """
    arrays = read_arrays(path)
    x_name, y_name, x_test, y_test = _naming(path, arrays)
    if target is not None:
        if target not in arrays:
            raise UnknownNameError(f"target array of {path}", target, set(arrays) - {x_name})
        y_name = target
    elif y_name not in arrays:
        raise InputError(
            f"{path}: the archive has {x_name} but no {y_name}; it has {', '.join(sorted(arrays))}"
        )
    if target is not None or (x_test not in arrays and y_test not in arrays):
        return arrays[x_name], arrays[y_name], None, None
    for name in (x_test, y_test):
        if name not in arrays:
            raise InputError(f"{path}: a test split needs {x_test} and {y_test}; {name} is missing")
    return arrays[x_name], arrays[y_name], arrays[x_test], arrays[y_test]


def read_npz_features(path: Path) -> Array:
    """``X`` of the archive, or its only array."""
    arrays = read_arrays(path)
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    return arrays[_naming(path, arrays)[0]]


def read_arrays(path: Path) -> dict[str, Array]:
    """Every array of the archive by name; raises InputError if it cannot be read."""
    try:
        with path.open("rb") as file:  # np.load leaves a file open that turns out to be no archive
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise InputError(f"{path}: a single array, not an archive; write it with np.savez")
            with archive:
                return {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, InputError):
            raise
        if "allow_pickle" in str(error):
            raise InputError(
                f"{path}: it is no archive, or holds Python objects, which flagstone never "
                f"unpickles; save plain arrays of numbers or text with np.savez"
            ) from error
        raise InputError(f"{path}: not a readable .npz archive: {error}") from error


def _naming(path: Path, arrays: dict[str, Array]) -> tuple[str, str, str, str]:
    for naming in NAMINGS:
        if naming[0] in arrays:
            return naming
    held = ", ".join(sorted(arrays)) or "none"
    raise InputError(
        f"{path}: expected arrays named X and y (or x_train, y_train, x_test, y_test); has {held}"
    )
