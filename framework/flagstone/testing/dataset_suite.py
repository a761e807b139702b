"""The checks of a dataset."""

from __future__ import annotations

from typing import ClassVar

from flagstone.testing.suite import Suite


class DatasetSuite(Suite):
    """The checks of a dataset."""

    kind: ClassVar[str] = "dataset"
