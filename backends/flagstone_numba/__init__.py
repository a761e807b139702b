"""Compiled kernels for the NumPy backend, by Numba; ``pip install "flagstone[fast]"``.

A plugin like any other, and the worked example of one that only adds kernels: it brings no backend
and no device. Without Numba it offers nothing. Numba is imported, and a kernel compiled, when that
kernel is first used; compiled code is kept on disk, so the next process loads it in milliseconds.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

from flagstone.plugins import KernelSpec, hookimpl

_WHERE = {
    "batch_norm": ("batch_norm", "batch_norm_grad", "batch_norm_relu"),
    "conv_pool": ("conv_max_pool_relu",),
    "conv": ("conv", "conv_input_grad", "conv_weight_bias_grad", "conv_weight_grad"),
    "elementwise": ("keep", "relu", "relu_grad"),
    "fused": (
        "add_relu", "axis_norm_relu", "conv_relu", "linear_relu",
        "max_pool_relu",
    ),
    "norm": ("axis_norm", "axis_norm_grad", "axis_rms_norm", "axis_rms_norm_grad"),
    "pool": ("max_pool", "max_pool_grad"),
    "reduction": ("sum",),
    "update": ("adam_update", "sgd_update"),
}  # fmt: skip


@hookimpl
def flagstone_kernels(backend: Any) -> Iterator[KernelSpec]:
    if backend.name != "numpy" or importlib.util.find_spec("numba") is None:
        return
    for module, names in _WHERE.items():
        for name in names:
            yield KernelSpec(name, f"flagstone_numba.kernels.{module}:{name}", overrides=True)
