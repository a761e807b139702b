"""Convolutions and matrix products on a card, in every type, against the CPU's in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flagstone.backend import Backend, open_backend
from flagstone.ops import ALL_OPS
from flagstone_cupy.kernels import conv, gemm
from flagstone_cupy.signature import BFLOAT16

RNG = np.random.default_rng(29)

pytestmark = pytest.mark.gpu

# precision, dtype, relative error that is allowed
KINDS = {
    "float32": ("exact", "float32", 2e-6),
    "float64": ("exact", "float64", 5e-15),
    "tf32": ("tf32", "float32", 1e-3),
    "float16": ("exact", "float16", 1e-3),
    "bfloat16": ("exact", "bfloat16", 8e-3),
}
# images, size, channels in, out, kernel, stride, padding, dilation, groups
SHAPES = [
    (32, (28, 28), 1, 32, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    (64, (31, 31), 24, 64, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    (16, (56, 56), 64, 256, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    (16, (28, 28), 128, 128, (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 1),
    (8, (7, 7), 512, 512, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    (16, (14, 14), 512, 256, (1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    (8, (40, 33), 48, 80, (3, 2), (2, 1), ((1, 2), (0, 3)), (1, 2), 2),
    (8, (30, 30), 21, 35, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    (16, (28, 28), 96, 96, (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 96),
    (4, (2000,), 16, 32, (9,), (3,), ((4, 4),), (2,), 1),
    (2, (12, 14, 16), 16, 24, (3, 3, 3), (1, 2, 1), ((1, 1),) * 3, (1, 1, 1), 1),
]
PRODUCTS = [(1000, 784, 256), (333, 77, 1001), (64, 8192, 64), (2048, 1024, 512)]  # m, k, n


@pytest.fixture(scope="module")
def cuda() -> Backend:
    return open_backend("cuda")


def cast(a: Any, dtype: str) -> Any:
    """``a`` in a dtype, rounded to nearest."""
    if dtype != "bfloat16":
        return a.astype(dtype)
    bits = a.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16).view(BFLOAT16)


def value(a: Any) -> Any:
    if a.dtype == BFLOAT16:
        return (a.view(np.uint16).astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return a.astype(np.float64)


def check(cuda: Backend, got: Any, expected: Any, allowed: float) -> None:
    given = value(cuda.to_numpy(got))
    assert given.shape == expected.shape
    assert np.linalg.norm(given - expected) <= allowed * np.linalg.norm(expected)


def on_cpu(name: str, *arrays: Any, **static: Any) -> Any:
    return open_backend("cpu").table[ALL_OPS[name]](*map(value, arrays), **static)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_convolution_and_its_gradients(cuda: Backend, shape: Any, kind: str) -> None:
    n, size, c, k, kernel, stride, padding, dilation, groups = shape
    precision, dtype, allowed = KINDS[kind]
    how = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    x = cast(RNG.standard_normal((n, *size, c)), dtype)
    w = cast(RNG.standard_normal((k, *kernel, c // groups)), dtype)
    b = cast(RNG.standard_normal(k), dtype)
    dx, dw, db = (cuda.asarray(a) for a in (x, w, b))
    expected = on_cpu("conv", x, w, b, **how)
    y = conv.conv(dx, dw, db, precision=precision, **how)
    check(cuda, y, expected, allowed)
    again = conv.conv(dx, dw, db, precision=precision, **how)
    np.testing.assert_array_equal(cuda.to_numpy(y), cuda.to_numpy(again))
    g = cast(RNG.standard_normal(expected.shape), dtype)
    dg = cuda.asarray(g)
    to_input = conv.conv_input_grad(dg, dw, size=size, precision=precision, **how)
    check(cuda, to_input, on_cpu("conv_input_grad", g, w, size=size, **how), allowed)
    to_weight, to_bias = conv.conv_weight_bias_grad(
        dg, dx, kernel=kernel, precision=precision, **how
    )
    check(cuda, to_weight, on_cpu("conv_weight_grad", g, x, kernel=kernel, **how), allowed)
    check(cuda, to_bias, value(g).reshape(-1, k).sum(0), allowed)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("m", "k", "n"), PRODUCTS)
def test_matrix_products(cuda: Backend, m: int, k: int, n: int, kind: str) -> None:
    precision, dtype, allowed = KINDS[kind]
    a, b = cast(RNG.standard_normal((m, k)), dtype), cast(RNG.standard_normal((k, n)), dtype)
    expected = value(a) @ value(b)
    plain, turned = cuda.asarray(a), cuda.asarray(np.ascontiguousarray(a.T)).T
    right, turned_right = cuda.asarray(b), cuda.asarray(np.ascontiguousarray(b.T)).T
    for left, other in ((plain, right), (plain, turned_right), (turned, right)):
        check(cuda, gemm.batched_matmul(left, other, precision=precision), expected, allowed)


def test_products_can_be_captured(cuda: Backend) -> None:
    """No library is called, so a graph of convolutions and products replays with new values."""
    import cupy

    how: Any = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1}
    x = cuda.asarray(RNG.standard_normal((8, 14, 14, 32)).astype("float32"))
    w = cuda.asarray(RNG.standard_normal((64, 3, 3, 32)).astype("float32"))
    head = cuda.asarray(RNG.standard_normal((10, 14 * 14 * 64)).astype("float32"))

    def step() -> Any:
        return gemm.linear(conv.conv(x, w, **how).reshape(8, -1), head)

    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        step()
        stream.begin_capture()
        y = step()
        graph = stream.end_capture()
        x *= 2
        graph.launch(stream)
        stream.synchronize()
        np.testing.assert_array_equal(cuda.to_numpy(y), cuda.to_numpy(step()))
