"""Running the command in this process and in one of its own, in an empty folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner

from flagstone.plugins import registry


@dataclass(frozen=True)
class Result:
    """How a command line ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on standard output."""
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line on standard error, without its ``error:``."""
        (line,) = self.err.splitlines()
        assert line.startswith("error: "), line
        assert "Traceback" not in self.err
        return line.removeprefix("error: ")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and no variable that would change a command."""
    for name in list(os.environ):
        if name.startswith("FLAGSTONE_"):
            monkeypatch.delenv(name)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return here


@pytest.fixture
def run(folder: Path) -> Callable[..., Result]:
    """``run("train softmax --data iris", stdin=...)`` in this process."""
    from flagstone.cli.app import cli

    def invoke(line: str, *more: str, stdin: str | bytes | None = None) -> Result:
        done = CliRunner().invoke(cli, [*line.split(), *more], input=stdin)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Result(done.exit_code, done.stdout, done.stderr)

    return invoke


@pytest.fixture
def command() -> list[str]:
    """What starts the command in a process of its own."""
    return [sys.executable, "-m", "flagstone.cli"]


@pytest.fixture
def spawn(command: list[str], folder: Path) -> Callable[..., Result]:
    """``spawn("models --json", site=..., FLAGSTONE_DEBUG="1")`` in a process of its own."""

    def invoke(line: str, *, site: Path | None = None, stdin: str = "", **environ: str) -> Result:
        before = [str(site)] if site is not None else []
        path = os.pathsep.join([*before, *filter(None, [os.environ.get("PYTHONPATH")])])
        done = subprocess.run(
            [*command, *line.split()],
            input=stdin,
            env={**os.environ, "PYTHONPATH": path, **environ},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return invoke


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Path]]:
    """``plugin(source)`` writes a module ``test_plugin`` and registers it for this test."""
    modules = tmp_path / "modules"
    modules.mkdir()
    monkeypatch.syspath_prepend(str(modules))

    def add(source: str) -> Path:
        (modules / "test_plugin.py").write_text(textwrap.dedent(source), encoding="utf-8")
        import importlib

        module: ModuleType = importlib.import_module("test_plugin")
        registry.register(module, "test-plugin")
        return modules

    yield add
    if sys.modules.pop("test_plugin", None) is not None:
        registry.unregister("test-plugin")


@pytest.fixture
def iris_csv(folder: Path) -> Path:
    """Iris as a file with a header, its labels text."""
    from flagstone.data import load

    iris = load("iris")
    assert iris.feature_names is not None
    lines = [",".join([*iris.feature_names, "species"])]
    for row, label in zip(iris.X.tolist(), iris.y.tolist(), strict=True):
        lines.append(",".join([*map(str, row), f"kind {label}"]))
    path = folder / "iris.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
