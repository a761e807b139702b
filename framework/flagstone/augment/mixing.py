"""Examples mixed in pairs: mixup and cutmix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from flagstone import ops
from flagstone.augment.base import Augmentation, happens, require, require_probability
from flagstone.augment.beta import quantiles
from flagstone.errors import ShapeError
from flagstone.named import is_number
from flagstone.tensors import Tensor

SHARES = 4096  # how many values a share can have
MOST_ALPHA = 1000  # shares are then 1/2 to within a few hundredths, and quantiles take long beyond


@dataclass(frozen=True)
class Mixing(Augmentation):
    """The base: each example is mixed with another one of the batch, with probability ``p``.

    Its share in the mixture is a Beta(alpha, alpha) number: one of 4096 quantiles of that
    distribution, at the probabilities (k + 1/2) / 4096, as likely as each other, each rounded to a
    multiple of 2**-16. They are worked out on the host when a run starts, and a step only picks
    one of them, so that every backend mixes alike; the distribution function is off by at most
    1/8192, and by the rounding.

    The batch is turned by a random distance to find partners, see
    :func:`flagstone.ops.random_partners`. Losses and measures are mixed in the same shares.

    Args:
        alpha: positive, at most 1000; 1 makes every share equally likely, less makes pictures of
            one example mostly.
        p: from 0 to 1.
    """

    alpha: float = 1.0
    p: float = 1.0

    words: ClassVar[int] = 3  # the partner, the share, and whether

    def __post_init__(self) -> None:
        in_range = is_number(self.alpha) and 0 < self.alpha <= MOST_ALPHA
        require(self, "alpha", in_range, f"a positive number of at most {MOST_ALPHA}")
        require_probability(self)

    def shares(self) -> Any:
        """The shares that are drawn from: float32 (4096,), rising."""
        steps = np.rint(quantiles(float(self.alpha), SHARES) * 65536)
        return (steps / 65536).astype(np.float32)

    def mix(
        self, x: Tensor, words: Sequence[Tensor], shares: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The pictures, and what they are made of.

        Args:
            x: (n, ...), floating.
            words: :attr:`words` tensors, uint64 (n,).
            shares: :meth:`shares`, on the device.

        Returns:
            The pictures; int64 (n,), each one's partner; (n,) of x's dtype, its own share.
        """
        partner = ops.random_partners(words[0])
        share = ops.take(shares, ops.random_integers(words[1], high=SHARES))
        share = ops.where(happens(words[2], self.p), share, 1.0)
        pictures, share = self.pictures(x, ops.take(x, partner), share, words[3:])
        return pictures, partner, ops.astype(share, x.dtype_name)

    def pictures(
        self, x: Tensor, other: Tensor, share: Tensor, words: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """What is made of ``x`` and its partners, and the share of ``x`` in it.

        Args:
            x: (n, ...), floating.
            other: the partners, like ``x``.
            share: float32 (n,), the share that was drawn for ``x``.
            words: those beyond the first three.
        """
        raise NotImplementedError(f"{self.name} defines no pictures")


@dataclass(frozen=True)
class MixUp(Mixing):
    """``share * x + (1 - share) * partner`` (Zhang et al., "mixup", ICLR 2018).

    A share is drawn for each example, where the paper's code draws one for the batch. It suits
    examples of any shape.

    Args:
        alpha, p: as in :class:`Mixing`.
    """

    alpha: float = 0.2

    def check(self, shape: tuple[int, ...]) -> None:
        pass

    def pictures(
        self, x: Tensor, other: Tensor, share: Tensor, words: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        own = ops.reshape(ops.astype(share, x.dtype_name), (x.shape[0], *(1 for _ in x.shape[1:])))
        return x * own + other * (1.0 - own), share


@dataclass(frozen=True)
class CutMix(Mixing):
    """A box of the partner's picture pasted into each image (Yun et al., ICCV 2019).

    The box has the image's proportions and 1 - share of its area; its middle is any pixel, and what
    reaches beyond the border is cut off. The share is then what is left of the image.

    Args:
        alpha, p: as in :class:`Mixing`.
    """

    words: ClassVar[int] = 5

    def check(self, shape: tuple[int, ...]) -> None:
        Augmentation.check(self, shape)
        if shape[0] * shape[1] >= 2**24:
            raise ShapeError(
                "augment: cutmix expected images of less than 2**24 pixels, whose number float32 "
                f"holds; got examples of shape {shape}"
            )

    def pictures(
        self, x: Tensor, other: Tensor, share: Tensor, words: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        n, h, w, _ = x.shape
        side = ops.sqrt(1.0 - share)
        box = ops.box_mask(
            ops.random_integers(words[0], high=h), ops.random_integers(words[1], high=w),
            ops.astype(side * h, "int64"), ops.astype(side * w, "int64"), size=(h, w),
        )  # fmt: skip
        pasted = ops.sum(ops.astype(box, "float32"), axis=(1, 2)) / (h * w)
        pictures: Tensor = ops.where(ops.reshape(box, (n, h, w, 1)), other, x)
        return pictures, 1.0 - pasted
