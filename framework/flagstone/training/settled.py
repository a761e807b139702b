"""What a trainer's steps rely on besides arrays, looked at before every epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flagstone.capturing import Captured
from flagstone.nn import Layer
from flagstone.watching import frozen


class Settled:
    """Sees to it that layers train, and that a captured step is recorded anew where a callback has
    changed how losses are computed or pictures augmented.

    Args:
        layer: what is trained.
        step: the captured step.
        parts: the objective and the augmentations.
    """

    def __init__(self, layer: Layer, step: Captured, parts: Sequence[Any]) -> None:
        self._layer, self._step, self._parts = layer, step, parts
        self._layers = [below for _, below in layer.named_layers()]
        self._known = [_public(part) for part in parts]

    def before_epoch(self) -> None:
        """Look at all of it."""
        if not all(layer.training for layer in self._layers):
            self._layer.train()
        known = [_public(part) for part in self._parts]
        if known != self._known:
            self._known = known
            self._step.forget()


def _public(part: Any) -> Any:
    """The attributes of an objective, with those of one inside of it, or of an augmentation."""
    own = {name: frozen(value) for name, value in vars(part).items() if name[0] != "_"}
    return own, _public(part.base) if hasattr(part, "base") else None
