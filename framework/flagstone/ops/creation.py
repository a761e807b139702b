"""Making tensors from host data."""

from __future__ import annotations

from typing import Any

import numpy as np

from flagstone.backend import Backend, open_backend
from flagstone.devices import Device
from flagstone.errors import DTypeError, InputError
from flagstone.ops.checks import DTYPES
from flagstone.tensors import Tensor


def tensor(
    data: Any,
    *,
    dtype: str | None = None,
    device: str | Device | Backend | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of host data: an array, a number, or nested lists of numbers.

    Args:
        data: what to copy to the device (on the CPU an array is shared, not copied).
        dtype: a name such as ``"float64"``. By default an array keeps its own, and Python floats
            become float32, integers int64, truth values bool.
        device: ``cpu``, ``cuda:1``, ...; the default device if not given.
        requires_grad: whether ``backward`` should reach it.

    Raises:
        DTypeError: the data are not numbers, no such dtype, or gradients are asked of integers.
        InputError: nested lists of unequal lengths.
        UnavailableError, UnknownNameError: the device cannot be had.
    """
    if isinstance(data, Tensor):
        raise DTypeError("tensor: data expected host data; got a Tensor. Use x.to(...), x.detach()")
    backend = open_backend(device)
    if dtype is not None and (dtype not in DTYPES or not hasattr(backend.xp, dtype)):
        known = ", ".join(name for name in DTYPES if hasattr(backend.xp, name))
        raise DTypeError(f"tensor: dtype expected one of {known}; got {dtype!r}")
    if not hasattr(data, "dtype"):
        try:
            data = np.asarray(data)
        except ValueError as error:  # NumPy's word for ragged lists
            raise InputError(f"tensor: data expected lists of equal lengths; {error}") from None
        if data.dtype == np.float64:
            data = data.astype(np.float32)
    if isinstance(data, (np.ndarray, np.generic)) and data.dtype.kind not in "fiub":
        raise DTypeError(f"tensor: data expected numbers; got dtype {data.dtype}")
    out = Tensor(backend.asarray(data, dtype), backend, requires_grad)
    if requires_grad and "float" not in out.dtype_name:
        raise DTypeError(
            f"tensor: requires_grad expected a floating-point dtype; got {out.dtype_name}"
        )
    return out
