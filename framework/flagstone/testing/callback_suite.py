"""The checks of a callback."""

from __future__ import annotations

from typing import ClassVar

from flagstone.testing.suite import Suite


class CallbackSuite(Suite):
    """The checks of a callback that a plugin adds to every run.

    ``name`` is its ``CallbackSpec``'s.
    """

    kind: ClassVar[str] = "callback"
