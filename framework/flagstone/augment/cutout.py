"""A square of each image blanked out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from flagstone import ops
from flagstone.augment.base import Augmentation, happens, require_pixels, require_probability
from flagstone.errors import ShapeError
from flagstone.tensors import Tensor


@dataclass(frozen=True)
class Cutout(Augmentation):
    """Set a square of an image to 0 with probability ``p`` (DeVries & Taylor, arXiv:1708.04552).

    Its middle is any pixel, so that it may reach beyond the border, as in the paper.

    Args:
        size: the square's side in pixels, at most the image's shorter one.
        p: from 0 to 1.
    """

    size: int = 8
    p: float = 1.0

    words: ClassVar[int] = 3

    def __post_init__(self) -> None:
        require_pixels(self, "size", 1)
        require_probability(self)

    def check(self, shape: tuple[int, ...]) -> None:
        super().check(shape)
        if self.size > min(shape[:2]):
            raise ShapeError(
                f"augment: cutout of {self.size} pixels expected images of at least as many a "
                f"side; got examples of shape {shape}"
            )

    def images(self, x: Tensor, words: Sequence[Tensor]) -> Tensor:
        n, h, w, _ = x.shape
        side = ops.astype(happens(words[2], self.p), "int64") * self.size
        gone = ops.box_mask(
            ops.random_integers(words[0], high=h), ops.random_integers(words[1], high=w),
            side, side, size=(h, w),
        )  # fmt: skip
        out: Tensor = ops.where(ops.reshape(gone, (n, h, w, 1)), 0.0, x)
        return out
