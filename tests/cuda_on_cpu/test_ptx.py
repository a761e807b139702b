"""The CPU versions of ``ptx.cuh``: what they compute, and that they are the same functions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from flagstone_cupy.kernel import REGISTRY, Kernel
from flagstone_cupy.launch import launch
from flagstone_cupy.signature import KERNELS

HERE = Path(__file__).parent
SOURCE = str(HERE / "ptx_check.cu")
RNG = np.random.default_rng(3)
ONE_WARP = ((1, 1, 1), (32, 1, 1))


def once(name: str, make: Any) -> Any:
    """Declare a kernel, unless this file was imported before."""
    return next((k for k in REGISTRY.values() if k.source == SOURCE and k.name == name), None) or (
        make(SOURCE, name)
    )


PRODUCT = once("product", lambda *a: Kernel(*a, T="__half"))
TRANSPOSED = once("transposed", Kernel)
PRODUCT_TF32 = once("product_tf32", lambda *a: Kernel(*a, since=80))


def test_cp_async_ldmatrix_and_mma_multiply_halves(card: Any) -> None:
    a = RNG.integers(-8, 8, (16, 16)).astype("float16")
    b = RNG.integers(-8, 8, (8, 16)).astype("float16")
    y = np.zeros((16, 8), "float32")
    card.library(SOURCE).statistics()  # begin to count
    launch(PRODUCT, *ONE_WARP, 2 * (256 + 256), (a, b, y))
    np.testing.assert_array_equal(y, 1 + a.astype("float64") @ b.astype("float64").T)
    counts = card.library(SOURCE).statistics()
    assert counts["mma"] == len(card.seeds)
    assert counts["ldmatrix"] == len(card.seeds) * 8  # each loads four matrices
    assert counts["bank_conflicts"] > 0  # rows of 32 bytes meet in the same banks


def test_ldmatrix_transposes(card: Any) -> None:
    x = RNG.integers(0, 2**16, (4, 8, 8)).astype("uint16")
    y = np.zeros_like(x)
    card.library(SOURCE).statistics()
    launch(TRANSPOSED, *ONE_WARP, x.nbytes, (x, y))
    np.testing.assert_array_equal(y, x.transpose(0, 2, 1))
    assert card.library(SOURCE).statistics()["bank_conflicts"] == 0


def test_tf32_rounds_and_multiplies(card: Any) -> None:
    a = RNG.standard_normal((16, 8)).astype("float32")
    b = RNG.standard_normal((8, 8)).astype("float32")
    y = np.zeros((16, 8), "float32")
    launch(PRODUCT_TF32, *ONE_WARP, 4 * 192, (a, b, y))
    b[-1, -1] = 0  # the kernel leaves this copy out

    def to_tf32(x: np.ndarray) -> np.ndarray:
        """To 11 significant bits, ties away from zero."""
        m, e = np.frexp(x.astype("float64"))
        return np.copysign(np.floor(np.abs(m) * 2**11 + 0.5), m) * 2.0 ** (e - 11)

    np.testing.assert_allclose(y, to_tf32(a) @ to_tf32(b).T, rtol=1e-5, atol=1e-6)


def test_both_headers_have_the_same_functions() -> None:
    on_the_card = set(
        re.findall(
            r"__device__ (?:__forceinline__ )?\w+ (\w+)(?:<\w+>)?\(", _text(KERNELS / "ptx.cuh")
        )
    )
    in_the_simulation = _text(HERE / "cusim" / "ptx.h").split("}  // namespace cusim")[-1]
    here = set(re.findall(r"^inline \w+ (\w+)\(", in_the_simulation, re.MULTILINE))
    assert on_the_card == here
    assert len(here) >= 9


def test_no_other_kernel_file_has_inline_ptx() -> None:
    files = [*KERNELS.glob("*.cu"), *KERNELS.glob("*.cuh")]
    assert [f.name for f in files if re.search(r"\basm\b", _text(f))] == ["ptx.cuh"]


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")
