"""Reading data; saving and loading."""

from .common import BACKENDS, _Timed, names_of


class Data(_Timed):
    params = [names_of("data"), BACKENDS]


class Checkpoint(_Timed):
    params = [names_of("checkpoint"), BACKENDS]


class ModelFile(_Timed):
    params = [names_of("model-file"), BACKENDS]
