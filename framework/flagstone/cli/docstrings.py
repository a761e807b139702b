"""What docstrings say of arguments, in plain words."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from typing import Any

_ENTRY = re.compile(r"    (\w+(?:, \w+)*): (.+)")  # of a list: "    name: what it is"
_ELSEWHERE = re.compile(r"(?:as in|see) :(?:class|func):`~?([\w.]+)`\.?")
_ROLE = re.compile(r":\w+:`~?(?:[\w.]+\.)?(\w+)`")
_NOWHERE = "see the module."  # where nobody reads it


def documented(target: Any) -> dict[str, str]:
    """Argument or attribute -> what the docstring of a class or a function says of it, in one line;
    else what those of its bases do. ``as in`` another one is looked up there.

    Args:
        target: of a loss as a class, the function is meant too.
    """
    found: dict[str, str] = {}
    for source in _sources(target):
        for name, text in _entries(inspect.getdoc(source) or ""):
            if name not in found and text != _NOWHERE:
                found[name] = plain(_looked_up(name, text, source))
    return found


def summary(target: Any) -> str:
    """The first paragraph of a docstring, in one line."""
    doc = inspect.cleandoc(target.__doc__ or "").partition("\n\n")[0]
    return plain(" ".join(doc.split()))


def plain(text: str) -> str:
    """Without the marks of reStructuredText."""
    return _ROLE.sub(r"\1", text).replace("``", "")


def _sources(target: Any) -> Iterator[Any]:
    if not inspect.isclass(target):
        yield target
        return
    for cls in inspect.getmro(target)[:-1]:
        if cls.__doc__:
            yield cls
        if callable(function := vars(cls).get("function")):
            yield function


def _entries(doc: str) -> Iterator[tuple[str, str]]:
    names: list[str] = []
    lines: list[str] = []  # of the entry that a further-indented line goes on with
    for line in [*doc.splitlines(), ""]:
        if names and line.startswith(" " * 8):
            lines.append(line.strip())
            continue
        yield from ((name, " ".join(lines)) for name in names)
        match = _ENTRY.fullmatch(line)
        names, lines = (match[1].split(", "), [match[2]]) if match else ([], [])


def _looked_up(name: str, text: str, source: Any) -> str:
    """``text`` with what stands elsewhere in its place."""
    match = _ELSEWHERE.match(text)
    if match is None:
        return text
    other = vars(sys.modules[source.__module__]).get(match[1].rpartition(".")[2])
    told = documented(other).get(name) if other is not None else None
    if told is None:
        return text
    rest = text[match.end() :]
    return told.removesuffix(".") + rest if rest else told
