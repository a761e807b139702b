"""Values and gradients against PyTorch, over random configurations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from flagstone import losses, ops
from flagstone.backend import open_backend
from flagstone.tensors import Tensor

torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
F = torch.nn.functional

CPU = open_backend("cpu")
TOLERANCE = {"float32": 2e-4, "float64": 1e-10}
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


def channels_first(a: np.ndarray) -> np.ndarray:
    """NHWC to NCHW, and weights (out, h, w, in) to (out, in, h, w)."""
    return np.moveaxis(a, -1, 1)


def compare(
    ours: Callable[..., Tensor],
    theirs: Callable[..., Any],
    arrays: Sequence[np.ndarray],
    dtype: str,
    there: Callable[[np.ndarray], np.ndarray] = lambda a: a,
) -> None:
    """The same output and, for a random gradient of it, the same gradients.

    ``there`` is how an array of four axes is laid out in PyTorch.
    """
    floats = [a.astype(dtype) if a.dtype.kind == "f" else a for a in arrays]
    xs = [Tensor(a, CPU, a.dtype.kind == "f") for a in floats]
    laid = [np.ascontiguousarray(there(a)) if a.ndim == 4 else a for a in floats]
    ts = [torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in laid]
    y, t = ours(*xs), theirs(*ts)
    tolerance = TOLERANCE[dtype]

    def same(what: str, here: np.ndarray, other: Any) -> None:
        here = there(here) if here.ndim == 4 else here
        assert str(here.dtype) == dtype
        assert here.shape == tuple(other.shape), what
        scale = tolerance * max(1.0, float(np.abs(here).max(initial=0.0)))
        np.testing.assert_allclose(here, other.detach().numpy(), tolerance, scale, err_msg=what)

    same("output", y.numpy(), t)
    gradient = np.asarray(np.random.default_rng(0).standard_normal(y.shape), dtype)
    y.backward(Tensor(gradient, CPU))
    t.backward(torch.tensor(np.array(there(gradient) if gradient.ndim == 4 else gradient)))
    for i, (x, other) in enumerate(zip(xs, ts, strict=True)):
        if x.requires_grad:
            assert x.grad is not None
            same(f"gradient of input {i}", x.grad.numpy(), other.grad)


def convolution(seed: int) -> dict[str, Any]:
    """A random configuration of which at least one window fits."""
    rng = np.random.default_rng(seed)

    def two(low: int, high: int) -> tuple[int, int]:
        a, b = (int(n) for n in rng.integers(low, high, 2, endpoint=True))
        return a, b

    groups = int(rng.choice([1, 1, 2, 3, 4]))
    per_group = 1 if seed % 4 == 3 else int(rng.integers(1, 5))
    multiplier = int(rng.integers(1, 4))
    kernel, dilation, stride = two(1, 4), two(1, 3), two(1, 3)
    padding: Any = two(0, 2)
    if seed % 5 == 0:
        padding, stride = "same", (1, 1)
    elif seed % 5 == 1:
        padding = "valid"
    size = tuple(
        d * (k - 1) + 1 + int(rng.integers(0, 7)) for d, k in zip(dilation, kernel, strict=True)
    )
    return {
        "x": (int(rng.integers(1, 4)), *size, groups * per_group),
        "w": (groups * multiplier, *kernel, per_group),
        "bias": bool(seed % 2),
        "how": {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups},
    }


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
@DTYPES
@pytest.mark.parametrize("seed", range(60))
def test_conv2d(seed: int, dtype: str) -> None:
    made = convolution(seed)
    rng = np.random.default_rng(seed + 1000)
    arrays = [rng.standard_normal(made["x"]), rng.standard_normal(made["w"])]
    if made["bias"]:
        arrays.append(rng.standard_normal(made["w"][0]))
    how = made["how"]
    compare(
        lambda *a: ops.conv2d(*a, **how), lambda *a: F.conv2d(*a, **how), arrays, dtype,
        channels_first,
    )  # fmt: skip


@DTYPES
@pytest.mark.parametrize("seed", range(20))
def test_max_and_avg_pool2d(seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    kernel = tuple(int(n) for n in rng.integers(1, 5, 2))
    stride = tuple(int(n) for n in rng.integers(1, 4, 2)) if seed % 3 else None
    padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
    size = tuple(k + int(rng.integers(0, 7)) for k in kernel)
    x = rng.standard_normal((2, *size, 3))
    if seed % 2:
        x = np.round(x)  # ties: both give the gradient to the first
    how = {"stride": stride, "padding": padding}
    compare(
        lambda x: ops.max_pool2d(x, kernel, **how), lambda x: F.max_pool2d(x, kernel, **how), [x],
        dtype, channels_first,
    )  # fmt: skip
    how["count_include_pad"] = bool(seed % 2)
    compare(
        lambda x: ops.avg_pool2d(x, kernel, **how), lambda x: F.avg_pool2d(x, kernel, **how), [x],
        dtype, channels_first,
    )  # fmt: skip


@DTYPES
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(ops.softmax, F.softmax), (ops.log_softmax, F.log_softmax), (ops.logsumexp, torch.logsumexp)],
)
def test_softmax_family(ours, theirs, axis: int, dtype: str) -> None:
    x = np.random.default_rng(3).standard_normal((3, 4, 5)) * 10
    compare(lambda x: ours(x, axis=axis), lambda x: theirs(x, dim=axis), [x], dtype)


@DTYPES
@pytest.mark.parametrize("name", ["elu", "leaky_relu", "softplus", "sigmoid", "relu"])
def test_activations(name: str, dtype: str) -> None:
    x = np.linspace(-30, 30, 61)
    exact = {"threshold": 50} if name == "softplus" else {}  # beyond, PyTorch returns x itself
    compare(getattr(ops, name), lambda x: getattr(F, name)(x, **exact), [x], dtype)
    if name in ("elu", "leaky_relu"):
        ours = {"elu": "alpha", "leaky_relu": "slope"}[name]
        theirs = {"elu": "alpha", "leaky_relu": "negative_slope"}[name]
        compare(
            lambda x: getattr(ops, name)(x, **{ours: 0.3}),
            lambda x: getattr(F, name)(x, **{theirs: 0.3}), [x], dtype,
        )  # fmt: skip


@DTYPES
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_losses(reduction: str, dtype: str) -> None:
    rng = np.random.default_rng(4)
    x, labels = rng.standard_normal((7, 4)) * 5, rng.integers(0, 4, 7)
    compare(
        lambda x, y: losses.cross_entropy(x, y, reduction=reduction),
        lambda x, y: F.cross_entropy(x, y, reduction=reduction), [x, labels], dtype,
    )  # fmt: skip
    x, target = rng.standard_normal(9) * 20, rng.uniform(0, 1, 9)
    compare(
        lambda x, y: losses.binary_cross_entropy_with_logits(x, y, reduction=reduction),
        lambda x, y: F.binary_cross_entropy_with_logits(x, y, reduction=reduction), [x, target],
        dtype,
    )  # fmt: skip


@DTYPES
@pytest.mark.parametrize("shape", [(6, 3), (4, 5, 2, 3)])
def test_batch_norm(shape: tuple[int, ...], dtype: str) -> None:
    rng = np.random.default_rng(5)
    arrays = [rng.standard_normal(shape) * 3 + 1, rng.standard_normal(3), rng.standard_normal(3)]
    compare(
        lambda x, w, b: ops.batch_norm(x, w, b, eps=1e-5)[0],
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), arrays, dtype,
        channels_first,
    )  # fmt: skip


@DTYPES
@pytest.mark.parametrize("shape", [(4, 3), (3,), (2, 5, 3)])
def test_linear(shape: tuple[int, ...], dtype: str) -> None:
    rng = np.random.default_rng(6)
    arrays = [rng.standard_normal(s) for s in (shape, (2, 3), (2,))]
    compare(ops.linear, F.linear, arrays, dtype)
    compare(ops.linear, F.linear, arrays[:2], dtype)


@DTYPES
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)),
        ((2, 3), (5, 3, 4)), ((1, 2, 3), (5, 3, 4)), ((2, 3, 2), (2,)), ((2, 0, 3), (3, 2)),
        ((2, 3, 0), (2, 0, 4)),
    ],
)  # fmt: skip
def test_matmul(a: tuple[int, ...], b: tuple[int, ...], dtype: str) -> None:
    rng = np.random.default_rng(7)
    compare(ops.matmul, torch.matmul, [rng.standard_normal(a), rng.standard_normal(b)], dtype)


@DTYPES
def test_extremes_share_ties(dtype: str) -> None:
    x = np.array([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
    compare(lambda x: ops.max(x, axis=1), lambda x: torch.amax(x, 1), [x], dtype)
    compare(lambda x: ops.min(x, axis=(0, 1)), lambda x: torch.amin(x, (0, 1)), [x], dtype)
    compare(ops.maximum, torch.maximum, [x, x[:, ::-1].copy()], dtype)
    compare(ops.minimum, torch.minimum, [x, x[:, ::-1].copy()], dtype)
