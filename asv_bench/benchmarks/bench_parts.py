"""Every registered layer and optimizer."""

from .common import _Timed


class Layer(_Timed, group="layer", each="layer"):
    pass


class Optimizer(_Timed, group="optimizer", each="optimizer"):
    pass
