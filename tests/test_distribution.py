"""What is installed: its metadata, its files, its entry points and what importing it costs."""

from __future__ import annotations

import importlib
import importlib.metadata
import runpy
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import flagstone

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT: dict[str, Any] = PYPROJECT["project"]
SOURCES = [
    ROOT / path for path in PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
]
PACKAGES = [source.name for source in SOURCES]

IMPORT_ALL = """
import importlib, pkgutil, sys

for package in sys.argv[1:]:
    root = importlib.import_module(package)
    for module in pkgutil.walk_packages(root.__path__, package + "."):
        if module.name.endswith(".__main__"):  # importing that is running it
            continue
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if error.name != "cupy":  # an extra that needs a card to be of use
                raise
        else:
            print(module.name)
"""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_one_version_is_told_everywhere() -> None:
    installed = importlib.metadata.version("flagstone")
    assert flagstone.__version__ == PROJECT["version"] == installed, (
        f"pyproject.toml says {PROJECT['version']}, flagstone.__version__ {flagstone.__version__}, "
        f"the installed metadata {installed}; where only that differs, install again"
    )


def test_the_readme_gives_the_commands_that_are_tested() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert 'pip install ".[all]" && flagstone train softmax --data digits' in readme
    assert 'pip install -e ".[dev]" && pytest' in readme  # what .ci/run runs


def test_the_changelog_opens_with_this_version() -> None:
    headings = [
        line.split("]")[0].removeprefix("## [")
        for line in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("## [")
    ]
    assert PROJECT["version"] in headings[:2]  # [Unreleased] may stand above it


def test_every_source_package_is_listed_for_the_wheel() -> None:
    roots = ("framework", "backends", "plugins")
    assert set(SOURCES) == {
        module.parent for root in roots for module in (ROOT / root).glob("*/__init__.py")
    }


def test_entry_points_are_installed_as_written() -> None:
    points = importlib.metadata.distribution("flagstone").entry_points
    assert {p.name: p.value for p in points.select(group="flagstone")} == (
        PROJECT["entry-points"]["flagstone"]
    )
    assert {p.name: p.value for p in points.select(group="console_scripts")} == PROJECT["scripts"]


@pytest.mark.parametrize("name", PROJECT["entry-points"]["flagstone"])
def test_a_plugin_entry_point_names_a_module_with_hooks(name: str) -> None:
    module = importlib.import_module(PROJECT["entry-points"]["flagstone"][name])
    hooks = [attribute for attribute in vars(module) if attribute.startswith("flagstone_")]
    assert hooks


@pytest.mark.parametrize("name", PROJECT["scripts"])
def test_a_command_names_something_to_call(name: str) -> None:
    module, _, attribute = PROJECT["scripts"][name].partition(":")
    assert callable(getattr(importlib.import_module(module), attribute))


@pytest.mark.parametrize("source", SOURCES, ids=PACKAGES)
def test_a_package_says_that_it_is_typed(source: Path) -> None:
    assert (source / "py.typed").is_file()


def test_the_wheel_drops_no_file_of_a_package() -> None:
    """hatchling obeys .gitignore, so a pattern that is not anchored can take a package's files."""
    included = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    present = {
        path.relative_to(source.parent).as_posix()
        for source in SOURCES
        for path in source.rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    }
    assert included == {path for path in present if "/." not in path}  # tools leave such caches


@pytest.mark.parametrize("extra", ["", "all", "dev"])
def test_no_extra_for_everyone_brings_cuda_or_another_framework(extra: str) -> None:
    unwanted = ("cupy", "jax", "nvidia", "tensorflow", "torch", "triton")
    compiler = set()
    if extra == "dev":  # tests compile the CUDA kernels, for which no card is needed
        compiler = {"nvidia-cuda-crt", "nvidia-cuda-nvrtc", "nvidia-cuda-runtime"}
    brought = required_by(f"flagstone[{extra}]" if extra else "flagstone")
    assert {"numpy", "pluggy"} <= brought  # something was read
    assert not [name for name in brought - compiler if name.startswith(unwanted)]


def test_all_is_every_extra_that_needs_no_gpu() -> None:
    separate = {"all", "dev", "bench", "cuda12x", "cuda13x"}
    (everything,) = (Requirement(text) for text in PROJECT["optional-dependencies"]["all"])
    assert everything.extras == PROJECT["optional-dependencies"].keys() - separate


def test_the_oldest_versions_that_ci_tests_are_those_that_are_allowed() -> None:
    lines = (ROOT / ".ci" / "oldest.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line for line in lines if line and not line.startswith("#")}
    extras = PROJECT["optional-dependencies"]
    texts = [*PROJECT["dependencies"], *extras["sklearn"], *extras["data"], *extras["dev"]]
    allowed = {text.replace(">=", "==") for text in texts if ">=" in text}
    tools = ("build", "editables", "hatchling", "packaging", "pytest-xdist")
    assert pinned == {text for text in allowed if not text.startswith(tools)}


def test_every_module_can_be_imported_with_warnings_as_errors() -> None:
    result = run(sys.executable, "-W", "error", "-c", IMPORT_ALL, *PACKAGES)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.split()) > 50


def test_importing_flagstone_imports_nothing_heavy() -> None:
    script = runpy.run_path(str(ROOT / ".ci" / "check_import_time.py"))
    assert script["heavy_modules"]() == []


def test_the_module_is_the_command() -> None:
    command = shutil.which("flagstone", path=sysconfig.get_path("scripts"))
    assert command is not None
    by_name, by_module = run(command, "--help"), run(sys.executable, "-m", "flagstone", "--help")
    assert by_name.returncode == by_module.returncode == 0, by_module.stderr
    assert "train" in by_name.stdout
    told = by_module.stdout.replace("python -m flagstone", "flagstone")
    assert told.split() == by_name.stdout.split()


def required_by(requirement: str) -> set[str]:
    """The names of all that ``requirement`` brings along, as far as it is installed here."""
    found: set[str] = set()
    seen: set[str] = set()
    pending = [Requirement(requirement)]
    while pending:
        wanted = pending.pop()
        name, key = canonicalize_name(wanted.name), f"{wanted.name}{sorted(wanted.extras)}"
        found.add(name)
        if key in seen:
            continue
        seen.add(key)
        try:
            lines = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # an extra that was not asked for
        for line in lines:
            needs = Requirement(line)
            environments = [{"extra": extra} for extra in wanted.extras or {""}]
            if needs.marker is None or any(map(needs.marker.evaluate, environments)):
                pending.append(needs)
    return found
