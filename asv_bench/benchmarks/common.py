"""A group of the catalogue as a class that asv times."""

import contextlib
import importlib

from flagstone.backend import open_backend
from flagstone.benchmarking.catalogue import catalogue
from flagstone.errors import UnavailableError, UnknownNameError
from flagstone.plugins import registry

for module in ("numba", "flagstone.testing"):  # once, for asv forks for each benchmark
    with contextlib.suppress(ImportError):
        importlib.import_module(module)

try:
    BACKENDS = [spec.name for spec in registry.specs("backend")]  # plugins' too
except Exception:  # noqa: BLE001 - of an old commit, any; asv lists with the newest
    BACKENDS = ["numpy"]


def opened(backend):
    """The backend of that name; asv skips the benchmark where it does not work."""
    try:
        return open_backend(backend)
    except (UnavailableError, UnknownNameError) as error:
        raise NotImplementedError(str(error)) from None


def names_of(*groups):
    """The names in the catalogue that begin so."""
    return [name for name in catalogue() if name.split("/")[0] in groups]


class _Timed:
    """A base: parameters are names in the catalogue and backends."""

    param_names = ["name", "backend"]
    warmup_time = 0.05

    def setup(self, name, backend):
        device = opened(backend)
        if name not in catalogue():
            raise NotImplementedError(f"{name} is not in this commit")
        self.run = catalogue()[name].prepare(device)
        self.synchronize = device.synchronize
        for _ in range(2):  # kernels compile, steps are recorded
            self.run()
        self.synchronize()

    def time_call(self, name, backend):
        self.run()
        self.synchronize()
