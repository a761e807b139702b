"""Normalisation against PyTorch, over random configurations: values and gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import ops
from flagstone.tensors import Tensor

torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
F = torch.nn.functional

SEEDS = range(32)
TOLERANCE = {"float32": 1e-4, "float64": 1e-10}
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


class Configuration:
    """Of one call: an input (n, ..., c), parameters that may be absent, groups and an epsilon."""

    def __init__(self, seed: int, least_axes: int) -> None:
        rng = np.random.default_rng(seed)
        between = [int(n) for n in rng.integers(1, 5, least_axes - 2 + seed % 4)]
        n = 1 if seed % 5 == 0 else int(rng.integers(2, 5))
        self.groups, per_group = (int(k) for k in rng.integers(1, 4, 2))
        if seed % 7 == 3:
            self.groups, per_group = 1, 5
        elif seed % 7 == 5:
            self.groups, per_group = 6, 1
        self.channels = self.groups * per_group
        if seed % 4 == 1 and between:
            between[0] += 3
        self.eps = [1e-5, 1e-3, 0.5, 1e-8][seed % 4]
        shape = (n, *between, self.channels)
        offset = [0.0, 30.0, -5.0][seed % 3]
        self.x = rng.standard_normal(shape) * rng.uniform(0.1, 5.0) + offset
        self.normalized = shape[-int(rng.integers(1, len(shape))) :]
        if math.prod(self.normalized) == 1:  # the output is what PyTorch's mean is wrong by
            self.normalized = shape[1:]
        self.affine = ["both", "none", "weight", "both", "bias"][seed % 5]
        self.rng = rng

    def parameters(self, shape: tuple[int, ...]) -> list[np.ndarray | None]:
        """A weight and a bias of this shape, as far as there are any."""
        return [
            self.rng.standard_normal(shape) if self.affine in ("both", name) else None
            for name in ("weight", "bias")
        ]


def compare(
    ours: Callable[..., Tensor], theirs: Callable[..., Any], arrays: list[Any], dtype: str,
    channels_second: bool = True,
) -> None:  # fmt: skip
    """The same output and, for a random gradient of it, the same gradients."""

    def there(a: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(np.moveaxis(a, -1, 1) if channels_second and a.ndim > 1 else a)

    given = [None if a is None else np.asarray(a, dtype) for a in arrays]
    xs = [None if a is None else fs.tensor(a, requires_grad=True) for a in given]
    ts = [None if a is None else torch.tensor(there(a), requires_grad=True) for a in given]
    y, t = ours(*xs), theirs(*ts)
    g = np.random.default_rng(1).standard_normal(y.shape).astype(dtype)
    y.backward(fs.tensor(g))
    t.backward(torch.tensor(there(g)))
    pairs: list[tuple[str, Tensor | None, Any]] = [("output", y, t.detach())]
    pairs += [
        (f"gradient of input {i}", x.grad, other.grad)
        for i, (x, other) in enumerate(zip(xs, ts, strict=True))
        if x is not None and other is not None
    ]
    for what, found, wanted in pairs:
        assert found is not None
        assert found.dtype_name == dtype
        exact = wanted.numpy()
        near = TOLERANCE[dtype] * max(1.0, float(np.abs(exact).max(initial=0.0)))
        np.testing.assert_allclose(
            there(found.numpy()), exact, TOLERANCE[dtype], near, err_msg=what
        )


def enough(configuration: Configuration, count: int) -> Configuration:
    """With a second example where there would be one value per statistic, which is refused."""
    if count < 2:
        configuration.x = np.concatenate([configuration.x, -configuration.x - 1.0])
    return configuration


@DTYPES
@pytest.mark.parametrize("seed", SEEDS)
def test_batch_norm(seed: int, dtype: str) -> None:
    c = Configuration(seed, 2)
    c = enough(c, c.x.size // c.channels)
    arrays = [c.x, c.rng.standard_normal(c.channels), c.rng.standard_normal(c.channels)]
    compare(
        lambda x, w, b: ops.batch_norm(x, w, b, eps=c.eps)[0],
        lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True, eps=c.eps), arrays, dtype,
    )  # fmt: skip


@DTYPES
@pytest.mark.parametrize("seed", SEEDS)
def test_layer_norm(seed: int, dtype: str) -> None:
    c = Configuration(seed, 2)
    compare(
        lambda x, w, b: ops.layer_norm(x, c.normalized, w, b, c.eps),
        lambda x, w, b: F.layer_norm(x, c.normalized, w, b, c.eps),
        [c.x, *c.parameters(c.normalized)], dtype, channels_second=False,
    )  # fmt: skip


@DTYPES
@pytest.mark.parametrize("seed", SEEDS)
def test_rms_norm(seed: int, dtype: str) -> None:
    c = Configuration(seed, 2)
    eps = None if seed % 4 == 0 else c.eps
    compare(
        lambda x, w: ops.rms_norm(x, c.normalized, w, eps),
        lambda x, w: F.rms_norm(x, c.normalized, w, eps),
        [c.x, c.parameters(c.normalized)[0]], dtype, channels_second=False,
    )  # fmt: skip


@DTYPES
@pytest.mark.parametrize("seed", SEEDS)
def test_group_norm(seed: int, dtype: str) -> None:
    c = Configuration(seed, 2)
    if c.affine == "bias":
        c.affine = "both"  # PyTorch 2.13's backward pass fails for a bias alone
    if c.x[0].size == c.groups:  # one value per group is refused
        c.groups, c.x = 1, np.repeat(c.x, 2, axis=-1) * np.arange(1.0, 1 + 2 * c.channels)
        c.channels *= 2
    compare(
        lambda x, w, b: ops.group_norm(x, c.groups, w, b, c.eps),
        lambda x, w, b: F.group_norm(x, c.groups, w, b, c.eps),
        [c.x, *c.parameters((c.channels,))], dtype,
    )  # fmt: skip


@DTYPES
@pytest.mark.parametrize("seed", SEEDS)
def test_instance_norm(seed: int, dtype: str) -> None:
    c = Configuration(seed, 3)
    if c.x[0].size == c.channels:  # one value per channel is refused
        c.x = np.concatenate([c.x, -c.x - 1.0], axis=1)
    compare(
        lambda x, w, b: ops.instance_norm(x, w, b, c.eps),
        lambda x, w, b: F.instance_norm(x, weight=w, bias=b, eps=c.eps),
        [c.x, *c.parameters((c.channels,))], dtype,
    )  # fmt: skip


def test_the_configurations_differ() -> None:
    """They reach one example, one group, groups of one channel, axes of length 1, and so on."""
    made = [Configuration(seed, 2) for seed in SEEDS]
    assert len({(c.x.shape, c.groups, c.eps, c.affine) for c in made}) == len(made)
    for reached in (
        lambda c: len(c.x) == 1, lambda c: len(c.x) > 1, lambda c: c.groups == 1,
        lambda c: c.groups == c.channels > 1, lambda c: 1 < c.groups < c.channels,
        lambda c: 1 in c.x.shape[1:-1], lambda c: c.x.ndim == 2, lambda c: c.x.ndim == 5,
        lambda c: len(c.normalized) == 1, lambda c: len(c.normalized) == c.x.ndim - 1 > 1,
        lambda c: c.affine == "none", lambda c: c.affine == "weight", lambda c: c.affine == "bias",
        lambda c: c.eps == 0.5, lambda c: abs(c.x.mean()) > 10 * c.x.std(),
    ):  # fmt: skip
        assert sum(map(reached, made)) >= 2
