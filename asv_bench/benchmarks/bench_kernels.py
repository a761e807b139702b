"""Kernel families small, large and backward, and every op."""

from .common import BACKENDS, _Timed, names_of


class Kernel(_Timed):
    params = [names_of("kernel"), BACKENDS]


class Op(_Timed):
    params = [names_of("op"), BACKENDS]
