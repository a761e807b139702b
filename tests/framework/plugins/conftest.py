"""Plugins for tests: modules on the path, and distributions that are really discoverable."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from flagstone.plugins import Provider, Registry


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISABLE_PLUGINS", "NO_PLUGINS", "STRICT_PLUGINS"):
        monkeypatch.delenv(f"FLAGSTONE_{name}", raising=False)


@pytest.fixture
def write_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str, str], Path]]:
    """``write_module(name, source)`` makes an importable module for this test only."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    written: list[str] = []

    def write(name: str, source: str) -> Path:
        path = folder / f"{name}.py"
        path.write_text(textwrap.dedent(source), encoding="utf-8")
        written.append(name)
        return path

    yield write
    for name in written:
        sys.modules.pop(name, None)


@pytest.fixture
def registry_of(
    write_module: Callable[[str, str], Path],
) -> Callable[..., Registry]:
    """``registry_of({"name": source, ...}, own={"name": source, ...})``: each a plugin.

    The module of plugin ``name`` is ``name_plugin``; of an own one ``name_own``.
    """

    def make(
        strangers: Mapping[str, str] | None = None, own: Mapping[str, str] | None = None
    ) -> Registry:
        providers = []
        header = "from flagstone.plugins import *\n"
        for name, source in (strangers or {}).items():
            write_module(f"{name}_plugin", header + textwrap.dedent(source))
            providers.append(Provider(name, f"{name}_plugin", f"{name}-dist", "1.2"))
        for name, source in (own or {}).items():
            write_module(f"{name}_own", header + textwrap.dedent(source))
            providers.append(Provider(name, f"{name}_own", "flagstone", "0.1"))
        return Registry(providers)

    return make


@pytest.fixture
def only_row() -> Callable[[Registry, str], Any]:
    """``only_row(registry, name)``: what the registry tells of the one plugin of that name."""

    def find(registry: Registry, name: str) -> Any:
        (row,) = [row for row in registry.providers() if row.name == name]
        return row

    return find


@pytest.fixture
def install(tmp_path: Path) -> Callable[..., Path]:
    """``install(name, entry_points, modules)`` lays out an installed distribution in a folder.

    Returns the folder, which :func:`run_python` puts on the path.
    """
    site = tmp_path / "site"
    site.mkdir()

    def lay(name: str, entry_points: str, modules: Mapping[str, str]) -> Path:
        info = site / f"{name.replace('-', '_')}-1.2.dist-info"
        info.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n"
        (info / "METADATA").write_text(metadata, encoding="utf-8")
        (info / "entry_points.txt").write_text(entry_points, encoding="utf-8")
        for module, source in modules.items():
            (site / f"{module}.py").write_text(textwrap.dedent(source), encoding="utf-8")
        return site

    return lay


@pytest.fixture
def run_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """``run_python(code, site, NAME="value")``: run ``code`` in a fresh interpreter."""

    def run(
        code: str, site: Path | None = None, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        path = {} if site is None else {"PYTHONPATH": str(site)}
        return subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            env={**os.environ, **path, **environ},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run
