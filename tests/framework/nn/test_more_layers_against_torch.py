"""Activations, normalisations and embeddings give PyTorch's values and gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn

torch = pytest.importorskip("torch", reason="PyTorch, the reference, is not installed")

TOLERANCE = {"float64": 1e-11, "float32": 3e-5}
DTYPES = pytest.mark.parametrize("dtype", ["float64", "float32"])

Make = tuple[Callable[[], nn.Layer], Callable[[], Any]]

ACTIVATIONS: dict[str, Make] = {
    "selu": (nn.SELU, lambda: torch.nn.SELU()),
    "gelu": (nn.GELU, lambda: torch.nn.GELU()),
    "gelu, tanh": (lambda: nn.GELU("tanh"), lambda: torch.nn.GELU(approximate="tanh")),
    "silu": (nn.SiLU, lambda: torch.nn.SiLU()),
    "mish": (nn.Mish, lambda: torch.nn.Mish()),
    "softplus": (nn.Softplus, lambda: torch.nn.Softplus(threshold=100)),
    "softplus, beta": (lambda: nn.Softplus(2.5), lambda: torch.nn.Softplus(2.5, threshold=100)),
    "hardsigmoid": (nn.Hardsigmoid, lambda: torch.nn.Hardsigmoid()),
    "hardswish": (nn.Hardswish, lambda: torch.nn.Hardswish()),
    "log softmax": (nn.LogSoftmax, lambda: torch.nn.LogSoftmax(-1)),
    "log softmax, dim": (lambda: nn.LogSoftmax(0), lambda: torch.nn.LogSoftmax(0)),
    "softmax, dim": (lambda: nn.Softmax(1), lambda: torch.nn.Softmax(1)),
    "identity": (nn.Identity, lambda: torch.nn.Identity()),
}


def first(a: np.ndarray) -> np.ndarray:
    """Channels first, as PyTorch has them."""
    return np.ascontiguousarray(np.moveaxis(a, -1, 1))


def last(a: np.ndarray) -> np.ndarray:
    return np.moveaxis(a, 1, -1)


def same(a: np.ndarray) -> np.ndarray:
    return a


def compare(
    ours: nn.Layer,
    theirs: Any,
    x: np.ndarray,
    dtype: str,
    there: Callable[[np.ndarray], np.ndarray] = same,
    back: Callable[[np.ndarray], np.ndarray] = same,
    least: float = 0.0,
) -> None:
    """The same output, and the same gradients of the input and of every parameter.

    ``there`` lays an array out as PyTorch wants it, ``back`` is its inverse; ``least`` is the
    smallest tolerance.
    """
    allowed = max(TOLERANCE[dtype], least)
    rng = np.random.default_rng(1)
    ours.initialize(0, dtype=dtype)
    theirs = theirs.to(getattr(torch, dtype))
    given = dict(theirs.named_parameters())
    assert set(given) == {name for name, _ in ours.named_parameters()}
    for name, p in ours.named_parameters():  # 1 and 0, how they start, would hide mistakes
        p.array[...] = rng.standard_normal(p.shape)
        given[name].data = torch.tensor(p.numpy().copy())
    x = x.astype(dtype)
    here, other = fs.tensor(x, requires_grad=True), torch.tensor(there(x), requires_grad=True)
    y, expected = ours(here), theirs(other)
    dy = rng.standard_normal(y.shape).astype(dtype)
    y.backward(fs.tensor(dy))
    expected.backward(torch.tensor(there(dy).copy()))
    pairs = [(y, back(expected.detach().numpy())), (here.grad, back(other.grad.numpy()))]
    pairs += [(p.grad, given[name].grad.numpy()) for name, p in ours.named_parameters()]
    for found, wanted in pairs:
        assert found.dtype_name == dtype
        tolerance = allowed * max(1.0, float(np.abs(wanted).max(initial=0)))
        np.testing.assert_allclose(found.numpy(), wanted, rtol=allowed, atol=tolerance)


@DTYPES
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str, dtype: str) -> None:
    ours, theirs = ACTIVATIONS[name]
    x = np.concatenate([np.linspace(-20, 20, 90), [-3.0, 3.0, -1e-4, 0.0, 1e-4, 0.46875]])
    # PyTorch's gradient of hardsigmoid multiplies by the float32 nearest to 1/6 in float64 too
    least = 1e-7 if name == "hardsigmoid" else 0.0
    compare(ours(), theirs(), x.reshape(-1, 3), dtype, least=least)


def sizes(seed: int, axes: int) -> tuple[np.random.Generator, tuple[int, ...]]:
    rng = np.random.default_rng(seed)
    return rng, tuple(int(n) for n in rng.integers(2, 7, axes))


@DTYPES
@pytest.mark.parametrize("seed", range(30))
def test_layer_norm(seed: int, dtype: str) -> None:
    rng, shape = sizes(seed, 2 + seed % 3)
    n = int(rng.integers(1, len(shape)))
    how: dict[str, Any] = {
        "normalized_shape": shape[-n:], "eps": float(rng.choice([1e-5, 1e-3])),
        "elementwise_affine": seed % 5 != 4, "bias": seed % 3 != 2,
    }  # fmt: skip
    x = rng.standard_normal(shape) * 3 + rng.standard_normal() * 2
    compare(nn.LayerNorm(**how), torch.nn.LayerNorm(**how), x, dtype)


@DTYPES
@pytest.mark.parametrize("seed", range(30))
def test_rms_norm(seed: int, dtype: str) -> None:
    rng, shape = sizes(seed, 2 + seed % 3)
    n = int(rng.integers(1, len(shape)))
    how: dict[str, Any] = {
        "normalized_shape": shape[-n:], "eps": [None, 1e-5, 1e-2][seed % 3],
        "elementwise_affine": seed % 5 != 4,
    }  # fmt: skip
    x = rng.standard_normal(shape) * 3
    compare(nn.RMSNorm(**how), torch.nn.RMSNorm(**how), x, dtype)


@DTYPES
@pytest.mark.parametrize("seed", range(30))
def test_group_norm(seed: int, dtype: str) -> None:
    rng, shape = sizes(seed, 2 + seed % 4)  # tables, signals, images, volumes
    groups, each = (int(n) for n in rng.integers(1, 4, 2))
    each += len(shape) == 2  # a group of one value is refused
    x = rng.standard_normal((*shape[:-1], groups * each)) * 3 + 1
    how: dict[str, Any] = {"eps": 1e-4, "affine": seed % 5 != 4}
    ours = nn.GroupNorm(groups, groups * each, **how)
    compare(ours, torch.nn.GroupNorm(groups, groups * each, **how), x, dtype, first, last)


@DTYPES
@pytest.mark.parametrize("seed", range(30))
def test_instance_norm(seed: int, dtype: str) -> None:
    rng, shape = sizes(seed, 3 + seed % 3)  # signals, images, volumes
    kind = [torch.nn.InstanceNorm1d, torch.nn.InstanceNorm2d, torch.nn.InstanceNorm3d][seed % 3]
    how: dict[str, Any] = {"eps": 1e-4, "affine": seed % 2 == 0}
    x = rng.standard_normal(shape) * 3 + 1
    compare(nn.InstanceNorm(shape[-1], **how), kind(shape[-1], **how), x, dtype, first, last)


@DTYPES
@pytest.mark.parametrize("seed", range(32))
def test_batch_norm(seed: int, dtype: str) -> None:
    """Training, the running statistics that it leaves, and predicting by them."""
    rng, shape = sizes(seed, 2 + seed % 4)  # tables, signals, images, volumes
    kind = ["BatchNorm1d", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d"][seed % 4]
    how = {"eps": float(rng.choice([1e-5, 1e-2])), "momentum": float(rng.choice([0.1, 0.9, 1.0]))}
    ours, theirs = getattr(nn, kind)(shape[-1], **how), getattr(torch.nn, kind)(shape[-1], **how)

    def batch() -> np.ndarray:
        x = rng.standard_normal(shape) * 3 + rng.standard_normal(shape[-1])
        return np.asarray(x, dtype)

    def agree(found: np.ndarray, reference: Any) -> None:
        near = 10 * TOLERANCE[dtype]
        np.testing.assert_allclose(found, reference.detach().numpy(), rtol=near, atol=near)

    compare(ours, theirs, batch(), dtype, first, last)
    x = batch()
    ours(fs.tensor(x))
    theirs(torch.tensor(first(x)))
    for name, p in ours.named_buffers():
        agree(p.numpy(), theirs.get_buffer(name))
    here, other = fs.tensor(x, requires_grad=True), torch.tensor(first(x), requires_grad=True)
    y, expected = ours.eval()(here), theirs.eval()(other)
    agree(first(y.numpy()), expected)
    dy = batch()
    y.backward(fs.tensor(dy))
    expected.backward(torch.tensor(first(dy)))
    assert here.grad is not None
    agree(first(here.grad.numpy()), other.grad)


@pytest.mark.parametrize("shift", [1e3, 1e4])
def test_normalising_values_far_from_zero_loses_no_more_digits_than_pytorch(shift: float) -> None:
    x = np.random.default_rng(0).standard_normal((8, 512)) + shift
    exact = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    narrow = x.astype(np.float32)
    wanted = torch.nn.LayerNorm(512)(torch.tensor(narrow)).detach().numpy()
    found = nn.LayerNorm(512).initialize(0)(fs.tensor(narrow)).numpy()
    assert np.abs(found - exact).max() <= 2 * np.abs(wanted - exact).max()


@DTYPES
@pytest.mark.parametrize("padding_idx", [None, 0, 3, -1])
@pytest.mark.parametrize("shape", [(7,), (3, 4), (), (2, 1, 3)])
def test_embedding(shape: tuple[int, ...], padding_idx: int | None, dtype: str) -> None:
    rng = np.random.default_rng(2)
    index = np.asarray(rng.integers(0, 5, shape))
    ours = nn.Embedding(5, 3, padding_idx).initialize(0, dtype=dtype)
    theirs = torch.nn.Embedding(5, 3, padding_idx).to(getattr(torch, dtype))
    theirs.weight.data = torch.tensor(ours.weight.numpy().copy())
    y, expected = ours(fs.tensor(index)), theirs(torch.tensor(index))
    np.testing.assert_array_equal(y.numpy(), expected.detach().numpy())
    dy = rng.standard_normal(y.shape).astype(dtype)
    y.backward(fs.tensor(dy))
    expected.backward(torch.tensor(dy))
    np.testing.assert_allclose(
        ours.weight.grad.numpy(), theirs.weight.grad.numpy(), rtol=1e-6, atol=1e-6
    )


# Our layer, PyTorch's, and an input in our layout: what PyTorch refuses is refused
REFUSED: list[tuple[Callable[[], nn.Layer], Callable[[], Any], tuple[int, ...]]] = [
    (lambda: nn.LayerNorm(3), lambda: torch.nn.LayerNorm(3), (2, 4)),
    (lambda: nn.LayerNorm((2, 3)), lambda: torch.nn.LayerNorm((2, 3)), (3,)),
    (lambda: nn.RMSNorm(3), lambda: torch.nn.RMSNorm(3), (2, 4)),
    (lambda: nn.GroupNorm(2, 5), lambda: torch.nn.GroupNorm(2, 5), (2, 4, 5)),
    (lambda: nn.GroupNorm(2, 4), lambda: torch.nn.GroupNorm(2, 4), (2, 4, 6)),
    (lambda: nn.GroupNorm(4, 4), lambda: torch.nn.GroupNorm(4, 4), (1, 4)),
    (lambda: nn.InstanceNorm(3), lambda: torch.nn.InstanceNorm2d(3), (2, 1, 1, 3)),
    (lambda: nn.BatchNorm2d(3), lambda: torch.nn.BatchNorm2d(3), (4, 3)),
    (lambda: nn.BatchNorm1d(3), lambda: torch.nn.BatchNorm1d(3), (4, 2, 2, 3)),
    (lambda: nn.Embedding(3, 2), lambda: torch.nn.Embedding(3, 2), (2,)),
    (lambda: nn.Embedding(3, 2, 3), lambda: torch.nn.Embedding(3, 2, 3), (2,)),
    (lambda: nn.GELU("erf"), lambda: torch.nn.GELU(approximate="erf"), (2, 2)),
    (lambda: nn.LogSoftmax(2), lambda: torch.nn.LogSoftmax(2), (2, 2)),
]


@pytest.mark.parametrize(("ours", "theirs", "shape"), REFUSED)
def test_what_pytorch_refuses_is_refused(
    ours: Callable[[], nn.Layer], theirs: Callable[[], Any], shape: tuple[int, ...]
) -> None:
    x = np.ones(shape, np.float32)
    with pytest.raises((RuntimeError, ValueError, IndexError, AssertionError)):
        theirs()(torch.tensor(first(x) if len(shape) > 1 else x))
    with pytest.raises(fs.errors.FlagstoneError) as caught:
        ours()(fs.tensor(x))
    assert "\n" not in str(caught.value)
    assert "got" in str(caught.value)
