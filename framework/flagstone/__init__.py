"""flagstone: deep learning on NumPy and CuPy in which every part is a plugin.

The public face is lazy (PEP 562): importing this imports nothing else; a name is imported when it
is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from flagstone import augment as augment
    from flagstone import data as data
    from flagstone import losses as losses
    from flagstone import metrics as metrics
    from flagstone import nn as nn
    from flagstone import ops as ops
    from flagstone import optim as optim
    from flagstone import plugins as plugins
    from flagstone import random as random
    from flagstone import schedules as schedules
    from flagstone.capturing import capture as capture
    from flagstone.devices import device as device
    from flagstone.devices import set_device as set_device
    from flagstone.errors import FlagstoneError as FlagstoneError
    from flagstone.estimator import Classifier as Classifier
    from flagstone.estimator import Estimator as Estimator
    from flagstone.estimator import ImageClassifier as ImageClassifier
    from flagstone.estimator import Regressor as Regressor
    from flagstone.estimator import Spec as Spec
    from flagstone.estimator import load as load
    from flagstone.estimator import model as model
    from flagstone.ops.creation import tensor as tensor
    from flagstone.plugins import AugmentationSpec as AugmentationSpec
    from flagstone.plugins import BackendSpec as BackendSpec
    from flagstone.plugins import CallbackSpec as CallbackSpec
    from flagstone.plugins import DatasetSpec as DatasetSpec
    from flagstone.plugins import EngineSpec as EngineSpec
    from flagstone.plugins import KernelSpec as KernelSpec
    from flagstone.plugins import LayerSpec as LayerSpec
    from flagstone.plugins import LossSpec as LossSpec
    from flagstone.plugins import MetricSpec as MetricSpec
    from flagstone.plugins import ModelSpec as ModelSpec
    from flagstone.plugins import OptimizerSpec as OptimizerSpec
    from flagstone.plugins import ScheduleSpec as ScheduleSpec
    from flagstone.plugins import hookimpl as hookimpl
    from flagstone.tape import enable_grad as enable_grad
    from flagstone.tape import grad as grad
    from flagstone.tape import no_grad as no_grad
    from flagstone.tensors import Tensor as Tensor
    from flagstone.training import Callback as Callback
    from flagstone.training import Trainer as Trainer

_MODULES = (
    "augment", "data", "losses", "metrics", "nn", "ops", "optim", "plugins", "random", "schedules",
    "testing",
)  # fmt: skip
_PLACES = {
    "flagstone.capturing": ("capture",),
    "flagstone.devices": ("device", "set_device"),
    "flagstone.errors": ("FlagstoneError",),
    "flagstone.estimator": (
        "Classifier", "Estimator", "ImageClassifier", "Regressor", "Spec", "load", "model",
    ),
    "flagstone.ops.creation": ("tensor",),
    "flagstone.plugins": (
        "AugmentationSpec", "BackendSpec", "CallbackSpec", "DatasetSpec", "EngineSpec",
        "KernelSpec", "LayerSpec", "LossSpec", "MetricSpec", "ModelSpec", "OptimizerSpec",
        "ScheduleSpec", "hookimpl",
    ),
    "flagstone.tape": ("enable_grad", "grad", "no_grad"),
    "flagstone.tensors": ("Tensor",),
    "flagstone.training": ("Callback", "Trainer"),
}  # fmt: skip
_WHERE = {name: module for module, names in _PLACES.items() for name in names}

__all__ = [  # derived from the table above
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
