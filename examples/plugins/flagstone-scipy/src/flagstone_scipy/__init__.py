"""SciPy's special functions as kernels of flagstone's NumPy backend."""

from __future__ import annotations

import typing

from flagstone.plugins import KernelSpec, hookimpl

if typing.TYPE_CHECKING:
    from flagstone.backend import Backend

OPS = ("erf", "normal_cdf")


@hookimpl
def flagstone_kernels(backend: Backend) -> list[KernelSpec]:
    if backend.name != "numpy":
        return []
    return [KernelSpec(op, f"flagstone_scipy.kernels:{op}", "SciPy's", ("scipy",)) for op in OPS]
