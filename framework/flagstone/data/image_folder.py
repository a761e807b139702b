"""Reading a folder of images with one sub-folder per class, through Pillow."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flagstone.errors import InputError, UnavailableError

Array = npt.NDArray[Any]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm"})
GREY_MODES = frozenset({"1", "L", "LA"})


def is_image_folder(directory: Path) -> bool:
    """Whether some sub-folder (or one of its own, below ``train``) holds an image."""
    return any(_images(folder) for folder in _class_folders(_training_root(directory)))


def read_image_folder(directory: Path) -> tuple[Array, Array, Array | None, Array | None]:
    """``X, y, X_test, y_test``: uint8 images and the names of the folders they lie in.

    The layout is ``directory/CLASS/*.png``, or ``directory/train/CLASS/*.png`` with
    ``directory/test/CLASS/*.png``. ``X`` is ``(n, height, width)`` when every image is grey, else
    ``(n, height, width, 3)``; rows are in the order of class name and file name.

    Raises:
        UnavailableError: Pillow is not installed.
        InputError: an image cannot be read, or two differ in size.
    """
    pillow, root = _pillow(directory), _training_root(directory)
    images, labels = _read(pillow, root)
    training = len(images)
    if root != directory:
        more, more_labels = _read(pillow, directory / "test")
        images, labels = images + more, labels + more_labels
    stack = _stacked(images)
    y = np.array(labels, dtype=np.str_)
    if root == directory:
        return stack, y, None, None
    return stack[:training], y[:training], stack[training:], y[training:]


def read_images(path: Path) -> Array:
    """``X`` as in :func:`read_image_folder`: one image, or those of a folder by file name.

    Raises:
        UnavailableError: Pillow is not installed.
        InputError: the folder holds none, an image cannot be read, or two differ in size.
    """
    pillow = _pillow(path)
    files = _images(path) if path.is_dir() else [path]
    if not files:
        folders = ", ".join(folder.name for folder in _class_folders(path)[:8])
        hint = f"; give one of its sub-folders: {folders}" if folders else ""
        raise InputError(f"{path}: no images in this folder{hint}")
    return _stacked([(file, _decoded(pillow, file)) for file in files])


def _pillow(path: Path) -> Any:
    try:
        return importlib.import_module("PIL.Image")
    except ImportError as error:
        raise UnavailableError(
            f"{path}: reading images needs Pillow; pip install pillow"
        ) from error


def _stacked(images: list[tuple[Path, Array]]) -> Array:
    colour = any(image.ndim == 3 for _, image in images)
    return np.stack([_same_shape(path, image, images[0], colour) for path, image in images])


def _read(pillow: Any, root: Path) -> tuple[list[tuple[Path, Array]], list[str]]:
    images: list[tuple[Path, Array]] = []
    labels: list[str] = []
    for folder in _class_folders(root):
        for path in _images(folder):
            images.append((path, _decoded(pillow, path)))
            labels.append(folder.name)
    if not images:
        raise InputError(f"{root}: no images in its sub-folders")
    return images, labels


def _decoded(pillow: Any, path: Path) -> Array:
    try:
        with pillow.open(path) as image:
            return np.asarray(image.convert("L" if image.mode in GREY_MODES else "RGB"))
    except (OSError, ValueError, SyntaxError) as error:  # SyntaxError: Pillow's word for bad PNGs
        raise InputError(f"{path}: not a readable image: {error}") from error


def _same_shape(path: Path, image: Array, first: tuple[Path, Array], colour: bool) -> Array:
    size, expected = image.shape[:2], first[1].shape[:2]
    if size != expected:
        raise InputError(
            f"{path}: every image must have one size; this one is {size[1]} x {size[0]}, "
            f"{first[0]} is {expected[1]} x {expected[0]}"
        )
    return np.repeat(image[..., None], 3, axis=2) if colour and image.ndim == 2 else image


def _training_root(directory: Path) -> Path:
    train, test = directory / "train", directory / "test"
    split = (
        train.is_dir()
        and test.is_dir()
        and {f.name for f in _class_folders(directory)}
        == {
            "train",
            "test",
        }
    )
    return train if split and not _images(train) else directory


def _class_folders(directory: Path) -> list[Path]:
    if not directory.is_dir():
        return []
    return sorted(f for f in directory.iterdir() if f.is_dir() and not f.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    return sorted(f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES and f.is_file())
