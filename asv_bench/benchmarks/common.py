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
    _specs = registry.specs("backend")  # plugins' too
except Exception:  # noqa: BLE001 - of an old commit, any; asv lists with the newest
    _specs = ()
_others = [spec.name for spec in _specs if spec.name != "numpy"]
BACKENDS = ["numpy", *_others]  # the page shows the first


def opened(backend):
    """The backend of that name; asv skips the benchmark where it does not work."""
    try:
        return open_backend(backend)
    except (UnavailableError, UnknownNameError) as error:
        raise NotImplementedError(str(error)) from None


def names_of(group):
    """What the catalogue has after ``group/``."""
    return [name.partition("/")[2] for name in catalogue() if name.startswith(f"{group}/")]


def prepared(name, device):
    """What is to be timed of a benchmark of the catalogue."""
    if name not in catalogue():
        raise NotImplementedError(f"{name} is not in this commit")
    return catalogue()[name].prepare(device)


class _Timed:
    """A base: parameters are what a group of the catalogue has, and backends.

    Args:
        group: of the catalogue.
        each: what the page calls one of it.
    """

    warmup_time = 0.05

    def __init_subclass__(cls, *, group, each):
        def setup(self, name, backend):
            device = opened(backend)
            self.run = prepared(f"{group}/{name}", device)
            self.synchronize = device.synchronize
            for _ in range(2):  # kernels compile, steps are recorded
                self.run()
            self.synchronize()

        def time_call(self, name, backend):
            self.run()
            self.synchronize()

        time_call.pretty_name = group  # one title for each, not time_call for all
        cls.setup, cls.time_call = setup, time_call
        cls.params, cls.param_names = [names_of(group), BACKENDS], [each, "backend"]
