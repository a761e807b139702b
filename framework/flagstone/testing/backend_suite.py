"""The checks of a backend."""

from __future__ import annotations

from typing import ClassVar

from flagstone.testing.suite import Suite


class BackendSuite(Suite):
    """The checks of a backend.

    Attributes:
        device: one of its devices; its first device prefix by default.
    """

    kind: ClassVar[str] = "backend"
    device: str = ""
