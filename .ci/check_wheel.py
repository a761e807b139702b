"""Check that the wheel holds every tracked file of our packages, and nothing else.

hatchling obeys ``.gitignore``: one unanchored ``data/`` there would drop a package's ``data/``
from the wheel without a word. So the wheel is built as a release is, from the source archive, and
compared with what git tracks under the source roots, and its entry points with pyproject.toml.
"""

from __future__ import annotations

import configparser
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SOURCE_ROOTS = ("framework", "backends", "plugins")


def main() -> int:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    targets = pyproject["tool"]["hatch"]["build"]["targets"]
    packages = [Path(package).name for package in targets["wheel"]["packages"]]
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(build(folder)) as wheel:
        about, contents = split(wheel)
        points = entry_points(wheel, about)
    problems = [
        *differences(contents, tracked_files()),
        *missing_markers(packages, contents),
        *wrong_entry_points(points, pyproject["project"], contents),
    ]
    if not any(name.endswith("/LICENSE") for name in about):
        problems.append("LICENSE is not in the wheel")
    for problem in problems:
        print(problem)
    print(f"the wheel holds {len(contents)} files in {len(packages)} packages", end="; ")
    print(f"{len(problems)} problems" if problems else "all that git tracks, and nothing else")
    return int(bool(problems))


def build(folder: str) -> Path:
    """The wheel made from the source archive made from this checkout, in ``folder``."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, str(ROOT)]
    run = subprocess.run(
        command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if run.returncode:
        sys.exit(f"{run.stdout}\nthe wheel cannot be built")
    (wheel,) = Path(folder).glob("*.whl")
    return wheel


def split(wheel: zipfile.ZipFile) -> tuple[set[str], set[str]]:
    """The names of the wheel's metadata files, and of all its other files."""
    names = {name for name in wheel.namelist() if not name.endswith("/")}
    about = {name for name in names if name.partition("/")[0].endswith(".dist-info")}
    return about, names - about


def tracked_files() -> set[str]:
    """The files that git tracks under the source roots, as they are named in the wheel."""
    command = ["git", "ls-files", "-z", "--", *SOURCE_ROOTS]
    run = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return {path.partition("/")[2] for path in run.stdout.split("\0") if path}


def differences(contents: set[str], tracked: set[str]) -> Iterator[str]:
    """What one of the two has and the other has not."""
    for name in sorted(tracked - contents):
        yield f"{name}: tracked by git, not in the wheel (see .gitignore and tool.hatch.build)"
    for name in sorted(contents - tracked):
        yield f"{name}: in the wheel, not tracked by git"


def missing_markers(packages: list[str], contents: set[str]) -> Iterator[str]:
    """Packages whose types a type checker would not read."""
    for package in packages:
        if f"{package}/py.typed" not in contents:
            yield f"{package}/py.typed: not in the wheel"


def entry_points(wheel: zipfile.ZipFile, about: set[str]) -> dict[str, dict[str, str]]:
    """Group -> name -> what it names, as the wheel's metadata says."""
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # names keep their case
    for name in about:
        if name.endswith("/entry_points.txt"):
            parser.read_string(wheel.read(name).decode())
    return {group: dict(parser[group]) for group in parser.sections()}


def wrong_entry_points(
    found: dict[str, dict[str, str]], project: dict[str, Any], contents: set[str]
) -> Iterator[str]:
    """Entry points that are not those of pyproject.toml, or whose module is not in the wheel."""
    wanted = {"console_scripts": project["scripts"], **project["entry-points"]}
    if found != wanted:
        yield f"entry points: pyproject.toml says {wanted}; the wheel says {found}"
    for group, points in found.items():
        for name, target in points.items():
            path = target.partition(":")[0].replace(".", "/")
            if not {f"{path}.py", f"{path}/__init__.py"} & contents:
                yield f"entry point {name!r} of {group!r}: {target} is not in the wheel"


if __name__ == "__main__":
    sys.exit(main())
