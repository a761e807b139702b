"""A model's hyper-parameters as options: how their values are written and read.

A value is written as text on the command line and in the environment, and as a TOML value in a
configuration file. The annotation in the model's ``__init__`` says how it is read: ``int``,
``float``, ``str``, ``bool``, ``Literal``, a tuple (``256,256``), a union of these, and ``none``
where ``None`` is allowed. Without a usable annotation the default's type says it.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flagstone.cli.docstrings import documented
from flagstone.errors import ConfigurationError

NONE = "none"
_SWITCH = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
# In a union the narrower type is tried first; text takes anything, so it is last.
_ORDER: dict[Any, int] = {type(None): 0, int: 1, float: 2, bool: 3, str: 5}


@dataclass(frozen=True)
class Hyperparameter:
    """One argument of a model's ``__init__``.

    Attributes:
        name: as in Python, such as ``weight_decay``.
        annotation: its type.
        default: its value when nobody says.
        help: one line for people; may be empty.
    """

    name: str
    annotation: Any
    default: Any
    help: str = ""

    @property
    def flag(self) -> str:
        """The option, such as ``--weight-decay``."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def is_switch(self) -> bool:
        """Whether it is on or off and nothing else."""
        return self.annotation is bool

    @property
    def metavar(self) -> str:
        """What stands for the value in a help text."""
        names = [_METAVARS.get(member, "") for member in _narrowed(self.annotation)]
        if any(_is_sequence(member) for member in _members(self.annotation)):
            return "N,N,..."
        choices = [c for m in _members(self.annotation) for c in _choices(m)]
        return "|".join(map(str, choices)) or next((name for name in names if name), "VALUE")

    def parse(self, text: str, source: str) -> Any:
        """The value that ``text`` writes.

        Raises:
            ConfigurationError: it writes none; ``source`` names the option in the message.
        """
        try:
            return _parse(text.strip(), self.annotation)
        except ValueError:
            members = sorted(_narrowed(self.annotation), key=lambda member: member is type(None))
            expected = " or ".join(dict.fromkeys(map(_describe, members)))
            raise ConfigurationError(f"{source}: expected {expected}; got {text!r}") from None

    def accept(self, value: Any, source: str) -> Any:
        """The value that a TOML file gives; text is read as on the command line."""
        fits = not isinstance(value, list) or any(map(_is_sequence, _members(self.annotation)))
        if fits and isinstance(value, str | bool | int | float | list):
            return self.parse(written(value), source)
        return self.parse(repr(value), source)  # a list or a table where none can be


def written(value: Any) -> str:
    """A value as text that :meth:`Hyperparameter.parse` reads."""
    if value is None:
        return NONE
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ",".join(map(written, value))
    return str(value)


def as_toml(value: Any) -> Any:
    """A value as TOML has it: there is no None, and a tuple is a list."""
    if value is None:
        return NONE
    return [as_toml(item) for item in value] if isinstance(value, list | tuple) else value


def hyperparameters_of(model: Any) -> dict[str, Hyperparameter]:
    """The hyper-parameters of a model class, in the order of its ``__init__``."""
    helps = documented(model)
    found = {}
    for name, parameter in model.hyperparameters().items():
        annotation = parameter.annotation
        if annotation is inspect.Parameter.empty or isinstance(annotation, str):
            annotation = _annotation_like(parameter.default)
        found[name] = Hyperparameter(name, annotation, parameter.default, helps.get(name, ""))
    return found


def _annotation_like(default: Any) -> Any:
    if isinstance(default, tuple):
        item: Any = _annotation_like(default[0]) if default else Any
        return types.GenericAlias(tuple, (item, ...))
    return type(default) if isinstance(default, bool | int | float | str) else Any


_METAVARS: dict[Any, str] = {int: "N", float: "X", str: "TEXT", bool: "true|false"}
_DESCRIPTIONS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    type(None): NONE,
}


def _members(annotation: Any) -> list[Any]:
    """The types of a union in the order in which they are tried; else the annotation alone."""
    if typing.get_origin(annotation) not in (typing.Union, types.UnionType):
        return [annotation]
    return sorted(typing.get_args(annotation), key=lambda member: _ORDER.get(member, 4))


def _narrowed(annotation: Any) -> list[Any]:
    """Those that need telling: a number may be a whole one."""
    members = _members(annotation)
    return [m for m in members if m is not int or float not in members]


def _is_sequence(annotation: Any) -> bool:
    origin = typing.get_origin(annotation) or annotation
    if not isinstance(origin, type) or issubclass(origin, str):
        return False
    return issubclass(origin, Sequence) or origin is Sequence


def _choices(annotation: Any) -> tuple[Any, ...]:
    return typing.get_args(annotation) if typing.get_origin(annotation) is typing.Literal else ()


def _describe(annotation: Any) -> str:
    if choices := _choices(annotation):
        return f"one of {', '.join(map(str, choices))}"
    if _is_sequence(annotation):
        items = [item for item in typing.get_args(annotation) if item is not Ellipsis]
        kinds: dict[Any, str] = {int: "whole numbers", float: "numbers"}
        kind = kinds.get(items[0] if items else Any, "values")
        fixed = len(items) if items and Ellipsis not in typing.get_args(annotation) else 0
        return f"{f'{fixed} ' if fixed > 1 else ''}{kind} separated by commas"
    return _DESCRIPTIONS.get(annotation, "a value")


def _parse(text: str, annotation: Any) -> Any:
    members = _members(annotation)
    if len(members) == 1:
        return _parse_one(text, members[0])
    for member in members:
        try:
            return _parse_one(text, member)
        except ValueError:
            continue
    raise ValueError(text)


def _parse_one(text: str, annotation: Any) -> Any:
    if choices := _choices(annotation):
        return _look_up({str(choice): choice for choice in choices}, text)
    if _is_sequence(annotation):
        return _parse_sequence(text, typing.get_args(annotation))
    if annotation is type(None):
        return _look_up({NONE: None}, text.lower())
    if annotation is bool:
        return _look_up(_SWITCH, text.lower())
    if annotation in (int, float) and "_" in text:  # Python reads 1_000, people mistype it
        raise ValueError(text)
    if annotation in (int, float, str):
        return annotation(text)
    return _guess(text)


def _parse_sequence(text: str, items: tuple[Any, ...]) -> tuple[Any, ...]:
    parts = [part.strip() for part in text.strip("()[] ").split(",")]
    if parts[-1] == "":  # nothing at all, or Python's comma after a single item
        parts.pop()
    if not items:
        return tuple(_guess(part) for part in parts)
    if len(items) == 1 or items[-1] is Ellipsis:
        return tuple(_parse(part, items[0]) for part in parts)
    if len(parts) != len(items):
        raise ValueError(text)
    return tuple(_parse(part, item) for part, item in zip(parts, items, strict=True))


def _look_up(table: Mapping[str, Any], text: str) -> Any:
    if text not in table:
        raise ValueError(text)
    return table[text]


def _guess(text: str) -> Any:
    """A value of no declared type: none, true, false, a number, or else the text."""
    if text.lower() in (NONE, "true", "false"):
        return {NONE: None, "true": True, "false": False}[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
