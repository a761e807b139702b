"""What a model is built for: the shape of one example's inputs or outputs."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spec:
    """The shape of one example.

    Attributes:
        shape: (features,) for a table, (h, w, channels) for images, (outputs,) for targets: one
            per class, one for a two-class model with a single logit, or one per regression target.
    """

    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """How many numbers that is."""
        return math.prod(self.shape)

    @property
    def is_image(self) -> bool:
        """Whether it has height, width and channels."""
        return len(self.shape) == 3
