"""The checks of a schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from flagstone.testing.suite import Suite


class ScheduleSuite(Suite):
    """The checks of a schedule of the learning rate.

    Attributes:
        params: its options.
    """

    kind: ClassVar[str] = "schedule"
    params: Mapping[str, Any] = {}
