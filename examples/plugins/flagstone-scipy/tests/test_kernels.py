"""What flagstone asks of kernels, and that they are in use."""

from __future__ import annotations

import numpy as np
import pytest
from flagstone import ops, testing
from flagstone.backend import open_backend

import flagstone_scipy
from flagstone_scipy import kernels


class TestErf(testing.KernelSuite):
    name = "erf"


class TestNormalCdf(testing.KernelSuite):
    name = "normal_cdf"


@pytest.mark.parametrize("name", flagstone_scipy.OPS)
def test_they_serve_the_ops(name: str) -> None:
    assert open_backend("cpu").kernels[name] is getattr(kernels, name)


def test_values_of_the_error_function() -> None:
    """Abramowitz & Stegun, table 7.1."""
    x = ops.tensor(np.array([0.0, 0.5, 1.0, 2.0, -1.0]), device="cpu")
    wanted = [0.0, 0.5204998778, 0.8427007929, 0.9953222650, -0.8427007929]
    np.testing.assert_allclose(ops.erf(x).numpy(), wanted, atol=5e-11)


def test_half_precision_is_declined() -> None:
    assert kernels.erf(np.ones(2, np.float16)) is NotImplemented
    assert kernels.normal_cdf(np.ones(2, np.float16)) is NotImplemented
