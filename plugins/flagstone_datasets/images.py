"""MNIST, Fashion-MNIST and CIFAR-10: from ``FLAGSTONE_DATA``, the cache, or the network.

Digests of MNIST are of the unpacked files, computed from the four original ones; those of
Fashion-MNIST and CIFAR-10 are the published digests of the archives.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flagstone.data import Dataset, read_idx_directory
from flagstone.errors import InputError
from flagstone_datasets.downloads import RemoteFile, fetch
from flagstone_datasets.places import data_directory

Array = npt.NDArray[Any]

MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
MNIST_FILES = tuple(
    RemoteFile(name, sha256, unpacked=True)
    for name, sha256 in (
        (
            "train-images-idx3-ubyte.gz",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        (
            "train-labels-idx1-ubyte.gz",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        (
            "t10k-images-idx3-ubyte.gz",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        (
            "t10k-labels-idx1-ubyte.gz",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    )
)

FASHION_MIRRORS = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
)
FASHION_FILES = (
    RemoteFile(
        "train-images-idx3-ubyte.gz",
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    ),
    RemoteFile(
        "train-labels-idx1-ubyte.gz",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    ),
    RemoteFile(
        "t10k-images-idx3-ubyte.gz",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    ),
    RemoteFile(
        "t10k-labels-idx1-ubyte.gz",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
)

# the "binary version": the Python version is pickled, and flagstone never unpickles
CIFAR10_MIRRORS = ("https://www.cs.toronto.edu/~kriz/",)
CIFAR10_FILES = (
    RemoteFile(
        "cifar-10-binary.tar.gz",
        "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ),
)
CIFAR10_TRAINING = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
CIFAR10_TEST = "test_batch.bin"
CIFAR10_RECORD = 1 + 3 * 32 * 32  # the label, then red, green and blue planes


def mnist() -> Dataset:
    """Handwritten digits: uint8 ``(60000, 28, 28)`` and labels 0 to 9, 10000 more for testing."""
    own = _own_directory("mnist")
    return _idx("mnist", own or fetch("mnist", MNIST_FILES, MNIST_MIRRORS))


def fashion_mnist() -> Dataset:
    """Garments: uint8 ``(60000, 28, 28)`` and labels 0 to 9 (T-shirt, trouser, pullover, dress,
    coat, sandal, shirt, sneaker, bag, ankle boot), 10000 more for testing."""
    own = _own_directory("fashion-mnist")
    return _idx("fashion-mnist", own or fetch("fashion-mnist", FASHION_FILES, FASHION_MIRRORS))


def cifar10() -> Dataset:
    """Colour images: uint8 ``(50000, 32, 32, 3)`` and labels 0 to 9 (airplane, automobile, bird,
    cat, deer, dog, frog, horse, ship, truck), 10000 more for testing."""
    directory = _own_directory("cifar10") or fetch("cifar10", CIFAR10_FILES, CIFAR10_MIRRORS)
    archive = directory / CIFAR10_FILES[0].name
    read = _tar_reader(archive) if archive.is_file() else _folder_reader(directory)
    batches = [_cifar10_batch(name, read(name)) for name in CIFAR10_TRAINING]
    X_test, y_test = _cifar10_batch(CIFAR10_TEST, read(CIFAR10_TEST))
    X = np.concatenate([images for images, _ in batches])
    y = np.concatenate([labels for _, labels in batches])
    return Dataset("cifar10", "classification", X, y, X_test=X_test, y_test=y_test)


def _own_directory(name: str) -> Path | None:
    """``$FLAGSTONE_DATA/name`` if it is there and holds anything."""
    home = data_directory()
    if home is None or not (home / name).is_dir() or not any((home / name).iterdir()):
        return None
    return home / name


def _idx(name: str, directory: Path) -> Dataset:
    X, y, X_test, y_test = read_idx_directory(directory)
    if X_test is None:
        raise InputError(
            f"{directory}: t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte are missing"
        )
    return Dataset(name, "classification", X, y, X_test=X_test, y_test=y_test)


def _folder_reader(directory: Path) -> Callable[[str], bytes]:
    nested = directory / "cifar-10-batches-bin"
    folder = nested if nested.is_dir() else directory

    def read(name: str) -> bytes:
        try:
            return (folder / name).read_bytes()
        except FileNotFoundError as error:
            raise InputError(
                f"{folder}: {name} is missing; put {CIFAR10_FILES[0].name} or its unpacked "
                f"files there"
            ) from error

    return read


def _tar_reader(archive: Path) -> Callable[[str], bytes]:
    content: Mapping[str, bytes] | None = None

    def read(name: str) -> bytes:
        nonlocal content
        content = _tar_content(archive) if content is None else content
        if name not in content:
            raise InputError(f"{archive}: {name} is missing in the archive")
        return content[name]

    return read


def _tar_content(archive: Path) -> dict[str, bytes]:
    """The batches in the archive by name, in one pass; nothing is unpacked to disk."""
    wanted = {*CIFAR10_TRAINING, CIFAR10_TEST}
    content = {}
    try:
        with tarfile.open(archive, "r|gz") as tar:
            for member in tar:
                name = Path(member.name).name
                file = tar.extractfile(member) if name in wanted else None
                if file is not None:
                    content[name] = file.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise InputError(f"{archive}: not a readable archive: {error}") from error
    return content


def _cifar10_batch(name: str, data: bytes) -> tuple[Array, Array]:
    """Images (n, 32, 32, 3) and labels (n,) of one batch, both uint8."""
    if not data or len(data) % CIFAR10_RECORD:
        raise InputError(
            f"cifar10: {name} must be a whole number of records of {CIFAR10_RECORD} bytes; "
            f"got {len(data)} bytes"
        )
    records = np.frombuffer(data, dtype=np.uint8).reshape(-1, CIFAR10_RECORD)
    planes = records[:, 1:].reshape(-1, 3, 32, 32)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), records[:, 0].copy()
