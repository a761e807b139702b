"""What was written for api 1 keeps working: a frozen plugin, really installed, in use."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flagstone.plugins import KINDS
from flagstone.plugins.specs import SUPPORTED_APIS

SOURCE = Path(__file__).parent / "api1" / "frozen_plugin.py"
SHA256 = "74658592db1f52a8b91d29d56f3ba44bf33c730712fe7d21e687c3806dd021be"
HOOKS = {
    "flagstone_backends", "flagstone_models", "flagstone_layers", "flagstone_losses",
    "flagstone_metrics", "flagstone_optimizers", "flagstone_schedules", "flagstone_datasets",
    "flagstone_engines", "flagstone_kernels", "flagstone_callbacks", "flagstone_commands",
}  # fmt: skip

pytestmark = pytest.mark.skipif(1 not in SUPPORTED_APIS, reason="api 1 has come to its end")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the plugin is installed, under ``site``."""
    where = tmp_path_factory.mktemp("api1")
    info = where / "site" / "api1_plugin-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: api1-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[flagstone]\napi1 = frozen_plugin\n")
    (where / "site" / SOURCE.name).write_bytes(SOURCE.read_bytes())
    return where


def python(folder: Path, *arguments: str) -> str:
    """What a fresh interpreter prints, a warning being an error."""
    path = [str(folder / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr.lower(), done.stderr
    return done.stdout


def test_the_plugin_is_frozen() -> None:
    found = hashlib.sha256(SOURCE.read_bytes().replace(b"\r\n", b"\n")).hexdigest()
    assert found == SHA256, (
        f"{SOURCE.name} was changed. It stands for the plugins that are out there: if it breaks, "
        "so do they. Change flagstone, or begin api 2 (docs/plugins/versioning.md)"
    )


def test_every_hook_is_heard_and_every_spec_taken(folder: Path) -> None:
    document = json.loads(python(folder, "-m", "flagstone", "plugins", "list", "--json"))
    (row,) = (row for row in document["plugins"] if row["name"] == "api1")
    assert (row["status"], row["reason"]) == ("ok", "")
    assert set(row["hooks"]) == HOOKS
    newer = {"augmentation"}  # kinds that came after the plugin was frozen
    assert row["provides"].keys() == KINDS.keys() - newer


def test_all_of_it_trains_together(folder: Path) -> None:
    told = python(
        folder, "-m", "flagstone", "train", "api1-model", "--data", "api1-data", "--width", "6",
        "--device", "api1-device", "--json",
    )  # fmt: skip
    summary = json.loads(told)
    assert (summary["backend"], summary["device"]) == ("api1-device", "api1-device")
    noted = (folder / summary["run"] / "noted.txt").read_text().splitlines()
    assert noted == [
        "begin 5",
        *(f"epoch {i + 1} {0.01 * 0.5 ** (i // 2):.6f}" for i in range(5)),
        "end 5",
    ]
    python(folder, "-m", "flagstone", "evaluate", summary["run"])
    python(folder, "-m", "flagstone", "train", "api1-regressor", "--data", "line", "--lr", "0.1")


def test_its_command_its_kernels_and_its_parts(folder: Path) -> None:
    assert python(folder, "-m", "flagstone", "api1-command", "word") == "WORD\n"
    code = """
import flagstone as fs
import frozen_plugin as plugin
from flagstone import ops
from flagstone.backend import open_backend
from flagstone.plugins import registry

backend = open_backend("api1-device")
assert backend.kernels["relu"] is plugin.relu
assert backend.kernels["tanh"] is plugin.tanh
x = fs.tensor([[1.0, -2.0, 3.0]], device="api1-device", requires_grad=True)
layer = registry.load("layer", "api1-layer")(3)
loss = registry.load("loss", "api1-loss")()
value = loss(layer(x), ops.tanh(x.detach()) + 1.0)
assert abs(value.item() - 1.0) < 1e-5, value
value.backward()
assert x.grad.shape == (1, 3)
assert registry.load("metric", "api1-metric")([1.0, 2.0], [1.0, 5.0]) == 3.0
print(registry.load("engine", "api1-engine").__name__)
"""
    assert python(folder, "-c", code) == "Engine\n"
