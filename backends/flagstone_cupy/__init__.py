"""The CuPy backend: everything on an NVIDIA card.

This module must stay free of cupy, whose import costs half a second on machines that have it.
"""

from collections.abc import Iterator

from flagstone.plugins import BackendSpec, hookimpl


@hookimpl
def flagstone_backends() -> Iterator[BackendSpec]:
    yield BackendSpec(
        "cupy",
        "flagstone_cupy.opening:open_cupy",
        summary="NVIDIA cards, through CuPy",
        devices=("cuda",),
        probe="flagstone_cupy.probe:probe",
        priority=100,
    )
