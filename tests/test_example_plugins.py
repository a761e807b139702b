"""The plugins under ``examples/plugins``: each is installed by pip, found, and passes its tests."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "plugins"
PROJECTS = sorted(path.parent for path in FOLDER.glob("*/pyproject.toml"))


def python(
    *arguments: str, where: Path, site: Path | None = None
) -> subprocess.CompletedProcess[str]:
    path = [str(site)] if site else []
    path += [os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else []
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # other tests run beside it
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=where,
        env={**os.environ, **threads, "PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def missing(requirements: list[str]) -> list[str]:
    """Those that are not installed, or not in such a version."""
    found = []
    for requirement in map(Requirement, requirements):
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            found.append(str(requirement))
        else:
            if not requirement.specifier.contains(version, prereleases=True):
                found.append(f"{requirement} (it is {version})")
    return found


def test_all_are_in_the_list_of_the_readme() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert len(PROJECTS) >= 6
    assert [p.name for p in PROJECTS if f"\n| [{p.name}]({p.name}) |" not in readme] == []


def test_a_backend_takes_three_hundred_lines_at_most() -> None:
    source = (FOLDER / "flagstone-torch" / "src").rglob("*.py")
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in source) <= 300


@pytest.mark.parametrize("project", PROJECTS, ids=lambda path: path.name)
def test_installed_by_pip_it_is_found_and_passes_its_tests(project: Path, tmp_path: Path) -> None:
    about = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    if lacking := missing(about["dependencies"]):
        pytest.skip(f"needs {', '.join(lacking)}")
    site = tmp_path / "site"
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(site)]
    pip = python("-m", "pip", "install", *options, str(project), where=tmp_path)
    assert pip.returncode == 0, pip.stderr
    listed = python("-m", "flagstone", "plugins", "list", "--json", where=tmp_path, site=site)
    (row,) = (
        row for row in json.loads(listed.stdout)["plugins"] if row["distribution"] == about["name"]
    )
    assert (row["status"], row["reason"], row["version"]) == ("ok", "", about["version"])
    assert row["name"] in about["entry-points"]["flagstone"]
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(project)]
    tests = python(*command, str(project), where=tmp_path, site=site)
    assert tests.returncode == 0, tests.stdout
