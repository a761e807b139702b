"""Checks for whoever writes an op, a kernel or a backend: ``fs.testing``.

A backend is right when every op gives the table's values on it::

    from flagstone.testing import OP_TABLE, check_op

    @pytest.mark.parametrize("row", OP_TABLE.values(), ids=str)
    def test_op(row):
        check_op(row, open_backend("mine"))

An op is described by a row and checked the same way; :func:`gradcheck` compares any function's
gradients with central differences. Nothing here needs pytest.
"""

from flagstone.testing.gradcheck import gradcheck
from flagstone.testing.op_checks import (
    check_gradients,
    check_layouts,
    check_op,
    check_refusals,
    check_values,
)
from flagstone.testing.op_row import Draw, OpRow, Raw, Refusal, Sample
from flagstone.testing.op_table import OP_TABLE, missing_rows

__all__ = [
    "OP_TABLE",
    "Draw",
    "OpRow",
    "Raw",
    "Refusal",
    "Sample",
    "check_gradients",
    "check_layouts",
    "check_op",
    "check_refusals",
    "check_values",
    "gradcheck",
    "missing_rows",
]
