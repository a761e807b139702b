"""What follows a plan from epoch to epoch, made of words that are drawn once for a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flagstone import ops, random
from flagstone.augment.base import Augmentation, Places, require
from flagstone.augment.moving import AXES, mirrored
from flagstone.backend import Backend
from flagstone.errors import InputError
from flagstone.random import Words
from flagstone.tensors import Tensor

_CHUNK = 1 << 16  # examples whose words are made at once


class Planned(Augmentation):
    """The base: what becomes of an example follows from what was drawn for it when the run began
    and from the epoch's number; not from its place in the batch, which shuffling changes.

    A subclass defines :meth:`plan` and :meth:`images_in`.
    """

    def plan(self, words: Sequence[Words]) -> Any:
        """What is drawn, on the host.

        Args:
            words: :attr:`words` arrays, uint64 (n,): the words of n examples.

        Returns:
            A NumPy array (n, ...). It stays on the device for the whole run, so it should be small.
        """
        raise NotImplementedError(f"{self.name} defines no plan")

    def images_in(self, x: Tensor, planned: Tensor, epoch: Tensor) -> Tensor:
        """The batch, changed. Made of ops; nothing of it may read the device.

        Args:
            x: (n, h, w, channels), floating.
            planned: (n, ...), what :meth:`plan` gave for the batch's examples.
            epoch: int64 (), from 0.

        Returns:
            The shape and dtype of ``x``.
        """
        raise NotImplementedError(f"{self.name} defines no images_in")

    def places_in(
        self, before: Places, shape: tuple[int, ...], planned: Tensor, epoch: Tensor
    ) -> Places:
        """As :meth:`places`, of what was planned."""
        raise NotImplementedError(f"{self.name} defines no places_in")


@dataclass(frozen=True)
class AlternatingFlip(Planned):
    """Mirror every image in every other epoch: half of them, drawn at random, in the first, third,
    ... and the others in between. So two epochs that follow each other show each image both ways,
    where random flips show one in two the same way again (Jordan, "94% on CIFAR-10 in 3.29 seconds
    on a single GPU", arXiv:2404.00498).

    Args:
        direction: ``"horizontal"`` exchanges left and right, ``"vertical"`` top and bottom.
    """

    direction: str = "horizontal"

    def __post_init__(self) -> None:
        known = isinstance(self.direction, str) and self.direction in AXES
        require(self, "direction", known, "'horizontal' or 'vertical'")

    @property
    def name(self) -> str:
        """As registered."""
        return "alternating-flip"

    def plan(self, words: Sequence[Words]) -> Any:
        """Whether an image is mirrored in the first epoch: bool (n,)."""
        return words[0] >> np.uint64(63) == 1

    def images_in(self, x: Tensor, planned: Tensor, epoch: Tensor) -> Tensor:
        which = ops.reshape(_mirrored_in(planned, epoch), (x.shape[0], 1, 1, 1))
        out: Tensor = ops.where(which, ops.flip(x, AXES[self.direction]), x)
        return out

    def places_in(
        self, before: Places, shape: tuple[int, ...], planned: Tensor, epoch: Tensor
    ) -> Places:
        return mirrored(before, shape, _mirrored_in(planned, epoch), AXES[self.direction])


def _mirrored_in(planned: Tensor, epoch: Tensor) -> Tensor:
    """Bool (n,), in an epoch, for what was planned for the first."""
    count = ops.astype(planned, "int64") + epoch
    words = ops.astype(count, "uint64") * 2**32
    half = ops.random_integers(words, high=2**31)  # floor(count * 2**31 / 2**32): integers alone
    odd: Tensor = ops.not_equal(half * 2, count)
    return odd


def drawn(part: Planned, n: int, key: tuple[int, int], backend: Backend) -> Tensor:
    """What ``part`` plans for examples 0 to n - 1, (n, ...) on the device. Example i has the words
    that a batch's i-th has in step 0 of epoch 0.

    Args:
        part: the augmentation.
        n: how many examples.
        key: from :func:`flagstone.random.key`.
        backend: where to.
    """
    blocks = -(-part.words // 4)
    plans = []
    for first in range(0, n, _CHUNK):
        count = min(_CHUNK, n - first)
        words = random.bits(np.array(key, np.uint64), (0, 0), first * blocks, count * blocks)
        table = words.reshape(count, 4 * blocks)
        plan = part.plan([table[:, i] for i in range(part.words)])
        if not isinstance(plan, np.ndarray) or plan.shape[:1] != (count,):
            raise InputError(
                f"augment: plan of {part.name} expected to return a NumPy array ({count}, ...); "
                f"got {getattr(plan, 'shape', type(plan).__name__)}"
            )
        plans.append(plan)
    return Tensor(backend.asarray(np.concatenate(plans)), backend)
