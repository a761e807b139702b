"""No kernel of the package is without a test that runs it on the CPU."""

from __future__ import annotations

import ast
from pathlib import Path

from flagstone_cupy import budget
from flagstone_cupy.signature import KERNELS, declarations

HERE = Path(__file__).parent


def covered(folder: Path) -> set[str]:
    """``file.cu:function`` of every ``covers`` mark in the test files of a folder.

    Its arguments are texts, or ``*NAME`` of a tuple of texts at the top of the file. The fixture
    ``card`` sees to it that a test launches what it says it covers.
    """
    names: set[str] = set()
    for path in folder.glob("test_*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        tuples = {ast.unparse(node.targets[0]): node.value for node in tree.body
                  if isinstance(node, ast.Assign)}  # fmt: skip
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.covers":
                for given in node.args:
                    if isinstance(given, ast.Starred):
                        names |= set(ast.literal_eval(tuples[ast.unparse(given.value)]))
                    else:
                        names.add(ast.literal_eval(given))
    return names


def declared(folder: Path, *, absolute: bool = False) -> set[str]:
    """``file.cu:function`` of every kernel in the sources of a folder."""
    found = set()
    for path in folder.glob("*.cu"):
        kernels = declarations(str(path) if absolute else path.name).kernels
        found |= {f"{path.name}:{name}" for name in kernels}
    return found


def test_every_kernel_runs_on_the_cpu_in_some_test() -> None:
    assert declared(KERNELS) - covered(HERE) == set()


def test_every_mark_names_a_kernel() -> None:
    assert covered(HERE) - declared(KERNELS) == set()


def test_every_kernel_in_a_source_is_declared_to_python() -> None:
    assert {f"{k.source}:{k.name}" for k in budget.packaged()} == declared(KERNELS)


def test_a_kernel_without_a_test_is_found(tmp_path: Path) -> None:
    source = "__global__ void tested(int n) {}\n__global__ void planted(int n) {}\n"
    (tmp_path / "new.cu").write_text(source)
    test = '@pytest.mark.covers("new.cu:tested")\ndef test_it(card): ...\n'
    (tmp_path / "test_new.py").write_text(test)
    assert declared(tmp_path, absolute=True) - covered(tmp_path) == {"new.cu:planted"}
