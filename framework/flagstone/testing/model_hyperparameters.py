"""Whether a model's ``__init__`` only stores."""

from __future__ import annotations

import inspect
import typing
from typing import Any


class _Marker:
    """A value that nothing can be computed from."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<a value for {self.name}>"


def check_hyperparameters(model: Any) -> None:
    """Every hyper-parameter is stored as it came, is read and set by name, and copied.

    Args:
        model: the class.

    Raises:
        AssertionError: one is changed, checked or lost; the message names it.
    """
    names = list(model.hyperparameters())
    if forgotten := [name for name in _fields(model) if name not in names]:
        raise AssertionError(
            f"{forgotten[0]}: annotated like a hyper-parameter, and none; decorate the class with "
            "@dataclass(kw_only=True, eq=False, repr=False)"
        )
    markers = {name: _Marker(name) for name in names}
    try:
        made = model(**markers)
    except Exception as error:  # a stranger's code, any failure
        raise AssertionError(
            "__init__: expected to store any value and leave checks to check_hyperparameters, "
            f"which fit calls; got {type(error).__name__}: {error}"
        ) from error
    stored = vars(made)
    for name in names:
        if stored.get(name, getattr(made, name, None)) is not markers[name]:
            raise AssertionError(
                f"__init__: expected {name} to be stored as it was given; got "
                f"{getattr(made, name, 'no attribute of that name')!r}"
            )
    if extra := sorted(set(stored) - set(names)):
        raise AssertionError(
            f"__init__: expected to set nothing but hyper-parameters; got also {', '.join(extra)}"
        )
    defaults = model()
    for name, parameter in model.hyperparameters().items():
        if parameter.default is parameter.empty:
            raise AssertionError(f"{name}: expected a default; got none")
        if defaults.get_params()[name] is not parameter.default:
            raise AssertionError(
                f"{name}: expected the default {parameter.default!r} after __init__ without "
                f"arguments; got {defaults.get_params()[name]!r}"
            )
        if defaults.set_params(**{name: markers[name]}).get_params()[name] is not markers[name]:
            raise AssertionError(f"set_params: expected to set {name}; it did not")


def _fields(model: Any) -> list[str]:
    """What the class annotates and gives a value, as a dataclass does its fields."""
    own = vars(model)
    hints = typing.get_type_hints(model)
    return [
        name
        for name in inspect.get_annotations(model)
        if name in own and typing.get_origin(hints[name]) is not typing.ClassVar
    ]
