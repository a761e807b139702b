"""Where formulas cancel, overflow or divide by nothing: what PyTorch or exact arithmetic gives."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import ops

torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
mpmath = pytest.importorskip("mpmath", reason="it comes with PyTorch, for SymPy")
F = torch.nn.functional

INF, NAN = math.inf, math.nan
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


def compare(ours: Callable[..., Any], theirs: Callable[..., Any], *arrays: Any, dtype: str) -> None:
    """The same values and gradients, NaN where PyTorch has NaN."""
    given = [np.array(a, dtype) for a in arrays]
    xs = [fs.tensor(a, requires_grad=True) for a in given]
    ts = [torch.tensor(a, requires_grad=True) for a in given]
    with np.errstate(all="ignore"):
        y, t = ours(*xs), theirs(*ts)
        g = np.random.default_rng(0).uniform(0.5, 2.0, y.shape).astype(dtype)
        y.backward(fs.tensor(g))
        t.backward(torch.tensor(g))
    near = 1e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(y.numpy(), t.detach().numpy(), near, near * 1e-3)
    for i, (x, other) in enumerate(zip(xs, ts, strict=True)):
        assert x.grad is not None
        np.testing.assert_allclose(
            x.grad.numpy(), other.grad.numpy(), near, near * 1e-3, err_msg=f"gradient {i}"
        )


ROWS = [
    [-INF, -INF, -INF], [-INF, 0.0, 1.0], [NAN, 0.0, 1.0], [NAN, INF, -INF], [1e4, 0.0, -1e4],
    [1e38, -1e38, 0.0], [INF, 0.0, 1.0], [INF, INF, 0.0],
]  # fmt: skip


@DTYPES
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_softmax_family(row: list[float], dtype: str) -> None:
    x = [row, [1.0, 2.0, 3.0]]
    names = ["softmax", "log_softmax"]
    if INF not in row:  # where ours is the gradient of PyTorch's logsumexp but for NaN
        names.append("logsumexp")
    for name in names:
        compare(lambda x, n=name: getattr(ops, n)(x, axis=-1),
                lambda x, n=name: getattr(torch, n)(x, -1), x, dtype=dtype)  # fmt: skip


@DTYPES
def test_logsumexp_of_infinities_is_quiet(dtype: str) -> None:
    x = fs.tensor(np.array(ROWS, dtype))
    with warnings.catch_warnings(action="error"):
        found = ops.logsumexp(x, axis=1).numpy()
    np.testing.assert_array_equal(found[[0, 2, 3, 6, 7]], [-INF, NAN, NAN, INF, INF])


PLACES = (1e-8, -1e-8, 1e-30, 0.0, -0.0, 0.5, -3.0, 20.0, -20.0, 50.0, -50.0, 88.0, -88.0, 1e4,
          -1e4, INF, -INF)  # fmt: skip
EXACT: dict[str, Callable[[Any], Any]] = {
    "expm1": mpmath.expm1, "exp": mpmath.exp, "tanh": mpmath.tanh, "erf": mpmath.erf,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
    "silu": lambda x: x / (1 + mpmath.exp(-x)),
    "gelu": lambda x: x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2,
    "mish": lambda x: x * mpmath.tanh(mpmath.log1p(mpmath.exp(x))),
    "elu": lambda x: x if x > 0 else mpmath.expm1(x),
    "log1p": lambda x: mpmath.log1p(x) if x > -1 else mpmath.nan,
}  # fmt: skip


@DTYPES
@pytest.mark.parametrize("name", EXACT)
def test_elementary_functions(name: str, dtype: str) -> None:
    """Against 60 digits; each relative to the value, which may be as small as the least one."""
    x = np.array([p for p in PLACES if math.isfinite(p)], dtype)
    with np.errstate(all="ignore"):
        found = getattr(ops, name)(fs.tensor(x)).numpy()
    with mpmath.workdps(60):
        exact = [EXACT[name](mpmath.mpf(float(v))) for v in x]
        largest = np.finfo(dtype).max
        wanted = [math.copysign(INF, v) if abs(v) > largest else float(v) for v in exact]
    near, least = {"float32": (4e-6, 1e-36), "float64": (2e-13, 1e-300)}[dtype]
    np.testing.assert_allclose(found, wanted, near, least)


@DTYPES
@pytest.mark.parametrize("name", ["exp", "expm1", "sigmoid", "tanh", "relu", "elu", "log1p", "sqrt",
                                  "rsqrt", "log", "abs"])  # fmt: skip
def test_gradients_at_zero_and_infinity(name: str, dtype: str) -> None:
    theirs = getattr(F, name) if name in ("elu", "relu") else getattr(torch, name)
    for x in (*PLACES, 1.0, -1.0):
        compare(getattr(ops, name), theirs, [x], dtype=dtype)


TIES = ([1.0, 3.0, 3.0], [INF, INF, 1.0], [-INF, -INF, -INF], [0.0, -0.0, 0.0], [NAN, 1.0, 2.0])


@DTYPES
@pytest.mark.parametrize("row", TIES, ids=str)
def test_ties_infinities_and_nan(row: list[float], dtype: str) -> None:
    compare(lambda x: ops.max(x, axis=0), lambda x: torch.amax(x, 0), row, dtype=dtype)
    compare(lambda x: ops.min(x, axis=0), lambda x: torch.amin(x, 0), row, dtype=dtype)
    compare(lambda x: ops.sum(x, axis=0), lambda x: torch.sum(x, 0), row, dtype=dtype)
    compare(lambda x: ops.cumsum(x, axis=0), lambda x: torch.cumsum(x, 0), row, dtype=dtype)
    compare(lambda x: ops.clip(x, low=-1.0, high=1.0), lambda x: x.clamp(-1, 1), row, dtype=dtype)
    compare(
        lambda x: ops.max_pool1d(ops.reshape(x, (1, 3, 1)), 2, stride=1),
        lambda x: F.max_pool1d(x.reshape(1, 1, 3), 2, 1).reshape(1, 2, 1), row, dtype=dtype,
    )  # fmt: skip
    x = np.array(row, dtype)
    assert ops.argmax(fs.tensor(x), axis=0).item() == torch.argmax(torch.tensor(x), 0).item()


@DTYPES
def test_maximum_and_minimum(dtype: str) -> None:
    """Ties share a gradient; NaN gives it to both."""
    a = [1.0, 1.0, -1.0, 0.0, -0.0, INF, -INF, NAN, 2.0, NAN]
    b = [1.0, 2.0, -1.0, -0.0, 0.0, INF, 1.0, 1.0, NAN, NAN]
    compare(ops.maximum, torch.maximum, a, b, dtype=dtype)
    compare(ops.minimum, torch.minimum, a, b, dtype=dtype)


@DTYPES
@pytest.mark.parametrize("exponent", [2, 3, 0, 1, -1, -2, 0.5, -0.5, 1.7, 2.5])
def test_powers_of_zero_and_of_negative_numbers(exponent: float, dtype: str) -> None:
    x = [0.0, -2.0, -1.0, 1.0, 4.0, INF, NAN, 1e-3]
    compare(
        lambda x: ops.power(x, exponent=exponent), lambda x: torch.pow(x, exponent), x, dtype=dtype
    )


def test_the_variance_of_large_values() -> None:
    """The mean is taken first: the digits of 1e8 do not swallow those of the deviations."""
    small = np.random.default_rng(0).integers(-1000, 1000, 5000) / 1024.0
    exact = np.var(small)  # of sums that are exact
    assert ops.var(fs.tensor(1e8 + small)).item() == pytest.approx(exact, rel=1e-9)
    single = np.asarray(4096.0 + small, np.float32)
    assert ops.var(fs.tensor(single)).item() == pytest.approx(exact, rel=1e-5)
    constant = fs.tensor(np.full(100_003, 4096.5, np.float32))
    assert ops.var(constant).item() < 1e-6  # of 1.7e7, the square


@pytest.mark.parametrize("seed", range(30))
def test_slices_with_negative_steps(seed: int) -> None:
    """Values and gradients, against NumPy."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((5, 6, 4))

    def bound() -> int | None:
        return None if rng.random() < 0.3 else int(rng.integers(-9, 9))

    index: list[Any] = [
        slice(bound(), bound(), int(rng.choice([-3, -2, -1, 1, 2]))) if rng.random() < 0.7
        else int(rng.integers(-4, 4)) for _ in range(int(rng.integers(1, 4)))
    ]  # fmt: skip
    if seed % 3 == 0:
        index.insert(int(rng.integers(0, len(index) + 1)), None)
    if seed % 4 == 0:
        index.insert(int(rng.integers(0, len(index) + 1)), ...)
    here = fs.tensor(x, requires_grad=True)
    y = here[tuple(index)]
    np.testing.assert_array_equal(y.numpy(), x[tuple(index)])
    g = rng.standard_normal(y.shape)
    y.backward(fs.tensor(g))
    expected = np.zeros_like(x)
    expected[tuple(part for part in index if part is not None)] += g.reshape(
        expected[tuple(part for part in index if part is not None)].shape
    )
    assert here.grad is not None
    np.testing.assert_array_equal(here.grad.numpy(), expected)
