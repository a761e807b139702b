"""Write ``reference.md`` from the code: ``python docs/plugins/make_reference.py``."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flagstone import plugins
from flagstone.plugins import hookspecs
from flagstone.plugins.specs import SUPPORTED_APIS, Spec
from flagstone.testing import SUITES

PAGE = Path(__file__).with_name("reference.md")
HEAD = """\
# Hooks, specs and checks

Written by `python docs/plugins/make_reference.py` from the code; a test holds it to that. What of
it can change, and how, is in [versioning.md](versioning.md).

A hook is a function of the entry module, marked `@flagstone.plugins.hookimpl`. Those that hand over
specs yield them or return a list. A spec is frozen and says what a thing is called and where it is;
nothing is imported until the thing is used. This flagstone takes api {apis}.

## What every spec says

{fields}
"""


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
    return 0


def page() -> str:
    """The page as it should be."""
    apis = " and ".join(map(str, SUPPORTED_APIS))
    parts = [HEAD.format(apis=apis, fields=table(Spec, Spec))]
    parts += [section(name) for name in vars(hookspecs) if name.startswith("flagstone_")]
    return "\n".join(parts)


def section(hook: str) -> str:
    """One hook, the spec that it hands over, and what that kind is checked for."""
    function = getattr(hookspecs, hook)
    lines = [f"## `{hook}({', '.join(inspect.signature(function).parameters)})`", ""]
    lines += [markdown(inspect.getdoc(function) or ""), ""]
    spec = next((s for s in specs() if s.hook == hook), None)
    if spec is not None:
        about = (inspect.getdoc(spec) or "").partition("\n\nAttributes:")[0]
        lines += [f"`{spec.__name__}`: {markdown(about)}", ""]
        if own := table(spec, spec):
            lines += [own, ""]
        if suite := SUITES.get(spec.kind):
            points = suite.points()
            lines += [f"`flagstone check` and `flagstone.testing.{suite.__name__}` ask:", ""]
            lines += [f"- **{n.replace('_', ' ')}**: {markdown(t)}" for n, t in points.items()]
            lines += [""]
    return "\n".join(lines)


def specs() -> Iterator[type[Spec]]:
    """The classes of specs that plugins import."""
    for name in plugins.__all__:
        found = getattr(plugins, name)
        if isinstance(found, type) and issubclass(found, Spec) and found is not Spec:
            yield found


def table(spec: type[Spec], described: type[Any]) -> str:
    """The fields that ``described`` adds to its base, as its docstring tells of them."""
    told = attributes(inspect.getdoc(described) or "")
    rows = []
    for field in dataclasses.fields(spec):
        if field.name in told and field.name != "provider":
            kind = str(field.type).replace("|", "\\|")
            rows.append(f"| `{field.name}` | `{kind}` | {default(field)} | {told[field.name]} |")
    return "\n".join(["| field | type | default | |", "|---|---|---|---|", *rows]) if rows else ""


def attributes(doc: str) -> dict[str, str]:
    """Name -> text of the entries under ``Attributes:``."""
    text = doc.partition("Attributes:\n")[2]
    found = {}
    for entry in re.split(r"\n(?= {4}\S)", text):
        names, _, meaning = entry.strip().partition(": ")
        found.update(dict.fromkeys(names.split(", "), markdown(" ".join(meaning.split()))))
    return found


def default(field: dataclasses.Field[Any]) -> str:
    """A field's default as it is written; nothing where it must be given."""
    if field.default is not dataclasses.MISSING:
        return f"`{field.default!r}`"
    return "`{}`" if field.default_factory is not dataclasses.MISSING else ""


def markdown(text: str) -> str:
    """A docstring's marks as Markdown's."""
    return re.sub(r":\w+:(`[^`]+`)", r"\1", text.replace("``", "`"))


if __name__ == "__main__":
    sys.exit(main())
