"""The README does what it says: its Python runs, its plugin trains, its commands end as written."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
PYTHON = [text for language, text in BLOCKS if language == "python"]
PLUGIN = next(text for text in PYTHON if "flagstone_models" in text)
SHELL = "\n".join(text for language, text in BLOCKS if language == "sh")

pytest.importorskip("sklearn", reason="the README's data sets need the extra sklearn")


def run(command: list[str], where: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=where,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def flagstone(text: str, where: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return run([sys.executable, "-m", "flagstone", *shlex.split(text)], where, **variables)


@pytest.mark.parametrize("text", PYTHON, ids=lambda text: text.splitlines()[0])
def test_python_runs_as_printed(text: str, tmp_path: Path) -> None:
    result = run([sys.executable, "-W", "error", "-c", text], tmp_path)
    assert result.returncode == 0, result.stderr


def test_the_hand_written_loop_learns_xor(tmp_path: Path) -> None:
    text = next(text for text in PYTHON if "fs.optim.Adam" in text)
    assert float(run([sys.executable, "-c", text], tmp_path).stdout) < 0.1


def test_the_plugin_trains_once_its_entry_point_is_installed(tmp_path: Path) -> None:
    (tmp_path / "widemodel.py").write_text(PLUGIN)
    metadata = tmp_path / "widemodel-0.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: widemodel\nVersion: 0.1\n")
    (metadata / "entry_points.txt").write_text("[flagstone]\nwidemodel = widemodel\n")
    result = flagstone(
        "train wide --data digits --width 256 --epochs 2", tmp_path, PYTHONPATH=str(tmp_path)
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "runs" / "wide-0001" / "model.safetensors").is_file()


def test_the_commands_end_as_the_text_says(tmp_path: Path) -> None:
    """In order, in one directory, as a reader would type them; installation apart."""
    (tmp_path / "house.csv").write_text("rooms,price\n2,180\n3,260\n4,330\n5,420\n")
    ran = 0
    for line in SHELL.replace("\\\n", " ").splitlines():
        text = line.partition("  #")[0].strip()
        variables = {}
        while re.match(r"[A-Z_]+=", text):
            setting, _, text = text.partition(" ")
            name, _, variables[name] = setting.partition("=")
        if "pip install" in text:
            text = text.partition("&&")[2].strip()
        program, _, rest = text.partition(" ")
        if program == "flagstone":
            result = flagstone(rest, tmp_path, **variables)
        elif program == "python":
            result = run([sys.executable, *shlex.split(rest)], tmp_path)
        else:
            assert program in ("", "pytest"), f"the README has a command unknown here: {text}"
            continue
        ran += 1
        no_card = "--device cuda" in text and "CuPy is not installed" in result.stderr
        assert result.returncode == (3 if no_card else 0), f"{text}\n{result.stderr}"
    assert ran >= 12


def test_every_model_is_named_in_the_readme() -> None:
    from flagstone.plugins import registry

    missing = [name for name in registry.names("model") if f"`{name}`" not in README]
    assert not missing


def test_links_lead_somewhere() -> None:
    root = Path(__file__).parents[1]
    targets = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert targets
    assert [t for t in targets if not (root / t).exists()] == []
