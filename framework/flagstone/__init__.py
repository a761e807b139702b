"""flagstone: deep learning on NumPy and CuPy in which every part is a plugin.

The public face is lazy (PEP 562): importing this imports nothing else; a name is imported when it
is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from flagstone import data, losses, metrics, nn, ops, optim, plugins, random, schedules
    from flagstone.devices import device, set_device
    from flagstone.errors import FlagstoneError
    from flagstone.estimator import Classifier, Estimator, Regressor, Spec, load, model
    from flagstone.ops.creation import tensor
    from flagstone.plugins import (
        BackendSpec,
        CallbackSpec,
        DatasetSpec,
        EngineSpec,
        KernelSpec,
        LayerSpec,
        LossSpec,
        MetricSpec,
        ModelSpec,
        OptimizerSpec,
        ScheduleSpec,
        hookimpl,
    )
    from flagstone.tape import enable_grad, grad, no_grad
    from flagstone.tensors import Tensor
    from flagstone.training import Callback, Trainer

_MODULES = (
    "data", "losses", "metrics", "nn", "ops", "optim", "plugins", "random", "schedules", "testing"
)  # fmt: skip
_PLACES = {
    "flagstone.devices": ("device", "set_device"),
    "flagstone.errors": ("FlagstoneError",),
    "flagstone.estimator": ("Classifier", "Estimator", "Regressor", "Spec", "load", "model"),
    "flagstone.ops.creation": ("tensor",),
    "flagstone.plugins": (
        "BackendSpec", "CallbackSpec", "DatasetSpec", "EngineSpec", "KernelSpec", "LayerSpec",
        "LossSpec", "MetricSpec", "ModelSpec", "OptimizerSpec", "ScheduleSpec", "hookimpl",
    ),
    "flagstone.tape": ("enable_grad", "grad", "no_grad"),
    "flagstone.tensors": ("Tensor",),
    "flagstone.training": ("Callback", "Trainer"),
}  # fmt: skip
_WHERE = {name: module for module, names in _PLACES.items() for name in names}

__all__ = [  # noqa: PLE0604, RUF022  # derived from the table above
    "__version__", *_MODULES, *_WHERE,
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        value = getattr(importlib.import_module(_WHERE[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"flagstone.{name}")
    else:
        raise AttributeError(f"module 'flagstone' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
