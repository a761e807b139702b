"""What the kernels of optimizer steps share: blocks, running means, how rate and decay enter.

The same as :mod:`flagstone.ops.update_parts`, in place and block by block, so that a step reads
each array once. Rates, scales and counters are read on the host, where they are with NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np

from flagstone_numpy.kernels.flat import SHARED, cut, share_if_large, shared_block
from flagstone_numpy.scratch import scratch as memory

Array: TypeAlias = np.ndarray
BLOCK = 16384
"""Values per block: six float32 streams of 64 kB lie in a 512 kB second-level cache."""


def in_blocks(p: Array, scratch: int, step: Callable[..., None]) -> None:
    """Call ``step(block, *scratch)`` for slices that make up ``range(p.size)``.

    Args:
        p: says how many values there are, and the dtype of the scratch arrays.
        scratch: how many arrays like a block of it ``step`` gets; what they hold is undefined.
        step: what it does to a value must not depend on where the slices are cut.
    """
    size = BLOCK if p.size < SHARED else shared_block(p.size)

    def work(mine: Iterator[slice]) -> None:
        rows = memory("half", (scratch, min(p.size, size)), p.dtype)
        for block in mine:
            step(block, *rows[:, : block.stop - block.start])

    share_if_large(work, cut(p.size, size), p.size)


class Entry:
    """How the gradient ``g * scale`` enters a step on ``p``, and how the step leaves it.

    The arguments are those of :func:`flagstone.ops.update_parts.enter`.
    """

    def __init__(
        self, p: Array, g: Array, lr: Array, scale: Array, rates: Array | None,
        decays: Array | None, weight_decay: float, decoupled: bool = False,
    ) -> None:  # fmt: skip
        self.p, self.g, self.rates, self.decays = p, g, rates, decays
        self.lr, self.scale = float(lr), float(scale)
        self.weight_decay = weight_decay
        self.has_decay = decays is not None or bool(weight_decay)
        self.decoupled = decoupled

    def gradient(self, block: slice, out: Array, other: Array) -> tuple[Array, float]:
        """An array and a factor, whose product is the gradient with its weight decay.

        Only a decay that is part of the gradient takes passes: ``out`` is the array then. A
        decoupled one is done to ``p`` first. Both scratch arrays may be overwritten.
        """
        g = self.g[block]
        if not self.has_decay:
            return g, self.scale
        p = self.p[block]
        np.multiply(p, self.weight_decay if self.decays is None else self.decays[block], out=out)
        if self.decoupled:
            self.descend(block, out)
            return g, self.scale
        np.multiply(g, self.scale, out=other)
        out += other
        return out, 1.0

    def descend(
        self, block: slice, step: Array, factor: float = 1.0, out: Array | None = None
    ) -> None:
        """``p -= lr * rates * factor * step``, by way of ``out``, which is ``step`` itself if not
        given."""
        change = np.multiply(step, self.lr * factor, out=step if out is None else out)
        if self.rates is not None:
            change *= self.rates[block]
        p = self.p[block]
        p -= change


def is_left_out(scale: Array | None) -> bool:
    """Whether a step of that scale is to change nothing; see :mod:`flagstone.ops.update_parts`."""
    return scale is not None and math.isnan(scale)


def move_mean(mean: Array, g: Array, factor: float, keep: float, out: Array) -> None:
    """``mean = keep*mean + (1 - keep)*factor*g``, by way of ``out``, which may be ``g``."""
    mean *= keep
    np.multiply(g, factor * (1 - keep), out=out)
    mean += out


def move_square(mean: Array, g: Array, factor: float, keep: float, out: Array) -> None:
    """``mean = keep*mean + (1 - keep)*(factor*g)**2``, by way of ``out``, which may be ``g``."""
    mean *= keep
    np.multiply(g, factor * math.sqrt(1 - keep), out=out)
    out *= out
    mean += out


def correction(beta: float, steps: float) -> float:
    """``1 - beta**steps``, exact where it is small."""
    return -math.expm1(steps * math.log(beta)) if beta else 1.0
