"""A card that starts no kernel: what a step would launch, counted on any machine."""

import contextlib

import numpy as np

NAME = "blank"


class BlankRunner:
    """Takes launches and runs none; arrays are NumPy's."""

    def empty(self, shape, dtype):
        return np.ones(shape, dtype)

    def is_here(self, a):
        return isinstance(a, np.ndarray | np.generic)

    def copy(self, to, a):
        to[...] = a

    def run(self, kernel, grid, block, shared, arguments):
        pass


@contextlib.contextmanager
def launches():
    """Within it a device named ``blank`` has CUDA's kernels; yields the growing list of launches.

    Raises:
        NotImplementedError: this commit has no CUDA kernels that can be counted so.
    """
    try:
        from flagstone import plugins
        from flagstone_cupy import launch
        from flagstone_cupy.table import KERNELS
    except ImportError as error:
        raise NotImplementedError(f"no CUDA kernels: {error}") from None
    assert KERNELS
    before = launch.install(BlankRunner())
    plugins.register(BlankPlugin(), NAME)
    try:
        with launch.recording() as seen:
            yield seen
    finally:
        plugins.unregister(NAME)
        launch.install(before)


class BlankPlugin:
    """The device ``blank``."""

    def __init__(self):
        from flagstone.plugins import hookimpl

        type(self).flagstone_backends = hookimpl(_backends)


def _backends(self):
    from flagstone.plugins import BackendSpec

    yield BackendSpec(
        NAME, f"{__name__}:open_blank", summary="counts launches", devices=(NAME,), priority=-9
    )


def open_blank(index):
    """A backend with CUDA's kernels on NumPy's arrays."""
    from flagstone.backend import Backend
    from flagstone.devices import Device
    from flagstone_cupy.table import KERNELS

    class Blank(Backend):
        name = NAME
        xp = np
        kernels = KERNELS

        def asarray(self, x, dtype=None):
            return np.asarray(x, dtype=dtype)

    return Blank(Device(NAME, index))
