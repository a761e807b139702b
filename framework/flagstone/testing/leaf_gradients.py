"""Gradients with respect to tensors that are there already, such as a layer's parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from flagstone import ops
from flagstone.tape import enable_grad, grad, no_grad
from flagstone.tensors import Tensor
from flagstone.testing.gradcheck import wrong_op

STEPS = (1e-5, 1e-7)
"""A difference counts as wrong where it is at both: a kink near a point is passed by one of them,
hardly ever by the other."""
RTOL, ATOL = 2e-4, 1e-7
DIRECTIONS = 2


def check_leaf_gradients(function: Callable[[], Any], leaves: Mapping[str, Tensor]) -> None:
    """Compare the tape's gradients with central differences along random directions, in float64.

    Args:
        function: computes a tensor, or several, from the leaves; the same at every call. The
            floating outputs are weighted with random numbers and summed.
        leaves: name -> float64 tensor; they are moved in place and put back.

    Raises:
        AssertionError: a derivative differs, or a gradient has another shape or dtype than its
            leaf. The message names the leaf, gives both values, and names the op whose pullback is
            wrong by itself, if there is one.
    """
    rng = np.random.default_rng(7)
    weights: list[Any] = []

    def value() -> Tensor | None:
        total = None
        for i, y in enumerate(floating_outputs(function())):
            if i == len(weights):
                weights.append(rng.standard_normal(y.shape))
            weight = Tensor(y.backend.asarray(weights[i].astype(y.dtype_name)), y.backend)
            term = ops.sum(y * weight)
            total = term if total is None else total + term
        return total

    with enable_grad():
        total = value()
    found: Any = [None] * len(leaves)
    if total is not None and total.requires_grad:
        found = grad(total, list(leaves.values()))
    for (name, leaf), gradient in zip(leaves.items(), found, strict=True):
        if gradient is not None and (gradient.shape, gradient.dtype_name) != (
            leaf.shape,
            leaf.dtype_name,
        ):
            raise AssertionError(
                f"gradient with respect to {name}: expected {leaf.dtype_name} of shape "
                f"{leaf.shape}; got {gradient.dtype_name} of shape {gradient.shape}"
            )
        analytic = np.zeros(leaf.shape) if gradient is None else gradient.numpy()
        for _ in range(DIRECTIONS if leaf.size else 0):
            u = rng.standard_normal(leaf.shape)
            u /= np.sqrt(np.sum(u * u)) + 1e-300
            told = _difference(name, leaf, float(np.sum(analytic * u)), u, value)
            if told:
                raise AssertionError(told + wrong_op(function, (), leaf.backend))


def _difference(
    name: str, leaf: Tensor, expected: float, u: Any, value: Callable[[], Tensor | None]
) -> str:
    """What is to be said against the derivative along ``u``; empty if it is right."""
    start = np.array(leaf.numpy())

    def at(h: float) -> float:
        leaf.array[...] = leaf.backend.asarray(start + h * u)
        with no_grad():
            total = value()
        return 0.0 if total is None else float(total.item())

    told = ""
    try:
        for h in STEPS:
            numeric = (at(h) - at(-h)) / (2 * h)
            allowed = ATOL + RTOL * max(abs(expected), abs(numeric))
            if abs(expected - numeric) <= allowed:
                return ""
            told = told or (
                f"gradient with respect to {name} (shape {leaf.shape}): expected "
                f"{numeric:.8g}, by central differences; got {expected:.8g} from the tape"
            )
    finally:
        leaf.array[...] = leaf.backend.asarray(start)
    return told


def floating_outputs(result: Any) -> list[Tensor]:
    """The floating tensors in a result: one, or tuples, lists and dicts of them."""
    return [y for y in all_outputs(result) if y.dtype_name.startswith("float")]


def all_outputs(result: Any) -> list[Tensor]:
    """The tensors in a result, in order."""
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, dict):
        result = list(result.values())
    if isinstance(result, (tuple, list)):
        return [y for part in result for y in all_outputs(part)]
    return []
