"""No file is longer than 400 lines, unless its header says why."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MOST = 400
REASON = re.compile(r"\bIt is long because \w")


def header(path: Path) -> str:
    """What a file says of itself: a module's docstring, or the comment that a CUDA file begins
    with."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        said = ast.get_docstring(ast.parse(text)) or ""
    else:
        said = "".join(re.findall(r"\A\s*/\*.*?\*/|\A(?:\s*//[^\n]*\n)+", text, re.DOTALL))
    return " ".join(re.sub(r"(?m)^\s*(//|\*)", "", said).split())


def too_long(paths: list[Path]) -> list[str]:
    """The files of more lines than ``MOST`` that give no reason."""
    found = []
    for path in paths:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > MOST and not REASON.search(header(path)):
            found.append(f"{path.name}: {lines} lines")
    return found


def test_no_file_is_too_long() -> None:
    command = ["git", "ls-files", "*.py", "*.pyi", "*.cu", "*.cuh"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("asks git which files there are, and this is no checkout")
    paths = [ROOT / line for line in done.stdout.splitlines()]
    assert len(paths) > 100
    found = too_long([path for path in paths if path.exists()])
    assert not found, (
        f"split by question, or say at the top 'It is long because ...': {'; '.join(found)}"
    )


@pytest.mark.parametrize(
    ("name", "top", "reason"),
    [
        ("a.py", '"""Everything."""\n', False),
        ("b.py", '"""Everything.\n\nIt is long because\nit is a table.\n"""\n', True),
        ("c.py", '"""Everything."""\n# It is long because nobody looks here\n', False),
        ("d.cu", "// Everything.\n", False),
        ("e.cu", "// Everything. It is long\n// because it is a table.\n", True),
        ("f.cu", "/* Everything.\n * It is long because it is a table. */\n", True),
        ("g.cu", "int x;\n// It is long because nobody looks here\n", False),
    ],
)
def test_a_long_file_is_found_unless_its_header_says_why(
    name: str, top: str, reason: bool, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(top + "\n" * MOST, encoding="utf-8")
    assert bool(too_long([path])) != reason
    path.write_text(top, encoding="utf-8")
    assert not too_long([path])
