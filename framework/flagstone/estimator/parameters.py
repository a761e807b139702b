"""Hyper-parameters: what a model's ``__init__`` takes, read, set and checked."""

from __future__ import annotations

import dataclasses
import inspect
import numbers
import types
import typing
from collections.abc import Mapping
from typing import Any

from flagstone.errors import ConfigurationError
from flagstone.named import is_number
from flagstone.named import require_known as require_known_names


class Hyperparameters:
    """scikit-learn's ``get_params`` and ``set_params`` where ``__init__`` only stores."""

    @classmethod
    def hyperparameters(cls) -> dict[str, inspect.Parameter]:
        """Name -> parameter of ``__init__``, its annotation resolved to a type."""
        hints = typing.get_type_hints(cls)  # each resolved in the module that writes it
        if not _is_generated(cls.__init__, cls):
            hints |= typing.get_type_hints(cls.__init__)
        given = list(inspect.signature(cls.__init__).parameters.values())[1:]
        return {p.name: p.replace(annotation=hints.get(p.name, Any)) for p in given}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Name -> value of every hyper-parameter."""
        return {name: getattr(self, name) for name in self.hyperparameters()}

    def set_params(self, **params: Any) -> Any:
        """Change hyper-parameters; returns the model itself.

        Raises:
            ConfigurationError: the model has none of that name.
        """
        require_known(type(self).__name__, params, self.hyperparameters())
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def check_types(self) -> None:
        """Every hyper-parameter has a value of its annotated type.

        Raises:
            ConfigurationError: one has not; the message names it.
        """
        for name, p in self.hyperparameters().items():
            value = getattr(self, name)
            if not _is_of(value, p.annotation):
                wanted = getattr(p.annotation, "__name__", None) or str(p.annotation)
                if typing.get_origin(p.annotation) is not None:
                    wanted = str(p.annotation)
                raise ConfigurationError(
                    f"{type(self).__name__}: {name} expected {wanted}; got {value!r}"
                )

    def __repr__(self) -> str:
        changed = [
            f"{name}={getattr(self, name)!r}"
            for name, p in self.hyperparameters().items()
            if repr(getattr(self, name)) != repr(p.default)
        ]
        return f"{type(self).__name__}({', '.join(changed)})"


def require_known(owner: str, params: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    """Raise unless every name in ``params`` is a hyper-parameter of ``owner``."""
    require_known_names(owner, "hyper-parameter", params, sorted(known))


def _is_generated(init: Any, cls: type) -> bool:
    """Whether a dataclass's fields are all that its ``__init__`` takes, as they are written."""
    known = dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
    types_ = {field.name: field.type for field in known}
    return all(types_.get(n) == a for n, a in init.__annotations__.items() if n != "return")


def _is_of(value: Any, annotation: Any) -> bool:
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(_is_of(value, part) for part in typing.get_args(annotation))
    if origin is typing.Literal:
        return value in typing.get_args(annotation)
    if origin is tuple:
        inner, *rest = typing.get_args(annotation)
        return isinstance(value, (tuple, list)) and (
            rest != [...] or all(_is_of(v, inner) for v in value)
        )
    if annotation is Any:
        return True
    if annotation is None or annotation is type(None):
        return value is None
    if annotation is bool:
        return isinstance(value, bool) or type(value).__name__ == "bool_"
    if annotation is int:
        return isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if annotation is float:
        return is_number(value)
    return not isinstance(annotation, type) or isinstance(value, annotation)
