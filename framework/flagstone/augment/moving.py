"""Mirrored and moved images: flip, crop, translate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from flagstone import ops
from flagstone.augment.base import (
    Augmentation,
    Places,
    happens,
    require,
    require_pixels,
    require_probability,
)
from flagstone.errors import ShapeError
from flagstone.ops.pixels import SHIFT_MODES
from flagstone.tensors import Tensor

AXES = {"vertical": 1, "horizontal": 2}


def mirrored(before: Places, shape: tuple[int, ...], which: Tensor, axis: int) -> Places:
    """Where pixels are read once some images are mirrored.

    Args:
        before: where they are read already.
        shape: of the batch, (n, h, w, channels).
        which: bool (n,), the images.
        axis: 1 for top and bottom, 2 for left and right.
    """
    rows, columns = before
    read = rows if axis == 1 else columns
    now = ops.shifted(ops.astype(which, "int64"), read, length=shape[axis], mode="mirror")
    return (now, columns) if axis == 1 else (rows, now)


@dataclass(frozen=True)
class Flip(Augmentation):
    """Mirror an image with probability ``p``.

    Args:
        p: from 0 to 1.
        direction: ``"horizontal"`` exchanges left and right, ``"vertical"`` top and bottom.
    """

    p: float = 0.5
    direction: str = "horizontal"

    def __post_init__(self) -> None:
        require_probability(self)
        known = isinstance(self.direction, str) and self.direction in AXES
        require(self, "direction", known, "'horizontal' or 'vertical'")

    def images(self, x: Tensor, words: Sequence[Tensor]) -> Tensor:
        mirrored = ops.reshape(happens(words[0], self.p), (x.shape[0], 1, 1, 1))
        out: Tensor = ops.where(mirrored, ops.flip(x, AXES[self.direction]), x)
        return out

    def places(self, before: Places, shape: tuple[int, ...], words: Sequence[Tensor]) -> Places:
        return mirrored(before, shape, happens(words[0], self.p), AXES[self.direction])


class _Moved(Augmentation):
    """Move each image by up to :attr:`most` pixels, by each number of them as often, up, down, left
    and right."""

    words: ClassVar[int] = 2
    mode: str

    @property
    def most(self) -> int:
        raise NotImplementedError

    def check(self, shape: tuple[int, ...]) -> None:
        super().check(shape)
        side = min(shape[:2])
        if self.most >= side:
            raise ShapeError(
                f"augment: {self.name} by up to {self.most} pixels expected images of more pixels "
                f"a side; got examples of shape {shape}"
            )

    def images(self, x: Tensor, words: Sequence[Tensor]) -> Tensor:
        out: Tensor = ops.pick_pixels(x, *self.places((None, None), x.shape, words))
        return out

    def places(self, before: Places, shape: tuple[int, ...], words: Sequence[Tensor]) -> Places:
        rows, columns = (
            ops.shifted(
                ops.random_integers(word, high=2 * self.most + 1) - self.most,
                read,
                length=length,
                mode=self.mode,
            )
            for word, read, length in zip(words, before, shape[1:3], strict=True)
        )
        return rows, columns


@dataclass(frozen=True)
class Crop(_Moved):
    """Pad each image on all sides and cut its size out again, at a random place.

    Args:
        padding: how many pixels a side, fewer than the image has.
        mode: what is padded with: ``"reflect"``, the image mirrored at its border; ``"edge"``, the
            border's pixels; ``"zero"``, as He et al. (CVPR 2016, section 4.2) did.
    """

    padding: int = 4
    mode: str = "reflect"

    def __post_init__(self) -> None:
        require_pixels(self, "padding", 0)
        known = isinstance(self.mode, str) and self.mode in SHIFT_MODES
        require(self, "mode", known, f"one of {', '.join(SHIFT_MODES)}")

    @property
    def most(self) -> int:
        return self.padding


@dataclass(frozen=True)
class Translate(_Moved):
    """Move each image by a random number of pixels; what was outside of it is 0.

    Args:
        pixels: the most in each direction, fewer than the image has.
    """

    pixels: int = 2

    mode = "zero"

    def __post_init__(self) -> None:
        require_pixels(self, "pixels", 0)

    @property
    def most(self) -> int:
        return self.pixels
