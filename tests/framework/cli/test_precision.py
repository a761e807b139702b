"""``--precision``: refused with a reason, kept in the run, and heeded by what reads it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BACKEND = """
import numpy as np
from flagstone.backend import Backend
from flagstone.devices import Device
from flagstone.plugins import BackendSpec, hookimpl


def linear(x, w, b=None, *, precision="exact"):
    y = x @ w.T if b is None else x @ w.T + b
    return y if precision == "exact" else np.round(y, 1)


class Rough(Backend):
    name, xp, kernels, precisions = "coarse", np, {"linear": linear}, ("exact", "rounded")


def opened(index):
    return Rough(Device("coarse"))


@hookimpl
def flagstone_backends():
    yield BackendSpec("coarse", f"{__name__}:opened", summary="", devices=("coarse",))
"""
MODEL = "--data iris --epochs 2 --batch-size 30"


def test_it_is_refused_before_anything_is_made(run: Callable[..., Any], folder: Path) -> None:
    done = run("train mlp --data iris --precision mixed-bf16")
    assert done.code == 2
    assert done.error.startswith("--precision: expected exact")
    assert done.error.endswith("got 'mixed-bf16': NumPy has no bfloat16")
    assert not (folder / "runs").exists()


def test_a_model_of_float64_says_so(run: Callable[..., Any], plugin: Callable[..., Any]) -> None:
    plugin(BACKEND)
    done = run("train logistic --data breast-cancer --device coarse --precision rounded")
    assert done.code == 2
    assert "--precision" in done.error
    assert "float64" in done.error


@pytest.mark.parametrize("model", ["linear --data diabetes", "kmeans --data iris"])
def test_a_trained_model_of_float64_says_so(run: Callable[..., Any], model: str) -> None:
    directory = run(f"train {model} --json").json["run"]
    for line in (f"evaluate {directory}", f"predict {directory} no-such.csv"):
        done = run(f"{line} --device cpu --precision fast")
        assert done.code == 2
        assert done.error.startswith("--precision expected 'exact', for ")
        assert done.error.endswith(" was trained in float64; got 'fast'")
    assert run(f"evaluate {directory} --precision exact").code == 0


def test_a_run_keeps_it(run: Callable[..., Any], folder: Path, plugin: Callable[..., Any]) -> None:
    plugin(BACKEND)
    done = run(f"train mlp {MODEL} --device coarse --precision rounded --json")
    assert done.json["precision"] == "rounded"
    directory = folder / done.json["run"]
    config = tomllib.loads((directory / "config.toml").read_text())
    assert config["parameters"]["precision"] == "rounded"
    assert json.loads((directory / "environment.json").read_text())["precision"] == "rounded"
    name = str(directory)
    went_on = run(f"train --resume {name} --epochs 3 --json")
    assert went_on.json["precision"] == "rounded"
    assert run(f"evaluate {name} --device coarse --json").json["precision"] == "rounded"
    exact = run(f"evaluate {name} --device coarse --precision exact --json").json
    assert exact["precision"] == "exact"
    refused = run(f"evaluate {name} --device cpu")
    assert refused.code == 2
    assert "--precision exact predicts without" in refused.error
    rows = folder / "rows.csv"
    rows.write_text("5.1,3.5,1.4,0.2\n")
    assert run(f"predict {name} {rows} --device cpu --precision exact").code == 0


@pytest.mark.parametrize("line", ["train mlp --help", "evaluate --help", "predict --help"])
def test_help_tells_of_it(run: Callable[..., Any], line: str) -> None:
    assert "--precision" in run(line).out


def test_doctor_tells_what_there_is(run: Callable[..., Any]) -> None:
    assert "--precision: exact" in run("doctor").out
