"""The kernels: flagstone's own forms are rational approximations in many passes over an array."""

from __future__ import annotations

import typing

import numpy as np
import numpy.typing as npt
from flagstone.backend import declines
from scipy import special

Array = npt.NDArray[typing.Any]
DTYPES = (np.float32, np.float64)  # those that SciPy's loops are compiled for


@declines
def erf(x: Array) -> Array:
    """The error function."""
    return _apply(special.erf, x)


@declines
def normal_cdf(x: Array) -> Array:
    """How likely a standard normal number is below ``x``."""
    return _apply(special.ndtr, x)


def _apply(function: typing.Any, x: Array) -> typing.Any:
    if x.dtype not in DTYPES:
        return NotImplemented
    return function(x, out=np.empty_like(x))
