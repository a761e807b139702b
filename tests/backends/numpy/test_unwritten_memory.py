"""No op's result depends on what memory held before."""

from __future__ import annotations

import numpy as np
import pytest

from flagstone.backend import open_backend
from flagstone.testing import OP_TABLE
from flagstone.testing.op_checks import check_values
from flagstone_numpy import sums

CPU = open_backend("cpu")


@pytest.mark.parametrize("name", OP_TABLE)
def test_every_op(poisoned, name):
    row = OP_TABLE[name]
    poisoned()
    try:
        check_values(row, CPU, row.dtypes[0])
    finally:
        poisoned(False)


def test_memory_is_poisoned_indeed(poisoned):
    poisoned()
    assert np.isnan(np.empty(3)).all()
    assert np.empty_like(np.zeros(3, np.uint8)).min() == 255
    assert np.isnan(sums.groups(5, (3,), "float32")[0]).all()
    poisoned(False)
