"""Convolution, its transpose, pooling and resizing against PyTorch, over random configurations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from flagstone import ops
from flagstone.backend import open_backend
from flagstone.errors import FlagstoneError
from flagstone.tensors import Tensor

torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
F = torch.nn.functional

CPU = open_backend("cpu")
TOLERANCE = {"float32": 2e-4, "float64": 1e-10}
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])
AXES = pytest.mark.parametrize("d", [1, 2, 3])


def there(a: np.ndarray) -> np.ndarray:
    """PyTorch's order of axes, channels (of weights: the last axis) second."""
    return np.ascontiguousarray(np.moveaxis(a, -1, 1)) if a.ndim > 1 else a


def compare(
    ours: Callable[..., Tensor], theirs: Callable[..., Any], arrays: Sequence[np.ndarray],
    dtype: str,
) -> None:  # fmt: skip
    """The same output and, for a random gradient of it, the same gradients."""
    floats = [a.astype(dtype) for a in arrays]
    xs = [Tensor(a, CPU, True) for a in floats]
    ts = [torch.tensor(there(a), requires_grad=True) for a in floats]
    y, t = ours(*xs), theirs(*ts)
    tolerance = TOLERANCE[dtype]

    def same(what: str, here: np.ndarray, other: Any) -> None:
        here = there(here)
        assert str(here.dtype) == dtype
        assert here.shape == tuple(other.shape), what
        scale = tolerance * max(1.0, float(np.abs(here).max(initial=0.0)))
        np.testing.assert_allclose(here, other.detach().numpy(), tolerance, scale, err_msg=what)

    same("output", y.numpy(), t)
    gradient = np.asarray(np.random.default_rng(0).standard_normal(y.shape), dtype)
    y.backward(Tensor(gradient, CPU))
    t.backward(torch.tensor(there(gradient)))
    for i, (x, other) in enumerate(zip(xs, ts, strict=True)):
        assert x.grad is not None
        same(f"gradient of input {i}", x.grad.numpy(), other.grad)


class Choose:
    """Random arguments for ``d`` spatial axes; volumes are kept small."""

    def __init__(self, seed: int, d: int) -> None:
        self.rng = np.random.default_rng([seed, d])
        self.d = d

    def one(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high, endpoint=True))

    def each(self, low: int, high: int) -> tuple[int, ...]:
        return tuple(self.one(low, high) for _ in range(self.d))

    def either(self, low: int, high: int) -> Any:
        """One per axis, or one number for all."""
        return self.each(low, high) if self.rng.integers(2) else self.one(low, high)

    def normal(self, *shape: int) -> np.ndarray:
        return self.rng.standard_normal(shape)


def each(value: Any, d: int) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,) * d


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
@DTYPES
@AXES
@pytest.mark.parametrize("seed", range(40))
def test_conv(seed: int, d: int, dtype: str) -> None:
    choose = Choose(seed, d)
    groups = choose.one(1, 3)
    per_group = 1 if seed % 4 == 3 else choose.one(1, 3)
    kernel, dilation, stride = choose.each(1, 3), choose.either(1, 2), choose.either(1, 3)
    padding: Any = choose.either(0, 2)
    if seed % 5 == 0:
        padding, stride = "same", 1
    elif seed % 5 == 1:
        padding = "valid"
    size = tuple(
        a * (k - 1) + 1 + choose.one(0, 4) for a, k in zip(each(dilation, d), kernel, strict=True)
    )
    arrays = [
        choose.normal(choose.one(1, 2), *size, groups * per_group),
        choose.normal(groups * choose.one(1, 2), *kernel, per_group),
    ]
    if seed % 2:
        arrays.append(choose.normal(len(arrays[1])))
    how = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    compare(
        lambda *a: getattr(ops, f"conv{d}d")(*a, **how),
        lambda *a: getattr(F, f"conv{d}d")(*a, **how), arrays, dtype,
    )  # fmt: skip


def transposed(seed: int, d: int) -> tuple[list[np.ndarray], dict[str, Any]]:
    """Arguments of a transposed convolution whose output is not empty."""
    choose = Choose(seed, d)
    groups = choose.one(1, 3)
    kernel, dilation, stride = choose.each(1, 3), choose.either(1, 3), choose.either(1, 3)
    limits = [max(s, a) - 1 for s, a in zip(each(stride, d), each(dilation, d), strict=True)]
    output_padding = tuple(choose.one(0, limit) for limit in limits)
    padding = choose.either(0, 2)
    size = []
    for k, a, s, p, e in zip(
        kernel, each(dilation, d), each(stride, d), each(padding, d), output_padding, strict=True
    ):
        n = choose.one(1, 4)
        while (n - 1) * s - 2 * p + a * (k - 1) + e + 1 < 1:
            n += 1
        size.append(n)
    channels = groups * choose.one(1, 3)
    arrays = [
        choose.normal(choose.one(1, 2), *size, channels),
        choose.normal(channels, *kernel, choose.one(1, 3)),
    ]
    if seed % 2:
        arrays.append(choose.normal(arrays[1].shape[-1] * groups))
    return arrays, {
        "stride": stride, "padding": padding, "output_padding": output_padding, "groups": groups,
        "dilation": dilation,
    }  # fmt: skip


@DTYPES
@AXES
@pytest.mark.parametrize("seed", range(40))
def test_conv_transpose(seed: int, d: int, dtype: str) -> None:
    arrays, how = transposed(seed, d)
    compare(
        lambda *a: getattr(ops, f"conv_transpose{d}d")(*a, **how),
        lambda *a: getattr(F, f"conv_transpose{d}d")(*a, **how), arrays, dtype,
    )  # fmt: skip


def test_some_output_padding_reaches_the_stride() -> None:
    """The configurations above cover output padding that only the dilation allows."""
    found = 0
    for d in (1, 2, 3):
        for seed in range(40):
            how = transposed(seed, d)[1]
            pairs = zip(how["output_padding"], each(how["stride"], d), strict=True)
            found += any(e >= s for e, s in pairs)
    assert found > 30


@DTYPES
@AXES
@pytest.mark.parametrize("seed", range(40))
def test_max_pool(seed: int, d: int, dtype: str) -> None:
    choose = Choose(seed, d)
    kernel = choose.each(1, 3)
    dilation = choose.either(1, 3) if seed % 3 == 0 else 1
    reach = [a * (k - 1) + 1 for a, k in zip(each(dilation, d), kernel, strict=True)]
    size = tuple(r + choose.one(0, 5) for r in reach)
    padding = tuple(choose.one(0, k // 2) for k in kernel)
    x = choose.normal(2, *size, 2)
    if seed % 2:
        x = np.round(x)  # ties: both give the gradient to the first
    how = {
        "stride": choose.either(1, 4) if seed % 4 else None, "padding": padding,
        "dilation": dilation, "ceil_mode": bool(choose.one(0, 1)),
    }  # fmt: skip
    compare(
        lambda x: getattr(ops, f"max_pool{d}d")(x, kernel, **how),
        lambda x: getattr(F, f"max_pool{d}d")(x, kernel, **how), [x], dtype,
    )  # fmt: skip


@DTYPES
@AXES
@pytest.mark.parametrize("seed", range(40))
def test_avg_pool(seed: int, d: int, dtype: str) -> None:
    choose = Choose(seed, d)
    kernel = choose.each(1, 4)
    size = tuple(k + choose.one(0, 5) for k in kernel)
    how = {
        "stride": choose.either(1, 4) if seed % 4 else None,
        "padding": tuple(choose.one(0, k // 2) for k in kernel),
        "ceil_mode": bool(choose.one(0, 1)), "count_include_pad": bool(choose.one(0, 1)),
    }  # fmt: skip
    compare(
        lambda x: getattr(ops, f"avg_pool{d}d")(x, kernel, **how),
        lambda x: getattr(F, f"avg_pool{d}d")(x, kernel, **how),
        [choose.normal(2, *size, 2)], dtype,
    )  # fmt: skip


@DTYPES
@AXES
@pytest.mark.parametrize("seed", range(30))
def test_adaptive_pools(seed: int, d: int, dtype: str) -> None:
    choose = Choose(seed, d)
    size = choose.each(1, 7)
    out: Any = choose.either(1, 9)
    if d > 1 and seed % 5 == 0:
        out = (None, *choose.each(1, 9)[1:])
    x = choose.normal(2, *size, 2)
    compare(
        lambda x: ops.adaptive_avg_pool(x, out),
        lambda x: getattr(F, f"adaptive_avg_pool{d}d")(x, out), [x], dtype,
    )  # fmt: skip
    compare(
        lambda x: ops.adaptive_max_pool(x, out),
        lambda x: getattr(F, f"adaptive_max_pool{d}d")(x, out), [np.round(x)], dtype,
    )  # fmt: skip


@DTYPES
@AXES
def test_global_pools(d: int, dtype: str) -> None:
    x = Choose(0, d).normal(3, *(4, 5, 2)[:d], 2)
    over = tuple(range(2, d + 2))
    compare(ops.global_avg_pool, lambda t: t.mean(over), [x], dtype)
    compare(ops.global_max_pool, lambda t: t.amax(over), [x], dtype)
    compare(
        lambda x: ops.global_avg_pool(x, keepdims=True),
        getattr(torch.nn, f"AdaptiveAvgPool{d}d")(1), [x], dtype,
    )  # fmt: skip


THEIR_NAME = {1: "linear", 2: "bilinear", 3: "trilinear"}


@DTYPES
@AXES
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "linear", "corners"])
@pytest.mark.parametrize("seed", range(20))
def test_resize(seed: int, mode: str, d: int, dtype: str) -> None:
    choose = Choose(seed, d)
    size = choose.each(1, 40 if d == 1 else 9)
    how: dict[str, Any] = {"mode": mode}
    if mode in ("linear", "corners"):
        how = {"mode": THEIR_NAME[d], "align_corners": mode == "corners"}
    if seed % 2:
        how["size"] = choose.either(1, 60 if d == 1 else 12)
    else:
        least = 1 / min(size)
        factors = [float(choose.rng.uniform(least, 3)) + 1e-9 for _ in range(d)]
        if mode == "nearest":
            # Where a factor rounds down to once or twice the length, PyTorch's kernels disagree
            # about nearest: some, and all of those for gradients, take it for exactly 1 or 2.
            times = [int(n * f) / n for n, f in zip(size, factors, strict=True)]
            factors = [t if t in (1, 2) else f for t, f in zip(times, factors, strict=True)]
        how["scale_factor"] = tuple(factors) if seed % 4 else float(np.ceil(factors[0]))
    compare(
        lambda x: ops.resize(x, **how), lambda x: F.interpolate(x, **how),
        [choose.normal(2, *size, 2)], dtype,
    )  # fmt: skip


def test_resize_rounds_places_as_pytorch_does_at_every_size() -> None:
    for n in range(1, 30):
        x = np.arange(n, dtype=np.float32).reshape(1, n, 1)
        for out in range(1, 70):
            ours = ops.resize(Tensor(x, CPU), out).numpy().reshape(-1)
            theirs = F.interpolate(torch.tensor(x.reshape(1, 1, n)), out).numpy().reshape(-1)
            np.testing.assert_array_equal(ours, theirs, f"{n} to {out}")


# name -> the function's name, shapes in our order, arguments: PyTorch refuses, and so do we
REFUSED: dict[str, tuple[str, list[tuple[int, ...]], dict[str, Any]]] = {
    "conv1d, channels": ("conv1d", [(1, 4, 3), (2, 3, 2)], {}),
    "conv1d, axes": ("conv1d", [(1, 4, 4, 3), (2, 3, 3)], {}),
    "conv3d, kernel too large": ("conv3d", [(1, 2, 4, 4, 1), (1, 3, 3, 3, 1)], {}),
    "conv3d, groups": ("conv3d", [(1, 2, 2, 2, 4), (3, 1, 1, 1, 2)], {"groups": 2}),
    "conv3d, stride": ("conv3d", [(1, 2, 2, 2, 1), (1, 1, 1, 1, 1)], {"stride": 0}),
    "conv1d, dilation": ("conv1d", [(1, 4, 1), (1, 2, 1)], {"dilation": 0}),
    "conv1d, padding": ("conv1d", [(1, 4, 1), (1, 2, 1)], {"padding": -1}),
    "conv1d, padding per axis": ("conv1d", [(1, 4, 1), (1, 2, 1)], {"padding": (1, 1)}),
    "transposed, channels": ("conv_transpose2d", [(1, 4, 4, 3), (2, 3, 3, 2)], {}),
    "transposed, axes": ("conv_transpose2d", [(1, 4, 4, 2), (2, 3, 2)], {}),
    "transposed, bias": ("conv_transpose2d", [(1, 4, 4, 2), (2, 3, 3, 1), (2,)], {}),
    "transposed, groups": ("conv_transpose1d", [(1, 4, 3), (3, 3, 2)], {"groups": 2}),
    "transposed, output padding": (
        "conv_transpose1d", [(1, 4, 1), (1, 3, 1)], {"stride": 2, "output_padding": 2},
    ),
    "transposed, negative output padding": (
        "conv_transpose1d", [(1, 4, 1), (1, 3, 1)], {"stride": 2, "output_padding": -1},
    ),
    "transposed, nothing left": ("conv_transpose1d", [(1, 1, 1), (1, 3, 1)], {"padding": 2}),
    "transposed, padding": ("conv_transpose1d", [(1, 4, 1), (1, 3, 1)], {"padding": -1}),
    "transposed, stride": ("conv_transpose3d", [(1, 2, 2, 2, 1), (1, 2, 2, 2, 1)], {"stride": 0}),
    "transposed, 'same'": ("conv_transpose1d", [(1, 4, 1), (1, 3, 1)], {"padding": "same"}),
    "max pool, padding": ("max_pool1d", [(1, 4, 1)], {"kernel": 2, "padding": 2}),
    "max pool, too large": ("max_pool3d", [(1, 4, 4, 2, 1)], {"kernel": 3}),
    "max pool, dilation": ("max_pool2d", [(1, 4, 4, 1)], {"kernel": 2, "dilation": 0}),
    "max pool, dilated too large": ("max_pool2d", [(1, 4, 4, 1)], {"kernel": 2, "dilation": 4}),
    "max pool, stride": ("max_pool3d", [(1, 4, 4, 4, 1)], {"kernel": 2, "stride": (1, 0, 1)}),
    "max pool, kernel": ("max_pool2d", [(1, 4, 4, 1)], {"kernel": (1, 2, 3)}),
    "average pool, padding": ("avg_pool3d", [(1, 4, 4, 4, 1)], {"kernel": 3, "padding": 2}),
    "average pool, too large": ("avg_pool1d", [(1, 4, 1)], {"kernel": 5}),
    "average pool, kernel": ("avg_pool1d", [(1, 4, 1)], {"kernel": 0}),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_pytorch_refuses_is_refused_in_one_line(case: str) -> None:
    name, shapes, how = REFUSED[case]
    arrays = [np.ones(shape) for shape in shapes]
    their_how = {"kernel_size" if k == "kernel" else k: v for k, v in how.items()}
    with pytest.raises((RuntimeError, ValueError, TypeError)):
        getattr(F, name)(*[torch.tensor(there(a)) for a in arrays], **their_how)
    with pytest.raises(FlagstoneError, match=f"^{name}: ") as caught:
        getattr(ops, name)(*[Tensor(a, CPU) for a in arrays], **how)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "how",
    [
        {}, {"size": 2, "scale_factor": 2.0}, {"size": 0}, {"size": (1, 2, 3)},
        {"scale_factor": (1.0, 2.0, 3.0)}, {"scale_factor": 0.1}, {"size": 2, "mode": "trilinear"},
        {"size": 2, "mode": "cubic"}, {"size": 2, "align_corners": True},
    ],
    ids=str,
)  # fmt: skip
def test_what_interpolate_refuses_is_refused_in_one_line(how: dict[str, Any]) -> None:
    x = np.ones((1, 4, 4, 1))
    with pytest.raises((RuntimeError, ValueError, NotImplementedError)):
        F.interpolate(torch.tensor(there(x)), **how)
    with pytest.raises(FlagstoneError, match=r"^resize: ") as caught:
        ops.resize(Tensor(x, CPU), **how)
    assert "\n" not in str(caught.value)
