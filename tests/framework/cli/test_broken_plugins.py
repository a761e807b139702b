"""Every way in which a plugin breaks, installed at once: all commands go on working."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

MODULES = {
    "bad_import": "import no_such_module_anywhere\n",
    "bad_signature": (
        "from flagstone.plugins import hookimpl\n@hookimpl\ndef flagstone_models(nope): return []\n"
    ),
    "bad_hook": (
        "from flagstone.plugins import hookimpl\n"
        "@hookimpl\ndef flagstone_models(): raise ValueError('half done')\n"
        "@hookimpl\ndef flagstone_commands(cli): raise ValueError('no commands either')\n"
        "@hookimpl\ndef flagstone_kernels(backend): raise ValueError('no kernels')\n"
        "@hookimpl\ndef flagstone_callbacks(run): raise ValueError('no callbacks')\n"
    ),
    "bad_exit": "import sys\nsys.exit(7)\n",
    "bad_name": (
        "from flagstone.plugins import BackendSpec, hookimpl\n"
        "@hookimpl\ndef flagstone_backends(): "
        "yield BackendSpec('numpy', 'bad_name:x', devices=('cpu',))\n"
    ),
}
POINTS = {
    "a": "bad_import",
    "b": "bad_signature",
    "c": "bad_hook",
    "d": "bad_exit",
    "numpy": "bad_name",
}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with those plugins as installed distributions."""
    folder = tmp_path / "site"
    folder.mkdir()
    for point, module in POINTS.items():
        info = folder / f"{module}-1.2.dist-info"
        info.mkdir()
        name = module.replace("_", "-")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[flagstone]\n{point} = {module}\n")
        (folder / f"{module}.py").write_text(MODULES[module])
    return folder


def test_every_command_works(spawn: Callable[..., Any], site: Path) -> None:
    for line in ("--help", "--version", "models", "datasets", "backends", "plugins list"):
        done = spawn(line, site=site)
        assert done.code == 0, line
        assert "Traceback" not in done.err
    done = spawn("train softmax --data iris --epochs 2 --json", site=site)
    assert done.code == 0, done.err
    assert done.json["backend"] == "numpy"
    assert "warning: plugin 'c' (bad-hook 1.2, bad_hook)" in done.err
    assert spawn("evaluate runs/softmax-0001 --json", site=site).code == 0
    assert spawn("predict runs/softmax-0001 -", stdin="1,2,3,4\n", site=site).code == 0


def test_every_story_is_told(spawn: Callable[..., Any], site: Path) -> None:
    done = spawn("plugins list --json", site=site)
    rows = {row["module"]: row for row in done.json["plugins"]}
    for module, status, reason in (
        ("bad_import", "failed", "no_such_module_anywhere"),
        ("bad_signature", "failed", "wrong hook signature"),
        ("bad_hook", "failed", "half done"),
        ("bad_exit", "failed", "it called sys.exit(7)"),
        ("bad_name", "conflict", "the plugin name 'numpy' belongs to"),
        ("flagstone_numpy", "ok", ""),
    ):
        assert rows[module]["status"] == status, module
        assert reason in rows[module]["reason"]
    text = spawn("plugins list", site=site).out
    assert "half done" in text
    problems = "\n".join(spawn("doctor --json", site=site).json["problems"])
    for part in ("plugin a failed: ", "plugin d failed: ", "plugin numpy has a conflict: "):
        assert part in problems


def test_a_kernel_that_is_none_is_told_by_the_list(
    spawn: Callable[..., Any], tmp_path: Path
) -> None:
    info = tmp_path / "slow-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: slow\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[flagstone]\nslow = slow_kernels\n")
    (tmp_path / "slow_kernels.py").write_text(
        "from flagstone.plugins import KernelSpec, hookimpl\n"
        "@hookimpl\ndef flagstone_kernels(backend): return [KernelSpec('no-such-op', 'a:b')]\n"
    )
    done = spawn("plugins list --json", site=tmp_path)
    assert (done.code, done.err) == (0, "")
    (row,) = (row for row in done.json["plugins"] if row["name"] == "slow")
    assert row["status"] == "failed"
    assert "no-such-op" in row["reason"]


def test_strict_mode_stops_work_but_not_the_ways_out(spawn: Callable[..., Any], site: Path) -> None:
    strict = {"site": site, "FLAGSTONE_STRICT_PLUGINS": "1"}
    done = spawn("models", **strict)
    assert done.code == 3
    assert "half done" in done.error
    done = spawn("--help", **strict)
    assert done.code == 0
    assert "Commands:" in done.out
    assert spawn("plugins list", **strict).code == 0
    done = spawn("doctor", **strict)
    assert done.code == 0
    assert "half done" in done.out


def test_no_plugins_leaves_them_out(spawn: Callable[..., Any], site: Path) -> None:
    done = spawn("--no-plugins plugins list --json", site=site)
    status = {row["module"]: row["status"] for row in done.json["plugins"]}
    assert {status[module] for module in MODULES} == {"disabled"}
    assert status["flagstone_numpy"] == "ok"
    assert spawn("--no-plugins models", site=site, FLAGSTONE_STRICT_PLUGINS="1").code == 0


@pytest.fixture
def installed(tmp_path: Path) -> Callable[[str], Path]:
    """``installed(source)`` lays out one plugin, named ``talk``; returns the folder."""

    def lay(source: str) -> Path:
        folder = tmp_path / "installed"
        info = folder / "talk-1.2.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: talk\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text("[flagstone]\ntalk = talk_plugin\n")
        (folder / "talk_plugin.py").write_text(source)
        return folder

    return lay


TALKS = """
import warnings
import flagstone as fs
from flagstone.plugins import Probe, hookimpl
print("at import")
warnings.warn("old thing")

@hookimpl
def flagstone_models():
    print("asked")
    yield fs.ModelSpec("talker", "talk_target:Talker", task="classification")
    yield fs.ModelSpec("number", "talk_target:NUMBER", task="classification")

@hookimpl
def flagstone_datasets():
    yield fs.DatasetSpec("words", "talk_target:words", task="classification")

@hookimpl
def flagstone_backends():
    yield fs.BackendSpec("far", "x:y", devices=("far",), probe="talk_plugin:probe")

def probe():
    print("probed")
    return Probe(False, "too far")
"""
TARGET = """
import flagstone as fs
print("target imported")
NUMBER = 3

class Talker(fs.Classifier):
    def build(self, inputs, outputs):
        return fs.nn.Linear(inputs.size, outputs.size)

def words():
    print("read")
    from flagstone.data import load
    return load("iris")
"""


@pytest.fixture
def talks(installed: Callable[[str], Path]) -> Path:
    """A plugin that prints wherever it can."""
    folder = installed(TALKS)
    (folder / "talk_target.py").write_text(TARGET)
    return folder


def test_what_a_plugin_prints_is_never_a_result(spawn: Callable[..., Any], talks: Path) -> None:
    done = spawn("models --json", site=talks)
    assert {row["name"] for row in done.json["models"]} > {"talker", "softmax"}
    assert "at import\n" in done.err
    assert "asked\n" in done.err
    done = spawn("backends --json", site=talks)
    assert "probed" in done.err
    assert done.json["backends"]
    done = spawn("train talker --data words --epochs 1 --json", site=talks)
    assert done.json["model"] == "talker"
    assert "target imported\n" in done.err
    assert "read\n" in done.err


def test_a_warning_of_a_plugin_names_it(spawn: Callable[..., Any], talks: Path) -> None:
    done = spawn("models", site=talks)
    assert "warning: plugin 'talk' (talk 1.2, talk_plugin): old thing" in done.err.splitlines()


def test_a_target_that_is_no_model_is_the_plugins_fault(
    spawn: Callable[..., Any], talks: Path
) -> None:
    done = spawn("train number --data iris", site=talks)
    assert done.err.splitlines()[-1] == (
        "error: model 'number' of plugin 'talk' (talk 1.2, talk_plugin): target "
        "'talk_target:NUMBER': expected a subclass of flagstone.Classifier or "
        "flagstone.Regressor; got an int"
    )
    assert done.code == 3


def test_an_interruption_while_a_plugin_is_imported_names_it(
    spawn: Callable[..., Any], installed: Callable[[str], Path]
) -> None:
    site = installed("raise KeyboardInterrupt\n")
    done = spawn("models", site=site)
    assert (done.code, done.out) == (130, "")
    (line,) = filter(None, done.err.splitlines())
    assert line.startswith("interrupted while importing plugin 'talk' (talk 1.2, talk_plugin); ")
    assert "--no-plugins" in line
    assert spawn("--no-plugins models", site=site).code == 0


def test_a_run_whose_plugin_is_gone_says_so(spawn: Callable[..., Any], talks: Path) -> None:
    assert spawn("train talker --data iris --epochs 1", site=talks).code == 0
    resume, evaluate = "train --resume runs/talker-0001", "evaluate runs/talker-0001"
    for line in (resume, evaluate):
        done = spawn(line)
        assert done.error.startswith(
            "runs/talker-0001: a run of the model 'talker', which no plugin provides now; "
            "install the plugin it was trained with."
        )
        assert "--no-plugins" not in done.error
        assert done.code == 3
        done = spawn(f"--no-plugins {line}", site=talks)
        assert "--no-plugins leaves out plugins that are installed; go without it." in done.error
        assert done.code == 3


def test_a_plugin_that_cannot_be_imported_might_bring_any_kind(
    spawn: Callable[..., Any], site: Path
) -> None:
    rows = spawn("plugins list --kind model --json", site=site).json["plugins"]
    modules = {row["module"] for row in rows}
    assert {"bad_import", "bad_signature", "bad_exit", "bad_hook"} <= modules
    assert "flagstone_numpy" not in modules
