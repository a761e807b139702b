"""The op table: one row for every op and for every public function made of ops."""

from __future__ import annotations

from flagstone import ops
from flagstone.ops import ALL_OPS
from flagstone.testing import (
    rows_activation,
    rows_arrange,
    rows_augment,
    rows_axis_norm,
    rows_contraction,
    rows_elementwise,
    rows_fused,
    rows_learning,
    rows_loss_scale,
    rows_losses,
    rows_optimizers,
    rows_pooling,
    rows_random,
    rows_resample,
    rows_running,
    rows_shape,
    rows_standardized,
    rows_updates,
    rows_window,
)
from flagstone.testing.op_row import OpRow

MODULES = (
    rows_elementwise, rows_shape, rows_window, rows_pooling, rows_resample, rows_learning,
    rows_random, rows_updates, rows_optimizers, rows_contraction, rows_arrange, rows_activation,
    rows_axis_norm, rows_running, rows_augment, rows_fused, rows_losses, rows_loss_scale,
    rows_standardized,
)  # fmt: skip

OP_TABLE: dict[str, OpRow] = {row.name: row for module in MODULES for row in module.ROWS}
"""Name -> row. A plugin that brings an op adds its own: ``OP_TABLE[row.name] = row``."""

NO_FUNCTIONS = {"ALL_OPS", "Op", "op", "tensor"}  # of flagstone.ops: they compute nothing


def missing_rows() -> list[str]:
    """The ops, and the public functions of ``flagstone.ops``, that have no row."""
    named = {*ALL_OPS, *ops.__all__} - NO_FUNCTIONS
    return sorted(named - set(OP_TABLE))
