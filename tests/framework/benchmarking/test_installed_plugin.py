"""A plugin that pip has installed is benchmarked by name, by a person and by asv."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
STRANGER = ROOT / "examples" / "plugins" / "flagstone-gated"
ASV = """
import json, sys
sys.path.insert(0, sys.argv[1])
from benchmarks import bench_models, bench_parts, bench_tracks
classes = (bench_models.Step, bench_models.Predict, bench_models.Memory, bench_parts.Layer,
           bench_tracks.OpCalls, bench_tracks.Launches)
print(json.dumps({c.__name__: [name for name in c.params[0] if "gated" in name] for c in classes}))
"""


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of a process in whose environment the plugin is installed."""
    site = tmp_path_factory.mktemp("site")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(site)]
    command = [sys.executable, "-m", "pip", "install", *options, str(STRANGER)]
    subprocess.run(command, check=True, capture_output=True)
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return {**os.environ, **threads, "PYTHONPATH": str(site)}


def printed(environ: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_flagstone_bench_times_it(environ: dict[str, str]) -> None:
    names = ("gated", "gated-block", "--rounds", "1", "--device", "cpu", "--json")
    rows = json.loads(printed(environ, "-m", "flagstone", "bench", *names))["benchmarks"]
    assert {row["name"]: row["error"] + row["skipped"] for row in rows} == dict.fromkeys(
        (
            "layer/gated-block/forward", "layer/gated-block/backward", "step/gated", "fit/gated",
            "predict/gated/one", "predict/gated/many",
        ),
        "",
    )  # fmt: skip
    assert all(row["seconds"] > 0 for row in rows)


def test_asv_times_it(environ: dict[str, str]) -> None:
    assert json.loads(printed(environ, "-c", ASV, str(ROOT / "asv_bench"))) == {
        "Step": ["gated"],
        "Predict": ["gated/one", "gated/many"],
        "Memory": ["gated"],
        "Layer": ["gated-block/forward", "gated-block/backward"],
        "OpCalls": ["gated"],
        "Launches": ["gated"],
    }
