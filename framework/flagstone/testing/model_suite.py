"""The checks of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from flagstone.testing.suite import Suite


class ModelSuite(Suite):
    """The checks of a model.

    Attributes:
        params: hyper-parameters with which it trains in a second or two.
    """

    kind: ClassVar[str] = "model"
    params: Mapping[str, Any] = {}

    def data(self) -> tuple[Any, Any]:
        """``X`` and ``y`` to train on: a small table, or small images for a model of images."""
        raise NotImplementedError
