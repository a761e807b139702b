"""Environments for commits, with a project that builds itself."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from flagstone.benchmarking.builds import BuildError, installed_beside

PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
BACKEND = '''
"""Writes a wheel with one module."""
import zipfile

INFO = "flagstone-9.dist-info/"
WHEEL = "Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(f"{wheel_directory}/flagstone-9-py3-none-any.whl", "w") as file:
        file.writestr("flagstone.py", SOURCE)
        file.writestr(INFO + "METADATA", "Metadata-Version: 2.1\\nName: flagstone\\nVersion: 9\\n")
        file.writestr(INFO + "WHEEL", WHEEL)
        file.writestr(INFO + "RECORD", "")
    return "flagstone-9-py3-none-any.whl"
'''


def project(folder: Path, source: str) -> Path:
    folder.mkdir()
    (folder / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    text = textwrap.dedent(BACKEND) + f"\nSOURCE = {source!r}\n"
    (folder / "backend.py").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.slow
def test_a_commit_has_all_but_flagstone_from_here(tmp_path: Path) -> None:
    python = installed_beside(project(tmp_path / "tree", "NINE = 9\n"), tmp_path / "env")
    code = "import flagstone, json, numpy; print(json.dumps([flagstone.NINE, numpy.__file__]))"
    done = subprocess.run([python, "-P", "-c", code], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == [9, np.__file__]
    assert python != sys.executable
    with pytest.raises(BuildError, match="tree2 does not start:"):
        installed_beside(project(tmp_path / "tree2", "1 / 0\n"), tmp_path / "env2")
