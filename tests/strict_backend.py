"""A third backend: array-api-strict, which refuses whatever the array API standard leaves open.

No kernels: every op runs in its generic form. It is as long as a new backend has to be.
"""

from __future__ import annotations

from typing import Any

import array_api_strict
import numpy as np

from flagstone.backend import Backend
from flagstone.devices import Device
from flagstone.plugins import BackendSpec, hookimpl


class StrictBackend(Backend):
    """array_api_strict on the CPU."""

    name = "strict"
    xp = array_api_strict


class GenericNumpy(Backend):
    """NumPy without kernels."""

    name = "generic"
    xp = np


def open_strict(index: int | None) -> StrictBackend:
    return StrictBackend(Device("strict", index))


class StrictPlugin:
    """What the distribution of such a backend names as its entry point."""

    @hookimpl
    def flagstone_backends(self) -> Any:
        yield BackendSpec(
            "strict",
            f"{__name__}:open_strict",
            summary="array-api-strict",
            devices=("strict",),
            priority=-1,
        )
