"""The checks of a kernel."""

from __future__ import annotations

from typing import ClassVar

from flagstone.testing.op_row import OpRow
from flagstone.testing.suite import Suite


class KernelSuite(Suite):
    """The checks of a backend's kernel for one op.

    Attributes:
        name: the op's.
        backend: whose kernel it is.
        row: the op's row, where it is not in ``OP_TABLE``.
    """

    kind: ClassVar[str] = "kernel"
    backend: str = "numpy"
    row: OpRow | None = None
