"""Breiman's digits on a faulty display, as a dataset of flagstone."""

from collections.abc import Iterator

from flagstone.plugins import DatasetSpec, hookimpl


@hookimpl
def flagstone_datasets() -> Iterator[DatasetSpec]:
    yield DatasetSpec(
        "led",
        "flagstone_led.dataset:load",
        task="classification",
        summary="digits on a display whose seven lights fail one time in ten",
    )
