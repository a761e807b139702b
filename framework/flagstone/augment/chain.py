"""Augmentations one after another: made from text, bound to a run, applied to a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flagstone import ops, random
from flagstone.augment.base import Augmentation, Places
from flagstone.augment.mixing import Mixing
from flagstone.augment.mixture import Mixture
from flagstone.augment.planned import Planned, drawn
from flagstone.backend import Backend
from flagstone.errors import ConfigurationError, PluginError
from flagstone.named import make
from flagstone.plugins import registry
from flagstone.tensors import Tensor

NORMALISING = {"normalize", "normalise", "standardize", "standardise"}
"""What others have among their augmentations, and is asked for here too."""


def parse(text: str) -> list[Augmentation]:
    """The augmentations that ``text`` names: ``"flip,crop(padding=4)"``; none if it is empty.

    Raises:
        UnknownNameError: there is no augmentation of a name.
        ConfigurationError: the text is not of that form, or an option is unknown or wrong.
    """
    out = []
    for part in _parts(text) if text.strip() else ():
        if not part.strip():
            raise ConfigurationError(
                f"augment: expected names with one comma between two; got {text!r}"
            )
        if part.partition("(")[0].strip() in NORMALISING - {*registry.names("augmentation")}:
            raise ConfigurationError(
                f"augment: {part.strip()!r} is no augmentation, since predicting must normalise "
                "too: leave standardize on, or make nn.Normalize(mean, std) the first layer"
            )
        augmentation = make("augmentation", part)
        if not isinstance(augmentation, Augmentation):
            raise ConfigurationError(
                f"augment: {part!r} expected to make an Augmentation; it made "
                f"{type(augmentation).__name__}"
            )
        out.append(augmentation)
    return out


class Chain:
    """Augmentations of one run, in order. Example ``i`` of step ``s`` of epoch ``e`` is changed by
    what (seed, the augmentation's place in the chain, e, s, i) says and nothing else; by a
    :class:`Planned` one, by what (seed, place in the chain, e, its number in the data) says.

    Args:
        parts: the augmentations.
        seed: of the run.
        backend: where batches will be.
    """

    def __init__(self, parts: Sequence[Augmentation], seed: int, backend: Backend) -> None:
        for part in parts:
            if not isinstance(part, Augmentation):
                raise ConfigurationError(
                    f"augment: expected augmentations, such as flagstone.augment.Flip(); got "
                    f"{part!r}"
                )
        self.parts = tuple(parts)
        self._keys = []
        self._shares: list[Any] = []
        self._plans: list[Tensor | None] = [None for _ in self.parts]
        self._backend = backend
        for number, part in enumerate(self.parts):
            low, high = random.key(seed, "augment", str(number))
            self._keys.append((int(low), int(high)))
            shares = backend.asarray(part.shares()) if isinstance(part, Mixing) else None
            self._shares.append(None if shares is None else Tensor(shares, backend))

    def check(self, shape: tuple[int, ...]) -> None:
        """Raise unless examples of ``shape`` can be changed so."""
        for part in self.parts:
            part.check(shape)

    def begin(self, examples: int) -> None:
        """Draw what holds for the whole run, for data of so many examples."""
        for i, (part, key) in enumerate(zip(self.parts, self._keys, strict=True)):
            if isinstance(part, Planned):
                self._plans[i] = drawn(part, examples, key, self._backend)

    def __call__(
        self, x: Tensor, counter: Tensor, numbers: Tensor | None = None
    ) -> tuple[Tensor, Mixture | None]:
        """The batch, changed.

        Args:
            x: (n, ...), floating.
            counter: uint64 (2,): step and epoch, on the device.
            numbers: int64 (n,), which of the data's examples these are; ``None`` for all of them
                as they lie.

        Returns:
            The pictures, and what they are made of, or ``None`` where each is one example.
        """
        mixture = None
        shape, dtype = x.shape, x.dtype_name
        for part, key, shares, plan in zip(
            self.parts, self._keys, self._shares, self._plans, strict=True
        ):
            if isinstance(part, Planned):
                assert plan is not None  # begin was called
                planned = plan if numbers is None else ops.take(plan, numbers)
                x = part.images_in(x, planned, ops.astype(counter[1], "int64"))
                _require_alike(part, x, shape, dtype)
                continue
            words = random_words(counter, key, x.shape[0], part.words)
            if isinstance(part, Mixing):
                x, partner, share = part.mix(x, words, shares)
                mixed = Mixture(partner, share)
                mixture = mixed if mixture is None else mixture.then(partner, share)
            else:
                x = part.images(x, words)
            _require_alike(part, x, shape, dtype)
        return x, mixture

    @property
    def moves(self) -> bool:
        """Whether all parts only move pixels within their image."""
        return all(part.moves for part in self.parts)

    def places(
        self, shape: tuple[int, ...], counter: Tensor, numbers: Tensor | None = None
    ) -> Places:
        """Where the changed batch's pixels are read, if that is all (:attr:`moves`).

        Args:
            shape: of the batch, (n, h, w, channels).
            counter, numbers: as for a call.
        """
        read: Places = (None, None)
        for part, key, plan in zip(self.parts, self._keys, self._plans, strict=True):
            if isinstance(part, Planned):
                assert plan is not None  # begin was called
                planned = plan if numbers is None else ops.take(plan, numbers)
                read = part.places_in(read, shape, planned, ops.astype(counter[1], "int64"))
            else:
                words = random_words(counter, key, shape[0], part.words)
                read = part.places(read, shape, words)
        return read

    def __repr__(self) -> str:
        return ", ".join(map(repr, self.parts))


def _require_alike(part: Augmentation, x: Any, shape: tuple[int, ...], dtype: str) -> None:
    """Raise PluginError unless a part gave what it got: predicting does without it."""
    if not isinstance(x, Tensor) or x.shape != shape or x.dtype_name != dtype:
        got = f"{x.dtype_name} {x.shape}" if isinstance(x, Tensor) else type(x).__name__
        raise PluginError(
            f"augmentation {type(part).__name__}: expected to give images as it was given, "
            f"{dtype} {shape}; got {got}"
        )


def random_words(counter: Tensor, key: tuple[int, int], n: int, count: int) -> list[Tensor]:
    """``count`` words for each of ``n`` examples, which begin at a block of their own: (n,) each.

    Args:
        counter: uint64 (2,): step and epoch.
        key: from :func:`flagstone.random.key`.
        n: how many examples.
        count: how many words for each.
    """
    blocks = -(-count // 4)
    words = ops.random_bits(counter, key=key, blocks=n * blocks)
    table = ops.reshape(words, (n, 4 * blocks))
    return [table[:, i] for i in range(count)]


def _parts(text: str) -> list[str]:
    """``text`` cut at the commas that no bracket or string encloses."""
    parts, start, depth, quote = [], 0, 0, ""
    for i, c in enumerate(text):
        if quote:
            quote = "" if c == quote else quote
        elif c in "'\"":
            quote = c
        elif c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
        elif c == "," and not depth:
            parts.append(text[start:i])
            start = i + 1
    return [*parts, text[start:]]
