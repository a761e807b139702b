"""The base of augmentations: what one is asked, and its checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from flagstone import ops
from flagstone.errors import ConfigurationError, ShapeError
from flagstone.named import is_number
from flagstone.random import keep_threshold
from flagstone.tensors import Tensor

Places = tuple[Tensor | None, Tensor | None]
"""Rows (n, h) and columns (n, w), int64, that an image's pixels are read from; ``None`` for as they
lie. See :func:`flagstone.ops.pick_pixels`."""


class Augmentation:
    """A random change of each example of a batch.

    A subclass defines :meth:`images` (one that mixes examples derives from
    :class:`flagstone.augment.Mixing`, one that goes by what was drawn for an example once for all
    epochs from :class:`flagstone.augment.Planned`), checks its options when it is made, and shows
    them in its ``repr``, which a checkpoint keeps: a frozen dataclass does all of it.

    Attributes:
        words: how many random words of 64 bits each example gets.
    """

    words: ClassVar[int] = 1

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise unless examples of ``shape`` can be changed so; (h, w, channels) by default.

        Raises:
            ShapeError: they cannot; called before training starts.
        """
        if not isinstance(shape, tuple) or len(shape) != 3 or not all(shape):
            raise ShapeError(
                f"augment: {self.name} expected images (h, w, channels); got examples of shape "
                f"{shape}"
            )

    def images(self, x: Tensor, words: Sequence[Tensor]) -> Tensor:
        """The batch, changed. Made of ops; nothing of it may read the device.

        Args:
            x: (n, h, w, channels), floating.
            words: :attr:`words` tensors, uint64 (n,): each example's own random words.

        Returns:
            The shape and dtype of ``x``.
        """
        raise NotImplementedError(f"{self.name} defines no images")

    def places(self, before: Places, shape: tuple[int, ...], words: Sequence[Tensor]) -> Places:
        """Where pixels are read, for one that does nothing but move them within their image. A
        backend may then make the batch in one op. :attr:`moves` says whether it is defined.

        Args:
            before: where they are read already.
            shape: of the batch, (n, h, w, channels).
            words: as for :meth:`images`.
        """
        raise NotImplementedError(f"{self.name} defines no places")

    moves: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if {"places", "places_in"} & vars(cls).keys():
            cls.moves = True
        elif {"images", "images_in"} & vars(cls).keys():
            cls.moves = False  # what bases say of theirs does not hold

    @property
    def name(self) -> str:
        """For errors: the class's name in lower case, which is what the registry has it under."""
        return type(self).__name__.lower()


def happens(word: Tensor, p: float) -> Tensor:
    """Whether it happens to each example: bool (n,), true with probability ``p`` to the nearest
    2**-16."""
    return ops.random_integers(word, high=65536) < keep_threshold(1.0 - p)


def require(augmentation: Augmentation, option: str, holds: bool, expected: str) -> None:
    """Raise unless ``holds``: the option is not what is expected."""
    if not holds:
        raise ConfigurationError(
            f"augmentation {augmentation.name}: {option} expected {expected}; "
            f"got {getattr(augmentation, option)!r}"
        )


def require_probability(augmentation: Augmentation) -> None:
    """Raise unless the option ``p`` is one."""
    p: Any = getattr(augmentation, "p", None)
    require(augmentation, "p", is_number(p) and 0 <= p <= 1, "a probability from 0 to 1")


def require_pixels(augmentation: Augmentation, option: str, least: int) -> None:
    """Raise unless the option is a number of pixels."""
    value: Any = getattr(augmentation, option)
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= least
    require(augmentation, option, whole, f"an integer >= {least}, in pixels")
