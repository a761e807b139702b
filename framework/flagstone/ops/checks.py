"""Checks that several ops share; each raises before any work is done.

The door has seen to it that an op's inputs are tensors, or numbers where the op takes them; the
public functions that are made of ops call :func:`tensors` first.
"""

from __future__ import annotations

import numbers
from typing import Any

from flagstone.backend import mismatch
from flagstone.errors import DTypeError, InputError, ShapeError
from flagstone.tensors import Tensor

FLOATS = ("float32", "float64", "float16", "bfloat16")
DTYPES = (
    *FLOATS, "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
)  # fmt: skip


def not_a_tensor(op: str, name: str, x: object) -> DTypeError:
    """The error for an argument that should be a tensor."""
    return DTypeError(
        f"{op}: {name} expected a Tensor; got {type(x).__name__}. "
        "Wrap it with flagstone.tensor(...)"
    )


_is_floating: dict[Any, bool] = {}  # (type of the dtype, dtype) -> the answer


def is_floating(t: Tensor) -> bool:
    """Whether a tensor is of a floating-point dtype."""
    dtype = t.array.dtype
    answer = _is_floating.get((type(dtype), dtype))
    if answer is None:
        answer = _is_floating[type(dtype), dtype] = t.dtype_name in FLOATS
    return answer


def tensors(op: str, **given: Any) -> None:
    """Everything given is a tensor."""
    for name, x in given.items():
        if not isinstance(x, Tensor):
            raise not_a_tensor(op, name, x)


def same_dtype(op: str, **tensors: Any) -> None:
    """All tensors given have one dtype (numbers and ``None`` follow along), on one device; in a
    mixed precision one of its two dtypes.

    Raises:
        DeviceMismatchError: they are on several devices, whose dtypes cannot be compared.
        DTypeError: they have several dtypes.
    """
    first: Tensor | None = None
    for t in tensors.values():
        if isinstance(t, Tensor):
            if first is None:
                first = t
            elif t.backend is not first.backend:
                raise mismatch(op, first.backend, t.backend)
            elif t.array.dtype is not first.array.dtype and t.array.dtype != first.array.dtype:
                low = first.backend.low  # float32 and that are cast at the door; see autocast.py
                if low is None or not {t.dtype_name, first.dtype_name} <= {low, "float32"}:
                    raise _several_dtypes(op, tensors)


def alike(op: str, **given: Any) -> None:
    """All tensors given have one dtype and one shape."""
    same_dtype(op, **given)
    first = None
    for t in given.values():
        if t is None:
            continue
        if first is None:
            first = t.shape
        elif t.shape != first:
            listed = ", ".join(f"{name} {u.shape}" for name, u in given.items() if u is not None)
            raise ShapeError(f"{op}: expected one shape; got {listed}")


def _several_dtypes(op: str, tensors: dict[str, Any]) -> DTypeError:
    listed = ", ".join(f"{n} {t.dtype_name}" for n, t in tensors.items() if isinstance(t, Tensor))
    return DTypeError(
        f"{op}: expected one dtype; got {listed}. Convert one with x.astype('float32')"
    )


def broadcastable(op: str, **tensors: Any) -> None:
    """The shapes of the tensors broadcast, by NumPy's rules, and their dtypes are one."""
    same_dtype(op, **tensors)
    shapes_broadcast(op, **tensors)


def shapes_broadcast(op: str, **tensors: Any) -> None:
    """The shapes of the tensors broadcast, by NumPy's rules."""
    shapes = [t.shape for t in tensors.values() if isinstance(t, Tensor)]
    if all(shape == shapes[0] for shape in shapes):
        return
    for sizes in zip(*(_aligned(shape, shapes) for shape in shapes), strict=True):
        if len(set(sizes) - {1}) > 1:
            listed = ", ".join(
                f"{name} {t.shape}" for name, t in tensors.items() if isinstance(t, Tensor)
            )
            raise ShapeError(
                f"{op}: expected shapes that broadcast (equal, or 1, from the last axis on); "
                f"got {listed}"
            )


def two(op: str, a: Any, b: Any) -> None:
    """Two tensors of one dtype that broadcast, or one and a number that its dtype can hold."""
    if not isinstance(a, Tensor):
        holds(op, "a", a, b)
    elif not isinstance(b, Tensor):
        holds(op, "b", b, a)
    elif a.array.shape != b.array.shape or a.array.dtype != b.array.dtype:
        broadcastable(op, a=a, b=b)


def two_numbers(op: str, a: Any, b: Any) -> None:
    """What :func:`two` asks, and that they are no truth values."""
    if type(a) is float:
        if is_floating(b):
            return
    elif isinstance(a, Tensor) and is_floating(a):
        if isinstance(b, Tensor):
            if a.array.dtype is b.array.dtype and a.array.shape == b.array.shape:
                return
        elif type(b) is float:
            return
    numeric(op, a=a, b=b)
    two(op, a, b)


def holds(op: str, name: str, number: Any, tensor: Tensor) -> None:
    """``number`` can be of the tensor's dtype: no floating one among integers, and none out of
    range."""
    dtype = tensor.dtype_name
    if isinstance(number, bool) or dtype == "bool":
        fits = isinstance(number, bool) and dtype == "bool"
    elif isinstance(number, numbers.Integral):
        whole = int(number)
        fits = number_bits(whole) <= _bits(dtype) and (whole >= 0 or dtype[0] != "u")
    else:
        fits = isinstance(number, numbers.Real) and dtype in FLOATS
    if not fits:
        raise DTypeError(
            f"{op}: {name} expected a number that {dtype} can hold; got {number!r}. Convert the "
            "tensor first, with x.astype('float32')"
        )


def number_bits(number: int) -> int:
    """How many bits an integer takes beside its sign: what decides which dtypes can hold it."""
    return (number if number >= 0 else ~number).bit_length()


def _bits(dtype: str) -> int:
    if dtype in FLOATS:
        return 1023  # of the largest float64; one that float32 cannot hold becomes infinite
    return int(dtype.lstrip("uint")) - (dtype[0] != "u")


def true_or_false(op: str, **given: Any) -> None:
    """Everything given is ``True`` or ``False``.

    Raises:
        InputError: something is not, such as 1.
    """
    for name, value in given.items():
        if value is not True and value is not False:
            raise InputError(f"{op}: {name} expected True or False; got {value!r}")


def number(op: str, name: str, value: Any, least: float | None = None, above: bool = False) -> None:
    """``value`` is a real number, Python's or NumPy's, no truth value.

    Args:
        least: what it is at least; ``None`` for any.
        above: it must be larger than ``least``.

    Raises:
        InputError: it is not.
    """
    fits = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if fits and least is not None:
        fits = bool(value > least if above else value >= least)
    if not fits:
        bound = "" if least is None else f" {'>' if above else '>='} {least:g}"
        raise InputError(f"{op}: {name} expected a number{bound}; got {value!r}")


def is_integer(value: Any) -> bool:
    """Whether ``value`` is an integer, Python's or NumPy's; truth values are none."""
    return hasattr(value, "__index__") and not isinstance(value, bool)


def indices(op: str, index: Any, n: int) -> None:
    """``index`` is of integers, and none of them negative: NumPy would count from the end, and
    gradients would go elsewhere. Values are looked at only where that does not wait for a device;
    those from ``n`` on are found by whoever picks, see :func:`out_of_range`.

    Raises:
        DTypeError: ``index`` is not of integers.
        InputError: a number is negative.
    """
    if "int" not in index.dtype_name:
        hint = ""
        if index.dtype_name == "bool":
            hint = ". How many values a mask leaves depends on values: where(mask, x, 0) keeps all"
        raise DTypeError(f"{op}: index expected an integer tensor; got {index.dtype_name}{hint}")
    if index.backend.is_immediate and index.dtype_name[0] != "u" and index.size:
        least = index.backend.xp.min(index.array)
        if least < 0:
            raise InputError(f"{op}: index expected numbers from 0 to {n - 1}; got {int(least)}")


def out_of_range(op: str, index: Any, n: int) -> InputError:
    """The error for numbers of ``index`` of which a backend has found one that is not below ``n``;
    the work has stopped, so that looking costs nothing any more."""
    most = int(index.backend.xp.max(index.array))
    return InputError(f"{op}: index expected numbers from 0 to {n - 1}; got {most}")


def numeric(op: str, **given: Any) -> None:
    """No tensor given holds truth values."""
    for name, t in given.items():
        if isinstance(t, Tensor) and t.dtype_name == "bool":
            raise DTypeError(
                f"{op}: {name} expected numbers; got bool. Convert it with {name}.astype('float32')"
            )


def _aligned(shape: tuple[int, ...], among: list[tuple[int, ...]]) -> tuple[int, ...]:
    return (1,) * (max(len(s) for s in among) - len(shape)) + shape


def floating(op: str, **tensors: Any) -> None:
    """Every tensor given is of a floating-point dtype."""
    for name, t in tensors.items():
        if isinstance(t, Tensor) and t.dtype_name not in FLOATS:
            raise DTypeError(
                f"{op}: {name} expected a floating-point dtype; got {t.dtype_name}. "
                f"Convert it with {name}.astype('float32')"
            )


def axes(op: str, axis: Any, ndim: int) -> tuple[int, ...]:
    """``axis`` (an integer, a tuple or ``None`` for all) as sorted non-negative axes.

    Raises:
        InputError: an axis does not exist or is named twice.
    """
    if axis is None:
        return tuple(range(ndim))
    if type(axis) is int and -ndim <= axis < ndim:
        return (axis % ndim,)
    given = axis if isinstance(axis, tuple) else (axis,)
    for a in given:
        if isinstance(a, bool) or not isinstance(a, int) or not -ndim <= a < ndim:
            several = ", several as a tuple," if isinstance(axis, list) else ""
            which = f"integers from {-ndim} to {ndim - 1}{several}" if ndim else "none"
            raise InputError(
                f"{op}: axis expected {which} for a tensor of {ndim} axes; got {axis!r}"
            )
    out = tuple(sorted(a % ndim for a in given))
    if len(set(out)) < len(out):
        raise InputError(f"{op}: axis expected each axis once; got {axis!r}")
    return out


def one_axis(op: str, axis: Any, ndim: int) -> int:
    """``axis`` as one non-negative axis.

    Raises:
        InputError: it is no integer, or does not exist.
    """
    if axis is None or isinstance(axis, tuple):
        raise InputError(f"{op}: axis expected one integer; got {axis!r}")
    return axes(op, axis, ndim)[0]
