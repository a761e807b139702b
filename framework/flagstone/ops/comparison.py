"""Comparison, element by element: bool tensors, which carry no gradient.

Shapes broadcast by NumPy's rules, and a Python number will do for either argument; tensors must be
of one dtype, which must be able to hold the number.
"""

from __future__ import annotations

from typing import Any

from flagstone.ops.checks import two, two_numbers
from flagstone.ops.door import op


@op(differentiable=False, numbers=("a", "b"))
def equal(xp: Any, a: Any, b: Any) -> Any:
    """``a == b``; false where one is NaN.

    Raises:
        ShapeError: the shapes do not broadcast.
        DTypeError: the dtypes differ, or cannot hold a number that is given.
    """
    return xp.equal(a, b)


@op(differentiable=False, numbers=("a", "b"))
def not_equal(xp: Any, a: Any, b: Any) -> Any:
    """``a != b``; true where one is NaN.

    Raises:
        ShapeError, DTypeError: as :func:`equal`.
    """
    return xp.not_equal(a, b)


@op(differentiable=False, numbers=("a", "b"))
def less(xp: Any, a: Any, b: Any) -> Any:
    """``a < b``; false where one is NaN.

    Raises:
        ShapeError: the shapes do not broadcast.
        DTypeError: the dtypes differ, are bool, or cannot hold a number that is given.
    """
    return xp.less(a, b)


@op(differentiable=False, numbers=("a", "b"))
def less_equal(xp: Any, a: Any, b: Any) -> Any:
    """``a <= b``; false where one is NaN.

    Raises:
        ShapeError, DTypeError: as :func:`less`.
    """
    return xp.less_equal(a, b)


@op(differentiable=False, numbers=("a", "b"))
def greater(xp: Any, a: Any, b: Any) -> Any:
    """``a > b``; false where one is NaN.

    Raises:
        ShapeError, DTypeError: as :func:`less`.
    """
    return xp.greater(a, b)


@op(differentiable=False, numbers=("a", "b"))
def greater_equal(xp: Any, a: Any, b: Any) -> Any:
    """``a >= b``; false where one is NaN.

    Raises:
        ShapeError, DTypeError: as :func:`less`.
    """
    return xp.greater_equal(a, b)


for _op in (equal, not_equal):
    _op.check(lambda a, b, _name=_op.name: two(_name, a, b))
for _op in (less, less_equal, greater, greater_equal):
    _op.check(lambda a, b, _name=_op.name: two_numbers(_name, a, b))
del _op
