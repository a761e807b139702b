"""docs/checking.md: its transcript and its tests are true."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from flagstone import testing

PAGE = (Path(__file__).parent.parent / "docs" / "checking.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)


def test_the_transcript() -> None:
    (block,) = blocks("console")
    command, _, expected = block.partition("\n")
    assert command.startswith("$ flagstone ")
    done = testing.run_command(*command.removeprefix("$ flagstone ").split())
    assert (done.exit_code, done.stdout) == (0, expected)


@pytest.mark.parametrize("number", [0, 1])
def test_the_tests_pass(number: int, tmp_path: Path) -> None:
    (tmp_path / "test_page.py").write_text(blocks("python")[number], encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"^\d+ passed", done.stdout, re.M)


def test_every_suite_and_name_is_told_of() -> None:
    for suite in testing.SUITES.values():
        assert f"`{suite.__name__}`" in PAGE
        assert suite.kind in PAGE
    for name in set(re.findall(r"testing\.(\w+)\(", PAGE)):
        assert hasattr(testing, name), name


def test_importing_it_imports_nothing_heavy() -> None:
    heavy = "{'pytest', 'sklearn', 'click', 'scipy', 'torch', 'rich'}"
    code = f"import sys, flagstone.testing; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
