"""Writing files so that a crash leaves the old one or the new one, and reading only what was
written.

Arrays are kept in safetensors, never pickled. That format has no checksum and its writer does not
fsync, so both are added here. Everything that is not an array travels as JSON under the one
safetensors metadata key ``flagstone``::

    {"format": 1, "metadata": {...}, "sha256": "...", "tensors": {"layer.weight": "...", ...}}

``tensors`` holds the SHA-256 of each array's dtype, shape and bytes, ``sha256`` that of the rest
of the object, written with sorted keys.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from flagstone.errors import ChecksumError, ConfigurationError, DTypeError, InputError, RunError

Arrays: TypeAlias = dict[str, npt.NDArray[Any]]
PathLike: TypeAlias = str | os.PathLike[str]

FORMAT = 1
KEY = "flagstone"
TEMPORARY = ".tmp"  # how the name of a file that is still being written ends

_BINARY: int = getattr(os, "O_BINARY", 0)  # only Windows tells text from bytes


def write_atomically(path: PathLike, data: bytes | str) -> None:
    """Replace the file ``path`` by ``data`` (text as UTF-8), all of it or nothing.

    A temporary file beside it is written and synchronised, renamed over ``path``, and the
    directory synchronised. Killed at any moment, ``path`` holds either what it held or ``data``.
    A link is followed, and a device or a pipe is written to.

    Raises:
        RunError: the file cannot be written; ``path`` is as it was.
    """
    path = Path(path)
    content = data.encode() if isinstance(data, str) else data
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            path.write_bytes(content)
            return
    except OSError as error:
        raise _unwritable(path, error) from error
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}{TEMPORARY}")
    try:
        with _removed_on_failure(temporary):
            _write_new(temporary, content)
            os.replace(temporary, path)
        sync_directory(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from error


def require_writable(path: PathLike, option: str) -> None:
    """Raise ConfigurationError, before any work, where the file ``path`` cannot be written.

    Arguments:
        path: what :func:`write_atomically` will be given.
        option: what named it, such as ``"--output"``.
    """
    place = Path(path)
    if place.is_dir():
        raise ConfigurationError(f"{option} {place}: is a directory; name a file in it")
    if place.exists() and not place.is_file():  # a device or a pipe
        return
    try:
        with tempfile.TemporaryFile(dir=Path(os.path.realpath(place)).parent):
            pass
    except OSError as error:
        raise ConfigurationError(
            f"{option} {place}: cannot be written: {error.strerror or error}"
        ) from None


def _unwritable(path: Path, error: OSError) -> RunError:
    return RunError(f"{path}: cannot be written: {error.strerror or error}")


def sync_directory(path: PathLike) -> None:
    """Make renames and new names in a directory durable, where the system can do that."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems
            raise
    finally:
        os.close(descriptor)


def write_arrays(
    path: PathLike,
    arrays: Mapping[str, npt.NDArray[Any]],
    metadata: Mapping[str, Any],
) -> None:
    """Write named arrays and a JSON-like mapping as one file, atomically and with checksums.

    Arguments:
        path: the file; by convention it ends in ``.safetensors``.
        arrays: name -> array of any shape, of booleans, integers, real or complex64 numbers.
        metadata: strings, numbers, booleans, None, and lists and mappings of them; tuples come
            back as lists.

    Raises:
        DTypeError: an array has another dtype, such as text or objects.
        InputError: ``metadata`` cannot be written as JSON.
        RunError: the file cannot be written.
    """
    from safetensors.numpy import save

    # safetensors writes an array's memory as it lies, so it must lie in C order, little-endian.
    # Not ascontiguousarray: that makes (1,) of ().
    plain = {name: np.asarray(a, dtype=_storable(name, a), order="C") for name, a in arrays.items()}
    try:
        document = {
            "format": FORMAT,
            "metadata": json.loads(json.dumps(metadata)),  # keys become text before they are sorted
            "tensors": {name: _digest(plain[name]) for name in sorted(plain)},
        }
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{os.fspath(path)}: metadata cannot be written as JSON: {error}"
        ) from error
    document["sha256"] = _digest_of_document(document)
    text = json.dumps(document, separators=(",", ":"))  # in the order that it was given in
    write_atomically(path, save(plain, metadata={KEY: text}))


def read_arrays(path: PathLike) -> tuple[Arrays, dict[str, Any]]:
    """The arrays and the metadata that :func:`write_arrays` put into a file.

    Raises:
        RunError: there is no such file, it cannot be read, or another program or a newer
            flagstone wrote it.
        ChecksumError: it does not hold what was written.
    """
    from safetensors import SafetensorError, safe_open

    name = os.fspath(path)
    if not os.path.isfile(path):
        raise RunError(f"{name}: no such file")
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(KEY)
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
    except OSError as error:
        raise RunError(f"{name}: cannot be read: {error.strerror or error}") from error
    except (SafetensorError, UnicodeDecodeError, ValueError, TypeError) as error:
        raise ChecksumError(f"{name}: damaged or no safetensors file: {error}") from error
    if text is None:
        raise RunError(
            f"{name}: flagstone did not write this file (it has no {KEY!r} metadata); "
            "give a file that model.save or a run wrote"
        )
    return arrays, _checked(name, text, arrays)


def to_json(value: Any, indent: int | None = None) -> str:
    """``value`` as strict JSON in one document: NumPy's scalars and arrays as plain numbers and
    lists, paths as text, and what is not finite as null, because JSON has no word for it."""
    return json.dumps(_plain(value), indent=indent, allow_nan=False, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value


def _write_new(path: Path, content: bytes) -> None:
    """Write and synchronise a file that must not exist; its mode follows the umask."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
    with open(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _removed_on_failure(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _storable(name: str, array: npt.NDArray[Any]) -> np.dtype[Any]:
    dtype = np.asarray(array).dtype
    if dtype.kind not in "biufc" or dtype.itemsize > 8:
        raise DTypeError(
            f"array {name!r}: expected booleans, integers, float16 to float64 or complex64; "
            f"got dtype {dtype}. Text belongs in the metadata"
        )
    return dtype.newbyteorder("<")


def _digest(array: npt.NDArray[Any]) -> str:
    digest = hashlib.sha256(f"{array.dtype.str} {list(array.shape)} ".encode())
    digest.update(array.data if array.size else b"")  # an empty array has no memory to cast
    return digest.hexdigest()


def _canonical(document: Mapping[str, Any]) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def _digest_of_document(document: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in document.items() if key != "sha256"}
    return hashlib.sha256(_canonical(rest).encode()).hexdigest()


def _checked(name: str, text: str, arrays: Arrays) -> dict[str, Any]:
    """The metadata in ``text``; raises unless all of it, and the arrays, are as written."""
    try:
        document = json.loads(text)
        found, format_, digests = document["sha256"], document["format"], document["tensors"]
        metadata: dict[str, Any] = document["metadata"]
    except (ValueError, KeyError, TypeError) as error:
        raise ChecksumError(f"{name}: damaged: its metadata cannot be read ({error!r})") from error
    if found != _digest_of_document(document):
        raise ChecksumError(f"{name}: damaged: its metadata does not match its checksum")
    if format_ != FORMAT:
        raise RunError(
            f"{name}: has format {format_}, this flagstone reads format {FORMAT}; upgrade flagstone"
        )
    if digests.keys() != arrays.keys():
        odd = ", ".join(sorted(digests.keys() ^ arrays.keys()))
        raise ChecksumError(f"{name}: damaged: arrays are missing or added: {odd}")
    for key, array in arrays.items():
        if _digest(array) != digests[key]:
            raise ChecksumError(f"{name}: damaged: array {key!r} does not match its checksum")
    return metadata
