"""Whether names and the attributes of layers are as they were when a captured step was recorded.

A replay runs no Python, so it would not see ``dropout.p = 0.1``. Setting or deleting any attribute
of any layer puts a new object in :attr:`Changes.token`; before a replay one comparison asks for it.
Only if it is another one are the attributes looked at. What can change in place, such as a list, is
looked at before every replay, and so are the variables that a step takes from outside of itself.
"""

from __future__ import annotations

import dis
import inspect
import types
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from flagstone.backend import Backend
from flagstone.tensors import Tensor

ATOMS = (type(None), bool, int, float, complex, str, bytes)
PASSIVE = {"flat", "flat_buffers", "_ready", "training", "seed", "path"}
"""Attributes of which no ``forward`` knows, for parameters move where they change; and those that
every layer has, set or not."""


class Changes:
    """Attributes:
    token: another object after every change of a layer's attributes.
    """

    token: object = object()


class Same:
    """Equal to another one of the same object."""

    __slots__ = ("_it",)

    def __init__(self, it: Any) -> None:
        self._it = it

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self._it is other._it

    def __hash__(self) -> int:
        return id(self._it)


def frozen(value: Any, deep: bool = True) -> Any:
    """What equals that of another value if the two are alike: numbers and strings by value, lists,
    tuples, dicts, sets and NumPy arrays by contents, another object by being the same with, where
    ``deep``, the same attributes, and a tensor, a layer, an op, a function or a class by being the
    same.
    """
    kind = type(value)
    if kind in ATOMS:
        return kind, value
    if kind in (list, tuple):
        return kind, [frozen(item, deep) for item in value]
    if kind is dict:
        return kind, [(key, frozen(item, deep)) for key, item in value.items()]
    if kind in (set, frozenset):
        return kind, frozenset(value)
    if kind is np.ndarray:
        return kind, value.dtype, value.shape, value.strides, value.tobytes()
    if deep and _has_state(value):
        return Same(value), {name: frozen(item, False) for name, item in vars(value).items()}
    return Same(value)


def _has_state(value: Any) -> bool:
    """Whether it is an object of a class that somebody else wrote, with attributes."""
    known = (Tensor, Backend, type, types.FunctionType, types.MethodType, types.ModuleType)
    if isinstance(value, known) or hasattr(value, "named_layers"):
        return False
    return hasattr(value, "__dict__") and not type(value).__module__.startswith("flagstone.")


def _can_change_in_place(value: Any) -> bool:
    if type(value) is tuple:
        return any(map(_can_change_in_place, value))
    return type(value) in (list, dict, set, np.ndarray) or _has_state(value)


class Watched:
    """Layers, and what their attributes were.

    Attributes:
        token: the :attr:`Changes.token` for which that is known to hold.
        moving: the values that may change in place, and what they are to equal, :func:`frozen`; a
            list of layers, numbers or strings is to equal a list.
    """

    def __init__(self, layers: Iterable[Any]) -> None:
        self._states = [(layer, _modes(layer), _own(layer)) for layer in layers]
        self.token = Changes.token
        self.moving = [
            (value, [*value] if _is_plain(value) else frozen(value))
            for _, _, own in self._states
            for value in own.values()
            if _can_change_in_place(value)
        ]

    def holds(self) -> bool:
        """Whether all attributes are as they were; what changes in place must be the same object,
        which is looked at by itself."""
        token = Changes.token
        for layer, modes, own in self._states:
            if _modes(layer) != modes:
                return False
            now = _own(layer)
            if len(now) != len(own):
                return False
            for name, value in now.items():
                before = own.get(name, self)
                if value is not before and not _alike(value, before):
                    return False
        self.token = token
        return True


def _modes(layer: Any) -> tuple[Any, ...]:
    return layer.training, layer.seed, layer.path


def _own(layer: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(layer).items() if name not in PASSIVE}


def _alike(value: Any, before: Any) -> bool:
    is_moving = _can_change_in_place(value) or _can_change_in_place(before)
    return not is_moving and bool(frozen(value) == frozen(before))


def _is_plain(value: Any) -> bool:
    return type(value) is list and all(
        type(item) in ATOMS or hasattr(item, "named_layers") for item in value
    )


def variables(step: Any) -> Iterator[tuple[Any, str, Any]]:
    """The variables outside of a function that it looks up, and that functions of its module do
    which are among them: ``(namespace, name, value)`` of a global one, ``(cell, "", value)`` of one
    of an enclosing function. Modules are left out, and all variables of flagstone's own functions.
    """
    seen: list[Any] = []
    outermost = _innermost(step)
    waiting = [] if outermost is None else [outermost]
    while waiting:
        function = waiting.pop()
        if function in seen or (function.__module__ or "").startswith("flagstone."):
            continue
        seen.append(function)
        space = function.__globals__
        found = [
            (cell, "", cell.cell_contents) for cell in function.__closure__ or () if _full(cell)
        ]
        found += [(space, name, space[name]) for name in _names(function.__code__) if name in space]
        for at, name, value in found:
            if not isinstance(value, types.ModuleType):
                yield at, name, value
            inner = _innermost(value)
            if inner is not None and inner.__globals__ is space:
                waiting.append(inner)


def _innermost(x: Any) -> Any:
    """The function that was written where ``x`` is called, ``None`` where that is not known."""
    x = inspect.unwrap(getattr(x, "__func__", x)) if callable(x) else None
    return x if isinstance(x, types.FunctionType) else None


def _full(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018  # empty, it raises
    except ValueError:
        return False
    return True


def _names(code: types.CodeType) -> dict[str, None]:
    """The global names that code, and functions defined in it, look up, in order."""
    names = {x.argval: None for x in dis.get_instructions(code) if x.opname == "LOAD_GLOBAL"}
    for part in code.co_consts:
        if isinstance(part, types.CodeType):
            names |= _names(part)
    return names
