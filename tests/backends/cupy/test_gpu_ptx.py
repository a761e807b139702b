"""The wrappers of ``ptx.cuh`` on a card compute what their CPU versions are tested to compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flagstone.backend import Backend, open_backend
from flagstone_cupy.kernel import REGISTRY, Kernel
from flagstone_cupy.launch import launch

SOURCE = str(Path(__file__).parents[2] / "cuda_on_cpu" / "ptx_check.cu")
ONE_WARP = ((1, 1, 1), (32, 1, 1))
RNG = np.random.default_rng(3)

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def cuda() -> Backend:
    return open_backend("cuda")


def once(name: str, **how: Any) -> Kernel:
    """The kernel, declared unless another test file of this process did."""
    expression = f"{name}<{how['T']}>" if "T" in how else name
    return REGISTRY.get(f"{SOURCE}:{expression}") or Kernel(SOURCE, name, **how)


def result(cuda: Backend, kernel: Kernel, shared: int, y: np.ndarray, *given: np.ndarray) -> Any:
    out = cuda.asarray(y)
    launch(kernel, *ONE_WARP, shared, (*map(cuda.asarray, given), out))
    return cuda.to_numpy(out)


def test_halves_are_multiplied(cuda: Backend) -> None:
    a, b = (RNG.integers(-8, 8, (n, 16)).astype("float16") for n in (16, 8))
    y = result(cuda, once("product", T="__half"), 1024, np.zeros((16, 8), "float32"), a, b)
    np.testing.assert_array_equal(y, 1 + a.astype("float64") @ b.astype("float64").T)


def test_matrices_are_transposed(cuda: Backend) -> None:
    x = RNG.integers(0, 2**16, (4, 8, 8)).astype("uint16")
    y = result(cuda, once("transposed"), x.nbytes, np.zeros_like(x), x)
    np.testing.assert_array_equal(y, x.transpose(0, 2, 1))


def test_tf32_rounds_and_multiplies(cuda: Backend) -> None:
    a, b = (RNG.standard_normal((n, 8)).astype("float32") for n in (16, 8))
    kernel = once("product_tf32", since=80)
    y = result(cuda, kernel, 768, np.zeros((16, 8), "float32"), a, b)
    b[-1, -1] = 0  # the kernel leaves this copy out

    def to_tf32(x: np.ndarray) -> np.ndarray:
        m, e = np.frexp(x.astype("float64"))
        return np.copysign(np.floor(np.abs(m) * 2**11 + 0.5), m) * 2.0 ** (e - 11)

    np.testing.assert_allclose(y, to_tf32(a) @ to_tf32(b).T, rtol=1e-5, atol=1e-6)
