"""Reading data; saving and loading."""

from .common import _Timed


class Data(_Timed, group="data", each="file"):
    pass


class Checkpoint(_Timed, group="checkpoint", each="way"):
    pass


class ModelFile(_Timed, group="model-file", each="way"):
    pass
