"""What can be named in text, and its options: of ``flagstone plugins show``."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from flagstone.cli.docstrings import documented, summary
from flagstone.errors import FlagstoneError
from flagstone.plugins import registry

INITIALIZER = "initializer"  # flagstone's own; no plugin brings any
KINDS = (
    "model", "layer", "loss", "optimizer", "schedule", "augmentation", "metric", INITIALIZER,
)  # fmt: skip

_GIVEN = {"optimizer": 2, "metric": 2}  # how many arguments are not the user's to say in text
_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True)
class Option:
    """An argument that is written as ``name(option=value)``, a model's as ``--option value``.

    Attributes:
        name: as in Python.
        default: as Python writes it; ``None`` where a value must be given.
        help: one line; may be empty.
    """

    name: str
    default: str | None
    help: str


@dataclass(frozen=True)
class Described:
    """One thing of one kind.

    Attributes:
        kind: one of :data:`KINDS`.
        name: as registered.
        summary: a few words.
        about: what its docstring begins with.
        provider: the plugin that brings it; empty for an initialiser.
        options: in the order of its arguments.
        problem: why it cannot be imported; empty if it can.
    """

    kind: str
    name: str
    summary: str
    about: str
    provider: str
    options: tuple[Option, ...]
    problem: str = ""

    @property
    def text(self) -> str:
        """How it is written with all its options; of an initialiser, text takes the name alone."""
        if self.kind == INITIALIZER:
            return self.name
        said = [f"{o.name}={'...' if o.default is None else o.default}" for o in self.options]
        return f"{self.name}({', '.join(said)})" if said else self.name

    def document(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


def names(kind: str) -> list[str]:
    """What there is of a kind."""
    return sorted(_initializers()) if kind == INITIALIZER else registry.names(kind)


def described(kind: str, name: str) -> Described:
    """What ``name`` is and takes.

    Raises:
        UnknownNameError: there is none of that name.
    """
    if kind == INITIALIZER:
        target = _initializers()[name]
        is_constant = isinstance(target, functools.partial)
        about = f"Every element {target.args[0]:g}." if is_constant else summary(target)
        return Described(kind, name, about, about, "", _options(kind, target))
    spec = registry.find(kind, name)
    provider = "" if spec.provider is None else spec.provider.name
    try:
        target = spec.load()
    except FlagstoneError as error:
        return Described(kind, name, spec.summary, "", provider, (), str(error))
    about = summary(getattr(target, "function", target))  # a loss's class holds options alone
    return Described(kind, name, spec.summary, about, provider, _options(kind, target))


def _initializers() -> Mapping[str, Any]:
    from flagstone.nn.init import BY_NAME

    return BY_NAME


def _options(kind: str, target: Any) -> tuple[Option, ...]:
    helps = documented(target)
    parameters = [
        p for p in inspect.signature(target).parameters.values() if p.kind not in _VARIABLE
    ]
    return tuple(
        Option(p.name, None if p.default is p.empty else repr(p.default), helps.get(p.name, ""))
        for p in parameters[_GIVEN.get(kind, 0) :]
    )
