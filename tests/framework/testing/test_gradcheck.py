"""What ``gradcheck`` says of a wrong gradient, of a point without one, and of wrong arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from flagstone import ops
from flagstone.errors import InputError
from flagstone.ops import ALL_OPS, op
from flagstone.tensors import Tensor
from flagstone.testing import gradcheck


@op
def doubled(xp: Any, x: Any) -> Any:
    """Twice x, whose pullback is wrong."""
    return x * 2.0


@doubled.pullback
def _(dy: Tensor) -> Any:
    return dy * 2.1


@op
def squared(xp: Any, x: Any) -> Any:
    """x * x, whose pullback is wrong, and by so little that a bend could hide it."""
    return x * x


@squared.pullback
def _(dy: Tensor, x: Tensor) -> Any:
    return dy * (x * 2.0 + 1e-5)


for _wrong in (doubled, squared):  # other tests look at all ops
    del ALL_OPS[_wrong.name]

AT_0 = np.array([0.0, 1.0, -2.0])


@pytest.mark.parametrize(
    "function",
    [
        ops.relu,
        lambda x: ops.where(x > 0.0, x * 2.0, x * 0.5),
        lambda x: ops.exp(x) + ops.relu(x * 3.0),
        lambda x: ops.where(x > 0.0, x, x * x),
    ],
)
def test_a_kink_is_named_and_no_op_blamed(function: Callable[..., Any]) -> None:
    with pytest.raises(AssertionError, match="has a kink or a jump there") as caught:
        gradcheck(function, [AT_0])
    assert "pullback" not in str(caught.value)
    gradcheck(function, [AT_0 + 0.1])


@pytest.mark.parametrize("x", [np.array([0.3, -1.0]), np.zeros(2)])
@pytest.mark.parametrize("wrong", [doubled, squared])
def test_a_wrong_pullback_is_no_kink(wrong: Any, x: np.ndarray) -> None:
    with pytest.raises(AssertionError) as caught:
        gradcheck(wrong, [x])
    assert "kink" not in str(caught.value)


def test_the_op_is_blamed_beside_one_at_its_kink() -> None:
    with pytest.raises(AssertionError, match="the op 'doubled' has a wrong gradient"):
        gradcheck(lambda x, z: ops.sum(ops.relu(z)) + doubled(x), [np.ones(2), np.zeros(1)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((ops.exp, np.ones(3)), r"inputs expected a list of arrays, .* as in \[x\]; got ndarray"),
        ((ops.exp, 1.0), "inputs expected a list of arrays, .*; got float"),
        (("exp", [np.ones(3)]), "function expected a callable; got 'exp'"),
        ((ops.exp, [np.ones(3, np.float32)]), "input 0 expected float64; got float32"),
    ],
)
def test_wrong_arguments_are_named(arguments: tuple[Any, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"gradcheck: {message}"):
        gradcheck(*arguments)
