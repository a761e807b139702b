"""The NumPy backend: everything on the CPU."""

from collections.abc import Iterator

from flagstone.plugins import BackendSpec, Probe, hookimpl


@hookimpl
def flagstone_backends() -> Iterator[BackendSpec]:
    yield BackendSpec(
        "numpy",
        "flagstone_numpy.backend:open_numpy",
        summary="the CPU, through NumPy",
        devices=("cpu",),
        probe="flagstone_numpy:probe",
        priority=0,
    )


def probe() -> Probe:
    """NumPy is a dependency, so it is always here."""
    return Probe(ok=True)
