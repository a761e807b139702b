"""``flagstone new``: what it makes is sound, and what it cannot make it refuses.

That each kind passes its own tests, installed by pip, is in ``tests/test_plugin_docs.py``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flagstone.cli.scaffold import KINDS, MOST_LETTERS

OF_A_PROJECT = {
    ".github/workflows/ci.yml",
    ".gitignore",
    "README.md",
    "benchmarks/gate.py",
    "benchmarks/speed.py",
    "pyproject.toml",
}


def python(where: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=where,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_makes_and_says(run: Callable[..., Any], folder: Path, kind: str) -> None:
    done = run(f"new my-{kind} --kind {kind}")
    assert (done.code, done.err) == (0, "")
    project = folder / f"my-{kind}"
    files = {path.relative_to(project).as_posix() for path in project.rglob("*") if path.is_file()}
    assert files == OF_A_PROJECT | {
        f"src/my_{kind}/__init__.py",
        f"src/my_{kind}/{kind}.py",
        f"src/my_{kind}/py.typed",
        f"tests/test_{kind}.py",
    }
    first, *commands = done.out.splitlines()
    assert first == f"made my-{kind}, {len(files)} files: {kind} 'my-{kind}'; next:"
    assert commands[:2] == [f"  pip install -e my-{kind}'[dev]'", f"  pytest my-{kind}"]
    assert len(commands) == 3


@pytest.mark.parametrize("name", ["a{}", "my.{}-of-"])
def test_what_it_makes_is_formatted_linted_and_typed(
    run: Callable[..., Any], folder: Path, name: str
) -> None:
    for kind in KINDS:
        full = name.format(kind)
        full = full.ljust(MOST_LETTERS, "x") if full.endswith("-") else full
        assert run(f"new {full} --kind {kind} --dir {kind}").code == 0
    ruff = shutil.which(
        "ruff", path=os.pathsep.join([str(Path(sys.executable).parent), os.defpath])
    )
    assert ruff is not None, "ruff is one of the tools in the extra dev"
    for check in (["format", "--check"], ["check"]):
        done = subprocess.run(
            [ruff, *check, "--no-cache", "."],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
    packages = sorted(str(path.relative_to(folder)) for path in folder.glob("*/src/*/"))
    types = python(folder, "-m", "mypy", "--strict", "--no-warn-return-any", *packages)
    assert types.returncode == 0, types.stdout


def test_the_gate_tells_slower_from_not_slower(run: Callable[..., Any], folder: Path) -> None:
    for name in ("base", "slow", "broken", "empty"):
        assert run(f"new spirals --kind dataset --dir {name}").code == 0
        script = folder / name / "benchmarks" / "gate.py"
        script.write_text(script.read_text("utf-8").replace("ROUNDS = 5", "ROUNDS = 2"), "utf-8")
    shutil.rmtree(folder / "empty" / "src")
    load = "def load() -> data.Dataset:\n"
    for name, line in (
        ("base", "time.sleep(0.01)"),
        ("slow", "time.sleep(0.1)"),
        ("broken", "1 / 0"),
    ):
        path = folder / name / "src" / "spirals" / "dataset.py"
        text = path.read_text(encoding="utf-8").replace(load, f"import time\n{load}    {line}\n")
        path.write_text(text, encoding="utf-8")

    def gate(tree: str, *other: str) -> tuple[int, str]:
        done = python(folder, f"{tree}/benchmarks/gate.py", *other)
        return done.returncode, done.stdout

    assert gate("slow", "base")[0] == 1
    assert gate("base", "slow")[0] == 0
    code, said = gate("broken", "base")
    assert code == 2
    assert "could not be measured" in said
    assert "ZeroDivisionError" in said
    code, said = gate("base", "empty")
    assert (code, "nothing to compare with" in said) == (0, True)
    assert gate("base")[0] == 0


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("", "expected letters and digits, with '-', '_' or '.' between them; got ''"),
        ("-x", "expected letters and digits"),
        ("x-", "expected letters and digits"),
        ("my model", "expected letters and digits"),
        ("modèle", "expected letters and digits"),
        ("a/b", "expected letters and digits"),
        ("x" * (MOST_LETTERS + 1), f"expected at most {MOST_LETTERS} characters; got 31"),
        ("3d", "expected a name that Python can import; got '3d', which gives '3d'"),
        ("class", "expected a name that Python can import"),
        ("json", "would be imported as 'json', which is there already; choose another"),
        ("Flagstone", "would be imported as 'flagstone', which is there already"),
        ("NumPy", "would be imported as 'numpy', which is there already from "),
        ("tests", "would be imported as 'tests'"),
        ("mlp", "there is model 'mlp' already; choose another"),
        ("classifier", "a plugin named 'classifier' is installed (flagstone); choose another"),
    ],
)
def test_names_that_are_refused(
    run: Callable[..., Any], folder: Path, name: str, told: str
) -> None:
    done = run("new --kind model --", name)
    assert done.code == 2
    assert done.error.startswith("NAME: ")
    assert told in done.error
    assert list(folder.iterdir()) == []


def test_names_are_brought_to_one_form(run: Callable[..., Any], folder: Path) -> None:
    assert run("new My.Gated_Net --kind layer").code == 0
    about = tomllib.loads((folder / "my-gated_net" / "pyproject.toml").read_text("utf-8"))
    assert about["project"]["name"] == "my-gated_net"
    assert about["project"]["entry-points"]["flagstone"] == {"my-gated_net": "my_gated_net"}
    source = (folder / "my-gated_net" / "src" / "my_gated_net" / "layer.py").read_text("utf-8")
    assert "\nclass MyGatedNet(nn.Layer):\n" in source


def test_nothing_is_written_over(run: Callable[..., Any], folder: Path) -> None:
    (folder / "full").mkdir()
    (folder / "full" / "note.txt").write_text("mine")
    (folder / "file").write_text("mine")
    done = run("new spirals --kind dataset --dir full")
    assert done.code == 2
    assert done.error == "full: expected a new or empty directory; it is not empty"
    done = run("new spirals --kind dataset --dir file")
    assert done.error == "file: expected a new or empty directory; it is not a directory"
    done = run("new spirals --kind dataset --dir file/below")
    assert done.error.startswith("file/below: cannot be written to: ")
    assert sorted(path.name for path in folder.rglob("*")) == ["file", "full", "note.txt"]


def test_what_its_pages_run_comes_with_it(run: Callable[..., Any], folder: Path) -> None:
    run("new my-model --kind model")
    project = tomllib.loads((folder / "my-model" / "pyproject.toml").read_text())["project"]
    names = {line.partition(">=")[0] for line in project["optional-dependencies"]["dev"]}
    assert names == {"build", "flagstone[sklearn]", "mypy", "pytest", "ruff"}


def test_an_empty_directory_will_do(run: Callable[..., Any], folder: Path) -> None:
    done = run("new spirals --kind dataset --dir .")
    assert done.code == 0
    assert "  pytest .\n" in done.out
    assert (folder / "pyproject.toml").is_file()


def test_the_kind_must_be_said(run: Callable[..., Any]) -> None:
    assert "missing option '--kind'" in run("new spirals").error
    assert "'engine' is not one of 'model', 'layer'" in run("new spirals --kind engine").error
