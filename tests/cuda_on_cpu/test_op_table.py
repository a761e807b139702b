"""The rows of the op table whose op has a CUDA kernel, on the simulated card."""

from __future__ import annotations

from typing import Any

import pytest

from flagstone import testing
from flagstone.backend import Backend
from flagstone.testing import OP_TABLE
from flagstone_cupy.table import KERNELS


@pytest.mark.parametrize("name", sorted(KERNELS))
class TestRow:
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_values(self, name: str, simulated: Backend, card: Any, dtype: str) -> None:
        row = OP_TABLE[name]
        if dtype in row.dtypes:
            testing.check_values(row, simulated, dtype)
            assert card.launched or name in ("cast", "lower")  # they are copies, the runner's own

    # Updates decline arrays that do not lie as flat buffers do.
    @pytest.mark.filterwarnings("ignore:.*the generic form does, more slowly")
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_layouts(self, name: str, simulated: Backend, dtype: str) -> None:
        row = OP_TABLE[name]
        if dtype in row.dtypes:
            testing.check_layouts(row, simulated, dtype)

    def test_gradients(self, name: str, simulated: Backend) -> None:
        testing.check_gradients(OP_TABLE[name], simulated)

    def test_refusals(self, name: str, simulated: Backend) -> None:
        testing.check_refusals(OP_TABLE[name], simulated)
