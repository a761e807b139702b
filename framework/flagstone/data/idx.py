"""Reading IDX, the format of MNIST's files (http://yann.lecun.com/exdb/mnist, "FILE FORMATS").

A file is two zero bytes, a byte for the type, a byte for the number of axes, one big-endian
32-bit length per axis, and the values, big-endian, last axis fastest. It may be gzipped.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from flagstone.errors import InputError

Array = npt.NDArray[Any]

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
SPLITS = (("train", ""), ("t10k", "_test"))


def read_idx(path: str | Path) -> Array:
    """The array in one IDX file, in this machine's byte order.

    Raises:
        InputError: the file is missing, its magic number is wrong, or its length is not what the
            header says.
    """
    path = Path(path)
    try:
        with _open(path) as file:
            return _parse(path, file)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (EOFError, zlib.error) as error:
        raise InputError(f"{path}: the compressed file is cut short or damaged") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def find_idx(directory: Path, stem: str) -> Path | None:
    """The file ``stem`` in ``directory`` under any of the names it goes by, or None.

    ``stem`` is such as ``train-images-idx3-ubyte``; some tools unpack it with a dot for the
    second hyphen.
    """
    dotted = stem.replace("-idx", ".idx")
    for name in (stem, f"{stem}.gz", dotted, f"{dotted}.gz"):
        if (directory / name).is_file():
            return directory / name
    return None


def is_idx_directory(directory: Path) -> bool:
    """Whether the training images of MNIST's naming are there."""
    return find_idx(directory, "train-images-idx3-ubyte") is not None


def read_idx_directory(directory: str | Path) -> tuple[Array, Array, Array | None, Array | None]:
    """``X, y, X_test, y_test`` of MNIST's four files; the test arrays are None without t10k files.

    Images are ``(n, height, width)``, labels ``(n,)``.

    Raises:
        InputError: a file is missing or damaged, or images and labels differ in number.
    """
    directory = Path(directory)
    found: list[Array | None] = []
    for split, _ in SPLITS:
        stems = (f"{split}-images-idx3-ubyte", f"{split}-labels-idx1-ubyte")
        paths = [find_idx(directory, stem) for stem in stems]
        if split == "t10k" and paths == [None, None]:
            found += [None, None]
            continue
        for stem, path in zip(stems, paths, strict=True):
            if path is None:
                raise InputError(f"{directory}: {stem} (or {stem}.gz) is missing")
        images, labels = (read_idx(cast("Path", path)) for path in paths)
        if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
            raise InputError(
                f"{directory}: {split} images must be (n, height, width) and labels (n,); "
                f"got {images.shape} and {labels.shape}"
            )
        found += [images, labels]
    X, y, X_test, y_test = found
    return cast("Array", X), cast("Array", y), X_test, y_test


def _open(path: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _parse(path: Path, file: BinaryIO) -> Array:
    magic = file.read(4)
    if len(magic) < 4:
        raise InputError(f"{path}: cut short; an IDX file starts with 4 bytes, got {len(magic)}")
    if magic[:2] != b"\0\0" or magic[2] not in TYPES or not magic[3]:
        hint = " It looks gzipped; its name must end in .gz" if magic[:2] == b"\x1f\x8b" else ""
        raise InputError(
            f"{path}: not an IDX file; expected the magic number 00 00 TYPE AXES, "
            f"got {magic.hex(' ')}.{hint}"
        )
    dtype = np.dtype(TYPES[magic[2]])
    header = file.read(4 * magic[3])
    if len(header) < 4 * magic[3]:
        raise InputError(f"{path}: cut short inside its header")
    shape = tuple(int(length) for length in np.frombuffer(header, dtype=">u4"))
    expected = dtype.itemsize
    for length in shape:
        expected *= length
    data = file.read()
    if len(data) != expected:
        fault = "cut short" if len(data) < expected else "too long"
        raise InputError(
            f"{path}: {fault}; its header says {' x '.join(map(str, shape))} values, "
            f"{expected} bytes, got {len(data)}"
        )
    return np.frombuffer(data, dtype=dtype).reshape(shape).astype(dtype.newbyteorder("="))
