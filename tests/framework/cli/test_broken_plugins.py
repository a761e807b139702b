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
    for part in ("plugin a is failed", "plugin d is failed", "plugin numpy is conflict"):
        assert part in problems


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
