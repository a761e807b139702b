"""The op table and the random streams on a card."""

from __future__ import annotations

import numpy as np
import pytest

from flagstone import random, testing
from flagstone.backend import Backend, open_backend
from flagstone.ops import ALL_OPS
from flagstone.testing import OP_TABLE

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def cuda() -> Backend:
    return open_backend("cuda")


@pytest.mark.parametrize("name", OP_TABLE)
class TestRow:
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_values(self, name: str, cuda: Backend, dtype: str) -> None:
        if dtype in OP_TABLE[name].dtypes:
            testing.check_values(OP_TABLE[name], cuda, dtype)

    @pytest.mark.filterwarnings("ignore:.*the generic form does, more slowly")
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_layouts(self, name: str, cuda: Backend, dtype: str) -> None:
        if dtype in OP_TABLE[name].dtypes:
            testing.check_layouts(OP_TABLE[name], cuda, dtype)

    def test_gradients(self, name: str, cuda: Backend) -> None:
        testing.check_gradients(OP_TABLE[name], cuda)

    def test_refusals(self, name: str, cuda: Backend) -> None:
        if name not in ("take", "take_rows", "gather", "embedding"):  # NumPy alone looks at indices
            testing.check_refusals(OP_TABLE[name], cuda)


@pytest.mark.parametrize(("step", "epoch", "start"), [(0, 0, 0), (2**63 + 5, 7, 11)])
def test_random_words_are_those_of_numpy(cuda: Backend, step: int, epoch: int, start: int) -> None:
    key = random.key(3, "dropout", "layer")
    counter = cuda.asarray(np.array([step, epoch], "uint64"))
    op = ALL_OPS["random_bits"]
    words = cuda.table[op](counter, key=tuple(map(int, key)), blocks=10_001, start=start)
    expected = random.bits(key, (step, epoch), start, 10_001)
    np.testing.assert_array_equal(cuda.to_numpy(words), expected)


def test_dropout_masks_are_those_of_the_cpu(cuda: Backend) -> None:
    words = random.bits(random.key(4, "dropout"), (1, 2), 0, 128 * 25)
    op, how = ALL_OPS["dropout_mask"], {"shape": (128, 20, 20), "threshold": 40000}
    here = open_backend("cpu").table[op](words, **how)
    there = cuda.table[op](cuda.asarray(words), **how)
    np.testing.assert_array_equal(cuda.to_numpy(there), here)


def test_arrays_come_and_go_whole(cuda: Backend) -> None:
    for shape in ((), (3, 4), (300, 1000)):
        x = np.random.default_rng(0).standard_normal(shape).astype("float32")
        np.testing.assert_array_equal(cuda.to_numpy(cuda.asarray(x)), x)
    memory = cuda.memory()
    assert memory.used is not None
    assert memory.peak is not None
    assert memory.total is not None
    assert memory.used <= memory.peak <= memory.total


def test_work_on_a_stream_of_its_own_is_ordered(cuda: Backend) -> None:
    x = cuda.asarray(np.ones(1 << 20, "float32"))
    relu = cuda.table[ALL_OPS["relu"]]
    with cuda.stream():  # type: ignore[attr-defined]  # of the CuPy backend
        y = relu(x * 2)
    np.testing.assert_array_equal(cuda.to_numpy(relu(y + 1)), np.full(1 << 20, 3, "float32"))
