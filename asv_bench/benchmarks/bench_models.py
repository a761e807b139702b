"""Every registered model, a plugin's too: a step, a fit, predictions; epochs; memory."""

from .common import BACKENDS, _Timed, names_of, opened, prepared


class Step(_Timed, group="step", each="model"):
    pass


class Fit(_Timed, group="fit", each="model"):
    pass


class Predict(_Timed, group="predict", each="model"):
    pass


class Epoch(_Timed, group="epoch", each="model"):
    pass


class Memory:
    """The highest memory of a process that fits a model."""

    params = [names_of("fit"), BACKENDS]
    param_names = ["model", "backend"]

    def setup(self, model, backend):
        self.run = prepared(f"fit/{model}", opened(backend))

    def peakmem_fit(self, model, backend):
        self.run()

    peakmem_fit.pretty_name = "memory of a fit"
