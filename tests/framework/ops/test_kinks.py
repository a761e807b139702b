"""Gradients where a function has none: what the docstrings promise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import flagstone as fs
from flagstone import ops
from flagstone.tensors import Tensor

CASES: dict[str, tuple[Callable[[Tensor], Tensor], list[float], list[float]]] = {
    "relu": (ops.relu, [-1.0, 0.0, 1.0], [0, 0, 1]),
    "leaky_relu": (lambda x: ops.leaky_relu(x, slope=0.1), [-1.0, 0.0, 1.0], [0.1, 0.1, 1]),
    "abs": (ops.abs, [-1.0, 0.0, 1.0], [-1, 0, 1]),
    "sign": (ops.sign, [-1.0, 0.0, 1.0], [0, 0, 0]),
    "clip": (lambda x: ops.clip(x, low=0.0, high=1.0), [-1.0, 0.0, 1.0, 2.0], [0, 1, 1, 0]),
    "maximum": (lambda x: ops.maximum(x, 1.0), [0.0, 1.0, 2.0], [0, 0.5, 1]),
    "minimum": (lambda x: ops.minimum(x, 1.0), [0.0, 1.0, 2.0], [1, 0.5, 0]),
    "max": (ops.max, [1.0, 3.0, 3.0], [0, 0.5, 0.5]),
    "min": (ops.min, [1.0, 1.0, 1.0, 3.0], [1 / 3, 1 / 3, 1 / 3, 0]),
    "maxout": (lambda x: ops.maxout(x, 2), [2.0, 2.0, 1.0, 5.0], [0.5, 0.5, 0, 1]),
    "max_pool2d": (
        lambda x: ops.max_pool2d(ops.reshape(x, (1, 2, 2, 1)), 2),
        [1.0, 3.0, 3.0, 3.0],
        [0, 1, 0, 0],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_gradient_at_a_kink(name: str) -> None:
    function, at, expected = CASES[name]
    x = fs.tensor(np.array(at), requires_grad=True)
    function(x).sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-15)
