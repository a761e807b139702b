"""split: sizes, proportions, and the order that the random stream gives."""

from __future__ import annotations

import hashlib
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from flagstone.data import split
from flagstone.errors import ConfigurationError, InputError, ShapeError


@given(st.integers(2, 400), st.integers(1, 99), st.integers(0, 2**63 - 1))
def test_sizes_and_partition(n: int, percent: int, seed: int) -> None:
    size = -(-n * percent // 100)  # the exact ceiling
    assume(size < n)
    train, validation = split(n, percent / 100, seed=seed)
    assert len(validation) == size
    np.testing.assert_array_equal(np.union1d(train, validation), np.arange(n))
    assert len(train) + len(validation) == n
    assert (np.diff(train) > 0).all()
    assert (np.diff(validation) > 0).all()


@given(
    st.lists(st.integers(0, 6), min_size=4, max_size=200),
    st.integers(5, 60),
    st.integers(0, 1000),
)
def test_stratified(labels: list[int], percent: int, seed: int) -> None:
    y = np.array(labels)
    n = len(y)
    size = -(-n * percent // 100)
    classes, counts = np.unique(y, return_counts=True)
    spare = int((counts - 1).sum())
    assume(spare > 0)
    train, validation = split(n, percent / 100, seed=seed, stratify=y)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, validation])), np.arange(n))
    assert len(validation) == min(size, spare)
    drawn = np.array([(y[validation] == label).sum() for label in classes])
    assert (drawn <= counts - 1).all()
    shares = [Fraction(int(count) * size, n) for count in counts]
    if all(int(share) + 1 <= count - 1 for share, count in zip(shares, counts, strict=True)):
        assert all(abs(int(got) - share) < 1 for got, share in zip(drawn, shares, strict=True))


def test_equal_classes_are_drawn_alike() -> None:
    y = np.repeat(["a", "b", "c"], 20)
    _, validation = split(60, 0.2, seed=0, stratify=y)
    assert np.unique(y[validation], return_counts=True)[1].tolist() == [4, 4, 4]


def test_a_class_with_one_row_stays_in_training() -> None:
    y = np.array(["rare"] + ["a"] * 10 + ["b"] * 10)
    for seed in range(20):
        train, _ = split(21, 0.5, seed=seed, stratify=y)
        assert 0 in train


def test_the_order_is_the_streams() -> None:
    """The same rows from NumPy's own generator, the key hashed here by the scheme's definition."""
    n, seed = 37, 5
    message = seed.to_bytes(8, "little")
    for text in (b"split", b""):
        message += len(text).to_bytes(8, "little") + text
    digest = hashlib.blake2b(message, digest_size=16, person=b"flagstone/1").digest()
    key = np.frombuffer(digest, dtype="<u8")
    words = np.random.Philox(key=key, counter=[0, 0, 0, 0]).random_raw(40)[:n]
    order = np.argsort(words, kind="stable")
    _, validation = split(n, 0.25, seed=seed)
    np.testing.assert_array_equal(validation, np.sort(order[:10]))
    y = np.arange(n) % 2
    _, stratified = split(n, 0.25, seed=seed, stratify=y)
    first = [i for i in order if y[i] == 0][:5] + [i for i in order if y[i] == 1][:5]
    np.testing.assert_array_equal(stratified, np.sort(first))


def test_a_seed_repeats_and_another_differs() -> None:
    first, again, other = (split(100, 0.3, seed=seed)[1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"fraction": 0.0}, ConfigurationError, "must lie between 0 and 1, both excluded; got 0"),
        ({"fraction": 1.0}, ConfigurationError, "must lie between 0 and 1"),
        ({"fraction": -0.1}, ConfigurationError, "must lie between 0 and 1"),
        ({"fraction": float("nan")}, ConfigurationError, "must lie between 0 and 1"),
        ({"n": 1}, InputError, "at least 2 rows are needed for two sides; got 1"),
        ({"n": 3, "fraction": 0.9}, InputError, "0.9 of 3 rows leaves none for training"),
        ({"stratify": [1, 2]}, ShapeError, "one label for each of the 10 rows; got shape"),
        ({"stratify": list(range(10))}, InputError, "no class has two rows"),
    ],
)
def test_what_cannot_be_split(arguments: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        split(**{"n": 10, "fraction": 0.5, "seed": 0, **arguments})
