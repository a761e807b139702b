"""What a plugin's author imports: the hook marker, the specs, and the registry.

Example:
    A plugin is a module named by an entry point in the group ``flagstone``::

        from flagstone.plugins import ModelSpec, hookimpl

        @hookimpl
        def flagstone_models():
            yield ModelSpec("my-model", "my_package.model:MyModel", task="classification")

Importing this scans nothing; the installed plugins are found at the registry's first look-up.
"""

from __future__ import annotations

from flagstone.plugins import registry
from flagstone.plugins.hookspecs import hookimpl
from flagstone.plugins.registry import (
    PluginWarning,
    Registry,
    register,
    unregister,
)
from flagstone.plugins.rows import ProviderRow
from flagstone.plugins.specs import (
    KINDS,
    AugmentationSpec,
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
    Probe,
    Provider,
    ScheduleSpec,
    Spec,
)

__all__ = [
    "KINDS",
    "AugmentationSpec",
    "BackendSpec",
    "CallbackSpec",
    "DatasetSpec",
    "EngineSpec",
    "KernelSpec",
    "LayerSpec",
    "LossSpec",
    "MetricSpec",
    "ModelSpec",
    "OptimizerSpec",
    "PluginWarning",
    "Probe",
    "Provider",
    "ProviderRow",
    "Registry",
    "ScheduleSpec",
    "Spec",
    "hookimpl",
    "register",
    "registry",
    "unregister",
]
