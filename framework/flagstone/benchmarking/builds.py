"""Environments of their own for commits of a repository."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path

QUIET = ("--quiet", "--disable-pip-version-check")


class BuildError(Exception):
    """A commit cannot be checked out or installed; the message ends with what was printed."""


@contextlib.contextmanager
def checked_out(repository: Path, revision: str, folder: Path) -> Iterator[Path]:
    """The tree of a commit in ``folder``, for as long as the block runs."""
    _run(
        ["git", "-C", str(repository), "worktree", "add", "--detach", str(folder), revision],
        f"{revision} cannot be checked out",
    )
    try:
        yield folder
    finally:
        subprocess.run(
            ["git", "-C", str(repository), "worktree", "remove", "--force", str(folder)],
            check=False,
            capture_output=True,
        )


def installed_beside(tree: Path, folder: Path) -> str:
    """Install the project in ``tree`` into a new environment that has all else from this one.

    So the same NumPy, compiled kernels and plugins serve both.

    Returns:
        The environment's interpreter.

    Raises:
        BuildError: it does not build, or cannot be imported beside what is here.
    """
    python = _environment(folder)
    packages = sysconfig.get_path("purelib", "venv", {"base": str(folder)})
    here = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    Path(packages, "beside.pth").write_text("\n".join(here) + "\n", encoding="utf-8")
    options = [*QUIET, "--no-deps", "--ignore-installed"]
    _run([python, "-m", "pip", "install", *options, str(tree)], f"{tree} does not install")
    _run([python, "-P", "-c", "import flagstone"], f"{tree} does not start")
    return python


def installed(tree: Path, folder: Path, *, extras: str = "", more: Sequence[str] = ()) -> str:
    """Install the project in ``tree``, not editable, into a new environment.

    Args:
        tree: a folder with a ``pyproject.toml``.
        folder: of the environment.
        extras: of the project, separated by commas.
        more: further arguments of pip's, such as a constraint or another project.

    Returns:
        The environment's interpreter.

    Raises:
        BuildError: it does not build, or cannot be imported.
    """
    python = _environment(folder)
    wanted = f"{tree}[{extras}]" if extras else str(tree)
    problem = f"{tree} does not install (--pip=/path/to/clone brings what no package index has)"
    _run([python, "-m", "pip", "install", *QUIET, *more, wanted], problem)
    _run([python, "-P", "-c", "import flagstone"], f"{tree} is installed without a flagstone")
    _run([python, "-m", "pip", "check", *QUIET], f"what {tree} needs does not fit together")
    return python


def _environment(folder: Path) -> str:
    """Make one; returns its interpreter."""
    _run([sys.executable, "-m", "venv", str(folder)], "no environment can be made")
    return str(folder / ("Scripts" if os.name == "nt" else "bin") / "python")


def _run(command: list[str], problem: str) -> None:
    environ = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL,
            env=environ,
        )  # fmt: skip
    except OSError as error:
        raise BuildError(f"{problem}: {error}") from error
    if done.returncode:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-15:])
        raise BuildError(f"{problem}:\n{tail}")
