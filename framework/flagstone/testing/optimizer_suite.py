"""The checks of an optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from flagstone.testing.suite import Suite


class OptimizerSuite(Suite):
    """The checks of an optimizer.

    Attributes:
        lr: a learning rate at which it goes down a small problem.
        params: its other options.
    """

    kind: ClassVar[str] = "optimizer"
    lr: float = 0.02
    params: Mapping[str, Any] = {}
