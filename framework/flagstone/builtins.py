"""The core's own plugin: its layers, losses, optimizers and other parts by name.

They come in by the hooks that any plugin uses, and have no privilege that a stranger's lack. What a
package registers stands where it says what it exports; it is imported when first asked for.
"""

from __future__ import annotations

from collections.abc import Iterator

from flagstone.plugins import (
    AugmentationSpec,
    LayerSpec,
    LossSpec,
    MetricSpec,
    OptimizerSpec,
    ScheduleSpec,
    hookimpl,
)


@hookimpl
def flagstone_layers() -> Iterator[LayerSpec]:
    from flagstone.nn import REGISTERED

    for name, attribute, summary in REGISTERED:
        yield LayerSpec(name, f"flagstone.nn:{attribute}", summary=summary)


@hookimpl
def flagstone_losses() -> Iterator[LossSpec]:
    from flagstone.losses import REGISTERED

    for name, attribute, summary in REGISTERED:
        yield LossSpec(name, f"flagstone.losses:{attribute}", summary=summary)


@hookimpl
def flagstone_metrics() -> Iterator[MetricSpec]:
    from flagstone.metrics import REGISTERED

    for name, attribute, summary in REGISTERED:
        yield MetricSpec(name, f"flagstone.metrics:{attribute}", summary=summary)


@hookimpl
def flagstone_optimizers() -> Iterator[OptimizerSpec]:
    from flagstone.optim import REGISTERED

    for name, attribute, summary in REGISTERED:
        yield OptimizerSpec(name, f"flagstone.optim:{attribute}", summary=summary)


@hookimpl
def flagstone_schedules() -> Iterator[ScheduleSpec]:
    from flagstone.schedules import REGISTERED

    for name, attribute, summary in REGISTERED:
        yield ScheduleSpec(name, f"flagstone.schedules:{attribute}", summary=summary)


@hookimpl
def flagstone_augmentations() -> Iterator[AugmentationSpec]:
    from flagstone.augment import REGISTERED

    for name, attribute, summary in REGISTERED:
        yield AugmentationSpec(name, f"flagstone.augment:{attribute}", summary=summary)
