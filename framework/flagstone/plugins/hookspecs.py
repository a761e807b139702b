"""The hooks that a plugin may implement; each marks its function with :data:`hookimpl`.

A hook that hands over specs yields them, or returns a list of them. Plugins are asked one by
one and cannot see each other: pluggy's ``tryfirst``, ``trylast`` and wrappers do nothing across
plugins. Names beginning with ``flagstone_`` are reserved for hooks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pluggy

from flagstone.plugins.specs import (
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
    ScheduleSpec,
)

PROJECT = "flagstone"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def flagstone_backends() -> Iterable[BackendSpec]:
    """Array libraries with their devices. The entry module must not import the array library."""
    return ()


@hookspec
def flagstone_models() -> Iterable[ModelSpec]:
    """Estimators."""
    return ()


@hookspec
def flagstone_layers() -> Iterable[LayerSpec]:
    """Layers."""
    return ()


@hookspec
def flagstone_losses() -> Iterable[LossSpec]:
    """Losses."""
    return ()


@hookspec
def flagstone_metrics() -> Iterable[MetricSpec]:
    """Metrics."""
    return ()


@hookspec
def flagstone_optimizers() -> Iterable[OptimizerSpec]:
    """Optimizers."""
    return ()


@hookspec
def flagstone_schedules() -> Iterable[ScheduleSpec]:
    """Schedules of the learning rate."""
    return ()


@hookspec
def flagstone_augmentations() -> Iterable[AugmentationSpec]:
    """Random changes of batches of images while training."""
    return ()


@hookspec
def flagstone_datasets() -> Iterable[DatasetSpec]:
    """Datasets that can be named in place of a path."""
    return ()


@hookspec
def flagstone_engines() -> Iterable[EngineSpec]:
    """Engines."""
    return ()


@hookspec
def flagstone_kernels(backend: Any) -> Iterable[KernelSpec] | None:
    """Kernels for ``backend`` (a ``flagstone.backend.Backend``), asked once when it is opened.

    ``None`` means none for this backend. A kernel that replaces the backend's own says
    ``overrides=True``.
    """
    return None


@hookspec
def flagstone_callbacks(run: Any) -> Iterable[CallbackSpec] | None:
    """Callbacks for ``run``, asked once before it starts. ``None`` means none for this run."""
    return None


@hookspec
def flagstone_commands(cli: Any) -> None:
    """Add commands to ``cli``, an empty ``click.Group``.

    What was added is appended to flagstone's own commands, of which none can be replaced.
    """
