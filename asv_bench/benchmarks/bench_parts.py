"""Every registered layer and optimizer."""

from .common import BACKENDS, _Timed, names_of


class Layer(_Timed):
    params = [names_of("layer"), BACKENDS]


class Optimizer(_Timed):
    params = [names_of("optimizer"), BACKENDS]
