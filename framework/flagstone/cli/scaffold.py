"""A plugin's project, made from the templates beside this file.

A template is a file of the project with ``$words`` in it (:class:`string.Template`). Those under
``templates/project`` go into every project, those under ``templates/KIND`` into one of that kind;
``MODULE`` in a path is the package's name.
"""

from __future__ import annotations

import keyword
import re
import string
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from pathlib import Path

import flagstone
from flagstone.errors import ConfigurationError, InputError
from flagstone.plugins import registry

MOST_LETTERS = 30  # so that no line of a template gets longer than a hundred
SUFFIX = ".tmpl"

_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?", re.IGNORECASE)  # of the packaging standard
_TAKEN = ("flagstone", "tests", "benchmarks")
_HIDDEN = {"gitignore": ".gitignore", "github": ".github"}  # files that tools would hide or heed


@dataclass(frozen=True)
class Kind:
    """What can be made.

    Attributes:
        what: in a sentence.
        article: ``"a"`` or ``"an"``.
        registered: the registry's kind in which the project's name must be free; empty where the
            project's name is not the thing's.
        try_it: the command that uses it.
    """

    what: str
    article: str
    registered: str
    try_it: str


KINDS = {
    "model": Kind("model", "a", "model", "flagstone train {name} --data iris"),
    "layer": Kind("layer", "a", "layer", "flagstone check {name}"),
    "optimizer": Kind(
        "optimizer", "an", "optimizer", "flagstone train mlp --data iris --optimizer {name}"
    ),
    "loss": Kind("loss", "a", "loss", "flagstone check {name}"),
    "schedule": Kind(
        "schedule", "a", "schedule", "flagstone train mlp --data iris --schedule {name}"
    ),
    "augmentation": Kind(
        "augmentation",
        "an",
        "augmentation",
        "flagstone train cnn --data digits --epochs 2 --augment {name}",
    ),
    "dataset": Kind("dataset", "a", "dataset", "flagstone train mlp --data {name}"),
    "kernels": Kind("set of kernels", "a", "", "flagstone doctor --ops --device cpu"),
    "backend": Kind(
        "backend", "a", "backend", "flagstone train softmax --data iris --device {name}"
    ),
    "callback": Kind("callback", "a", "", "flagstone train softmax --data iris"),
    "command": Kind("command", "a", "", "flagstone {name} runs"),
}


class Project:
    """A project that can be written.

    Args:
        name: of the distribution, of its entry point and of what it provides.
        kind: one of :data:`KINDS`.

    Raises:
        ConfigurationError: the name is not one that pip, Python and flagstone take, or is taken.
    """

    def __init__(self, name: str, kind: str) -> None:
        self.kind = KINDS[kind]
        self.folder = kind
        self.name = _checked(name)
        self.module = re.sub(r"[-_.]+", "_", self.name)
        _require_module(self.module, name)
        _require_free(self.name, self.kind.registered)

    @property
    def try_it(self) -> str:
        """The command line that uses what the project provides."""
        return self.kind.try_it.format(name=self.name)

    def files(self) -> dict[str, str]:
        """Path within the project -> text."""
        words = {
            "name": self.name,
            "module": self.module,
            "cls": "".join(part.capitalize() for part in self.module.split("_")),
            "function": self.module,
            "description": f"{self.kind.article.capitalize()} {self.kind.what}",
            "what": self.kind.what,
            "file": self.folder,
            "try_it": self.try_it,
            "version": flagstone.__version__,
        }
        templates = resources.files("flagstone.cli") / "templates"
        found = [*_walk(templates / "project", ""), *_walk(templates / self.folder, "")]
        return {
            path.replace("MODULE", self.module): string.Template(text).substitute(words)
            for path, text in sorted(found)
        }

    def write(self, folder: Path) -> list[str]:
        """Write the files into ``folder``, which is made; their paths.

        Raises:
            InputError: something is in the folder already, or it cannot be written to.
        """
        files = self.files()
        try:
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                kind = "not empty" if folder.is_dir() else "not a directory"
                raise InputError(f"{folder}: expected a new or empty directory; it is {kind}")
            for path, text in files.items():
                place = folder / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(text, encoding="utf-8", newline="\n")
        except OSError as error:
            raise InputError(f"{folder}: cannot be written to: {error.strerror or error}") from None
        return list(files)


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, str]]:
    for entry in folder.iterdir():
        name = entry.name.removesuffix(SUFFIX)
        path = prefix + _HIDDEN.get(name, name)
        if entry.is_dir():
            yield from _walk(entry, f"{path}/")
        elif entry.name.endswith(SUFFIX):
            yield path, entry.read_text("utf-8")


def _checked(name: str) -> str:
    """The name in lower case with ``-`` for dots: a distribution's name and a spec's."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"NAME: expected letters and digits, with '-', '_' or '.' between them; got {name!r}"
        )
    if len(name) > MOST_LETTERS:
        raise ConfigurationError(
            f"NAME: expected at most {MOST_LETTERS} characters; got {len(name)}: {name!r}"
        )
    return name.lower().replace(".", "-")


def _require_module(module: str, name: str) -> None:
    """``module`` can be imported, and nothing else is imported by that name."""
    if not module.isidentifier() or keyword.iskeyword(module) or keyword.issoftkeyword(module):
        raise ConfigurationError(
            f"NAME: expected a name that Python can import; got {name!r}, which gives {module!r}"
        )
    taken = module in sys.stdlib_module_names or module in _TAKEN
    found = None if taken else find_spec(module)
    if taken or (found is not None and found.origin is not None):  # a folder alone has no origin
        where = "" if found is None else f" from {found.origin}"
        raise ConfigurationError(
            f"NAME: {name!r} would be imported as {module!r}, which is there already{where}; "
            "choose another"
        )


def _require_free(name: str, kind: str) -> None:
    """No plugin has the name, and nothing of the kind has it."""
    for row in registry.providers():
        if row.name == name:
            raise ConfigurationError(
                f"NAME: a plugin named {name!r} is installed ({row.distribution}); choose another"
            )
    if kind and name in registry.names(kind):
        raise ConfigurationError(f"NAME: there is {kind} {name!r} already; choose another")
