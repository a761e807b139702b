"""A tensor: one array of a backend, and what the tape knows of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flagstone.backend import Array, Backend
from flagstone.devices import Device
from flagstone.errors import InputError

if TYPE_CHECKING:
    from flagstone.tape import Node

Scalar = int | float | bool
operators: Any = None  # the ops behind +, [], .sum() ...; flagstone.ops sets it when imported
differentiate: Any = None  # flagstone.tape.backward, which sets it when imported


class _Host(threading.local):
    watcher: Any = None  # told by ``read(tensor)`` when a tensor's values go to the host


host = _Host()

LEAF = object()
"""The edge of a leaf that requires a gradient."""


class Kind:
    """What ops go by before they look at values: backend, shape and dtype.

    There is one object for all tensors of a kind, so that a call can be looked up by those of its
    arguments.
    """

    __slots__ = ("backend", "dtype", "shape")

    def __init__(self, backend: Backend, shape: tuple[int, ...], dtype: Any) -> None:
        self.backend, self.shape, self.dtype = backend, shape, dtype


_kinds: dict[Any, Kind] = {}
MOST_KINDS = 4096


def kind_of(x: Tensor) -> Kind:
    """The tensor's kind, which it has from then on."""
    array, backend = x.array, x.backend
    key = backend, tuple(array.shape), array.dtype
    kind = _kinds.get(key)
    if kind is None:
        if len(_kinds) >= MOST_KINDS:
            _kinds.clear()  # those in use stay; a tensor of another object is only looked at anew
        kind = _kinds.setdefault(key, Kind(*key))
    x.kind = kind
    return kind


class Tensor:
    """An array on a device that ops can take and gradients can reach.

    Made by :func:`flagstone.tensor` and by ops. Arithmetic broadcasts as NumPy's does; dtypes are
    never mixed silently (``DTypeError``), devices neither (``DeviceMismatchError``).

    Attributes:
        array: the backend's array.
        backend: the opened backend it lives on.
        grad: after ``backward``, the gradient of a leaf: a tensor of the same shape, or ``None``.
        edge: where its gradient goes: ``(node, output)`` of the op call that made it, ``LEAF`` to
            :attr:`grad`, ``None`` nowhere.
        kind: backend, shape and dtype in one, once an op has looked; ``None`` before. Whoever gives
            a tensor another array sets it to ``None``.
    """

    __array_ufunc__ = None  # an array + a tensor is for the tensor to refuse, value * tensor to do
    __slots__ = ("__weakref__", "array", "backend", "edge", "grad", "kind")

    def __init__(self, array: Array, backend: Backend, requires_grad: bool = False) -> None:
        self.array = array
        self.backend = backend
        self.edge: Any = LEAF if requires_grad else None
        self.grad: Tensor | None = None
        self.kind: Kind | None = None

    # What it is

    @property
    def requires_grad(self) -> bool:
        """Whether ``backward`` should reach it."""
        return self.edge is not None

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if not value:
            self.edge = None
        elif self.edge is None:
            self.edge = LEAF

    @property
    def node(self) -> Node | None:
        """The op call that made it, where the tape keeps it."""
        return self.edge[0] if type(self.edge) is tuple else None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape)

    @property
    def dtype(self) -> Any:
        """The backend's dtype object; ``str`` of :attr:`dtype_name` is the portable form."""
        return self.array.dtype

    @property
    def dtype_name(self) -> str:
        """The dtype's name on every backend, such as ``"float32"``."""
        dtype = self.array.dtype
        return _names.get((type(dtype), dtype)) or _name_of(dtype)

    @property
    def ndim(self) -> int:
        return len(self.array.shape)

    @property
    def size(self) -> int:
        size = 1
        for n in self.array.shape:
            size *= n
        return size

    @property
    def device(self) -> Device:
        return self.backend.device

    def __len__(self) -> int:
        if not self.array.shape:
            raise InputError("len(): expected a tensor with at least one axis; got a scalar")
        return int(self.array.shape[0])

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        values = str(self.numpy()).replace("\n", "\n       ")
        grad = ", requires_grad=True" if self.requires_grad else ""
        return f"Tensor({values}, {self.dtype_name}, device={str(self.device)!r}{grad})"

    # To the host

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        """What ``numpy.asarray(x)`` asks for."""
        import numpy as np

        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def numpy(self) -> Any:
        """A NumPy array of the values; on the CPU it shares memory with the tensor."""
        if host.watcher is not None:
            host.watcher.read(self)
        return self.backend.to_numpy(self.array)

    def item(self) -> Scalar:
        """The one value as a Python number.

        Raises:
            InputError: the tensor holds more than one value.
        """
        if self.size != 1:
            raise InputError(f"item(): expected one value; got a tensor of shape {self.shape}")
        value: Scalar = self.numpy().item()
        return value

    def __bool__(self) -> bool:
        return bool(self.item())

    def __float__(self) -> float:
        return float(self.item())

    # Elsewhere

    def to(self, device: str | Device | Backend) -> Tensor:
        """The same values on ``device``; the tape does not follow."""
        from flagstone.backend import open_backend

        backend = open_backend(device)
        if backend is self.backend:
            return self
        return Tensor(backend.asarray(self.numpy()), backend)

    def detach(self) -> Tensor:
        """The same array, unknown to the tape."""
        return Tensor(self.array, self.backend)

    def backward(self, gradient: Tensor | None = None, *, retain_graph: bool = False) -> None:
        """Add to ``grad`` of every leaf below; see :func:`flagstone.tape.backward`."""
        differentiate(self, gradient, retain_graph=retain_graph)

    def accumulate_grad(self, gradient: Tensor) -> None:
        """Add ``gradient`` to :attr:`grad`; the tape calls it on leaves."""
        self.grad = gradient if self.grad is None else self.grad + gradient

    def place_for(self, _kind: Kind) -> Tensor | None:
        """Where a first gradient of that kind is to be written before it becomes :attr:`grad`;
        ``None`` where it is to be added."""
        return None

    # Arithmetic

    def __add__(self, other: Tensor | Scalar) -> Tensor:
        return operators.add(self, other)

    __radd__ = __add__

    def __sub__(self, other: Tensor | Scalar) -> Tensor:
        return operators.subtract(self, other)

    def __rsub__(self, other: Scalar) -> Tensor:
        return operators.subtract(other, self)

    def __mul__(self, other: Tensor | Scalar) -> Tensor:
        return operators.multiply(self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Tensor | Scalar) -> Tensor:
        return operators.divide(self, other)

    def __rtruediv__(self, other: Scalar) -> Tensor:
        return operators.divide(other, self)

    def __pow__(self, exponent: Scalar) -> Tensor:
        return operators.power(self, exponent=exponent)

    def __neg__(self) -> Tensor:
        return operators.negative(self)

    def __abs__(self) -> Tensor:
        return operators.abs(self)

    def __matmul__(self, other: Tensor) -> Tensor:
        return operators.matmul(self, other)

    # Comparison: element by element, so a tensor hashes by identity

    def __eq__(self, other: object) -> Any:
        return operators.equal(self, other)

    def __ne__(self, other: object) -> Any:
        return operators.not_equal(self, other)

    def __lt__(self, other: Tensor | Scalar) -> Tensor:
        return operators.less(self, other)

    def __le__(self, other: Tensor | Scalar) -> Tensor:
        return operators.less_equal(self, other)

    def __gt__(self, other: Tensor | Scalar) -> Tensor:
        return operators.greater(self, other)

    def __ge__(self, other: Tensor | Scalar) -> Tensor:
        return operators.greater_equal(self, other)

    __hash__ = object.__hash__

    # Shape and reduction

    def __getitem__(self, index: Any) -> Tensor:
        return operators.getitem(self, index)

    @property
    def T(self) -> Tensor:  # noqa: N802  # NumPy's name
        return operators.transpose(self)

    def reshape(self, *shape: int | tuple[int, ...]) -> Tensor:
        return operators.reshape(self, *shape)

    def transpose(self, *axes: int) -> Tensor:
        return operators.transpose(self, *axes)

    def sum(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        return operators.sum(self, axis=axis, keepdims=keepdims)

    def mean(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        return operators.mean(self, axis=axis, keepdims=keepdims)

    def max(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        return operators.max(self, axis=axis, keepdims=keepdims)

    def astype(self, dtype: str) -> Tensor:
        return operators.astype(self, dtype=dtype)


_names: dict[Any, str] = {}  # (type of the dtype, dtype) -> name; dtypes of two kinds may be equal


def _name_of(dtype: Any) -> str:
    """``"float32"`` of NumPy's ``float32``, ``array_api_strict.float32`` and ``torch.float32``."""
    name = _names[type(dtype), dtype] = str(dtype).rpartition(".")[2]
    return name
