"""Normalising with given numbers: torchvision's formula, kept in files and copies."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn
from flagstone.errors import InputError, ShapeError

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_formula(dtype: str) -> None:
    x = np.random.default_rng(0).random((2, 4, 5, 3)).astype(dtype)
    layer = nn.Normalize(MEAN, np.array(STD)).initialize(0, dtype=dtype)
    expected = (x.astype(np.float64) - MEAN) / STD
    for _ in range(2):
        y = layer(fs.tensor(x))
        assert y.dtype_name == dtype
        np.testing.assert_allclose(y.numpy(), expected, rtol=1e-5, atol=1e-6)
        layer.eval()
    assert layer.count_parameters() == 0


def test_it_is_kept() -> None:
    x = fs.tensor(np.random.default_rng(0).random((2, 3)).astype(np.float32))
    layer = nn.Sequential(nn.Normalize(MEAN, STD)).initialize(0)
    expected = layer(x).numpy()
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        np.testing.assert_array_equal(other(x).numpy(), expected)
    other = nn.Sequential(nn.Normalize((0, 0, 0), (1, 1, 1))).initialize(0)
    other.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(other(x).numpy(), expected)


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        (0.5, 0.2, "Normalize: mean expected a finite number for each channel, .* got 0.5"),
        ((0.5,), 0.2, "Normalize: std expected a finite number for each channel"),
        (("a",), (1.0,), "Normalize: mean expected a finite number"),
        ((float("nan"),), (1.0,), "Normalize: mean expected a finite number"),
        ((0.5, 0.5), (1.0,), "Normalize: std expected a positive number for each of mean"),
        ((0.5,), (0.0,), "Normalize: std expected a positive number for each of mean"),
        ((), (), "Normalize: mean expected a finite number"),
    ],
)
def test_what_is_refused(mean: Any, std: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        nn.Normalize(mean, std)


def test_another_number_of_channels() -> None:
    with pytest.raises(ShapeError, match=r"Normalize|Standardize: x expected shape \(\.\.\., 3\)"):
        nn.Normalize(MEAN, STD)(fs.tensor(np.ones((2, 4), np.float32)))
