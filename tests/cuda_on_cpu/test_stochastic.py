"""The random stream against NumPy's own generator, and dropout."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flagstone_cupy.kernels import stochastic

RNG = np.random.default_rng(11)
KEY = (0x0123456789ABCDEF, 0xFEDCBA9876543210)


@pytest.mark.covers("stochastic.cu:random_bits")
@pytest.mark.parametrize("blocks", [1, 255, 256, 700])
@pytest.mark.parametrize("start", [0, 5, 2**64 - 1000])
def test_words_are_numpys(card: Any, blocks: int, start: int) -> None:
    step, epoch = 2**63 + 17, 3
    counter = np.array([step, epoch], "uint64")
    words = stochastic.random_bits(counter, key=KEY, blocks=blocks, start=start)
    state = np.array([start, step, epoch, 0], "uint64")
    generator = np.random.Philox(key=np.array(KEY, "uint64"), counter=state)
    np.testing.assert_array_equal(words, generator.random_raw(4 * blocks))


@pytest.mark.covers("stochastic.cu:dropout_mask")
@pytest.mark.parametrize("shape", [(1, 1), (3, 16), (5, 17), (70, 3, 5), (2, 1000), (600,)])
def test_masks_compare_lanes(card: Any, shape: tuple[int, ...]) -> None:
    width = int(np.prod(shape[1:]))
    words = RNG.integers(0, 2**64, shape[0] * 4 * -(-width // 16), "uint64")
    threshold = 40000
    mask = stochastic.dropout_mask(words, shape=shape, threshold=threshold)
    lanes = words.view("<u2").reshape(shape[0], -1)[:, :width]
    np.testing.assert_array_equal(mask, (lanes < threshold).reshape(shape))
    assert mask.dtype == bool


@pytest.mark.covers("stochastic.cu:dropout_mask")
def test_the_highest_threshold_keeps_all(card: Any) -> None:
    words = np.full(4, 2**64 - 1, "uint64")
    assert stochastic.dropout_mask(words, shape=(1, 16), threshold=65536).all()
    assert not stochastic.dropout_mask(words, shape=(1, 16), threshold=65535).any()


@pytest.mark.covers("stochastic.cu:random_integers")
@pytest.mark.parametrize("high", [1, 7, 65536, 2**32])
@pytest.mark.parametrize("shape", [(1,), (1023,), (41, 50)])
def test_integers_are_the_words_upper_halves(card: Any, shape: Any, high: int) -> None:
    words = RNG.integers(0, 2**64, shape, "uint64")
    words.reshape(-1)[-1] = 2**64 - 1
    given = stochastic.random_integers(words, high=high)
    assert given.shape == shape
    expected = [
        (word >> 32) * high >> 32 for word in words.reshape(-1).tolist()
    ]  # Python's integers
    assert given.reshape(-1).tolist() == expected


@pytest.mark.covers("stochastic.cu:keep")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 1023, 2049])
def test_keep(card: Any, dtype: str, n: int) -> None:
    x, mask = RNG.standard_normal(n).astype(dtype), RNG.random(n) < 0.5
    x[0], mask[0] = np.inf, False
    expected = np.where(mask, x * np.dtype(dtype).type(1.25), 0)
    np.testing.assert_array_equal(stochastic.keep(x, mask, scale=1.25), expected)
