"""Optimizer kernels on arrays of many blocks, against the references of the op table."""

from __future__ import annotations

import pytest

from flagstone import testing
from flagstone.backend import open_backend
from flagstone.testing import OP_TABLE, rows_optimizers, rows_updates
from flagstone_numpy.kernels.update_parts import BLOCK
from flagstone_numpy.table import KERNELS

MANY = 2 * BLOCK + 3  # no multiple of a block
NAMES = [
    name for name in KERNELS
    if OP_TABLE[name] in (*rows_optimizers.ROWS, *rows_updates.ROWS)
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_many_blocks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_optimizers, "SIZES", (MANY,))
    monkeypatch.setattr(rows_updates, "SIZES", (MANY,))
    testing.check_values(OP_TABLE[name], open_backend("cpu"), "float64")


def test_no_update_is_left_out() -> None:
    assert {f"{name}_update" for name in ("sgd", "adam", "nadam", "lion")} <= set(NAMES)
    assert {"lamb_direction", "momentum_direction", "average_update"} <= set(NAMES)
