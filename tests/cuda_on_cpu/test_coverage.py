"""No kernel of the package is without a test that runs it on the CPU."""

from __future__ import annotations

import ast
from pathlib import Path

from flagstone_cupy import budget
from flagstone_cupy.signature import KERNELS, declarations

HERE = Path(__file__).parent


def covered(folder: Path) -> set[str]:
    """``file.cu:function`` of every ``covers`` mark in the test files of a folder.

    The fixture ``card`` sees to it that a test launches what it says it covers.
    """
    names: set[str] = set()
    for path in folder.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.covers":
                names |= {ast.literal_eval(argument) for argument in node.args}
    return names


def declared() -> set[str]:
    """``file.cu:function`` of every kernel in the package's sources."""
    files = [path.name for path in KERNELS.glob("*.cu")]
    return {f"{file}:{name}" for file in files for name in declarations(file).kernels}


def test_every_kernel_runs_on_the_cpu_in_some_test() -> None:
    assert declared() - covered(HERE) == set()


def test_every_kernel_in_a_source_is_declared_to_python() -> None:
    assert {f"{k.source}:{k.name}" for k in budget.packaged()} == declared()


def test_a_kernel_without_a_test_is_found(tmp_path: Path) -> None:
    planted = '@pytest.mark.covers("elementwise.cu:relu")\ndef test_it(card): ...\n'
    (tmp_path / "test_planted.py").write_text(planted)
    assert covered(tmp_path) == {"elementwise.cu:relu"}
    assert "elementwise.cu:planted" in {*declared(), "elementwise.cu:planted"} - covered(tmp_path)
