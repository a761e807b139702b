"""Every registered model, a plugin's too: a step, a fit, predictions; epochs; memory."""

from flagstone.benchmarking.catalogue import catalogue

from .common import BACKENDS, _Timed, names_of, opened


class Step(_Timed):
    params = [names_of("step"), BACKENDS]


class Fit(_Timed):
    params = [names_of("fit"), BACKENDS]


class Predict(_Timed):
    params = [names_of("predict"), BACKENDS]


class Epoch(_Timed):
    params = [names_of("epoch"), BACKENDS]


class Memory:
    """The highest memory of a process that fits a model."""

    params = [names_of("fit"), BACKENDS]
    param_names = ["name", "backend"]

    def setup(self, name, backend):
        self.run = catalogue()[name].prepare(opened(backend))

    def peakmem_fit(self, name, backend):
        self.run()
