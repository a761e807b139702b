"""Which ops have a CUDA kernel; every other op runs in its generic form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flagstone_cupy.kernels import elementwise

_FUNCTIONS: tuple[Callable[..., Any], ...] = (elementwise.relu,)

KERNELS: Mapping[str, Callable[..., Any]] = {f.__name__: f for f in _FUNCTIONS}
