"""Kernel families small, large and backward, and every op small and large."""

from .common import _Timed


class Kernel(_Timed, group="kernel", each="kernel"):
    pass


class Op(_Timed, group="op", each="op"):
    pass
