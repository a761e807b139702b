"""``flagstone bench``: what is measured, told and compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PLUGIN = """
from dataclasses import dataclass
import flagstone as fs
from flagstone import nn
from flagstone.plugins import *

class Slow(nn.Tanh):
    pass

@dataclass(kw_only=True, eq=False, repr=False)
class Mine(fs.Classifier):
    def build(self, inputs, outputs):
        return nn.Linear(inputs.size, outputs.size)

class Raises(Mine):
    def build(self, inputs, outputs):
        raise ZeroDivisionError("as planted")

@hookimpl
def flagstone_models():
    yield ModelSpec("raises", "test_plugin:Raises", task="classification")
    yield ModelSpec("mine", "test_plugin:Mine", task="classification")

@hookimpl
def flagstone_layers():
    yield LayerSpec("slow", "test_plugin:Slow")
"""


def test_a_plugins_model_and_layer_are_there_by_name(
    run: Callable[..., Any], plugin: Callable[[str], Path]
) -> None:
    plugin(PLUGIN)
    listed = run("bench --list mine slow --json")
    assert [row["name"] for row in listed.json["benchmarks"]] == [
        "layer/slow/forward", "layer/slow/backward", "step/mine", "fit/mine", "predict/mine/one",
        "predict/mine/many",
    ]  # fmt: skip
    done = run("bench mine layer/slow/* --rounds 1 --device cpu --json")
    assert done.code == 0
    rows = done.json["benchmarks"]
    assert len(rows) == 6
    assert all(row["seconds"] > 0 and row["device"] == "cpu" for row in rows)
    assert not any(row["error"] or row["skipped"] for row in rows)


def test_the_document(run: Callable[..., Any]) -> None:
    done = run("bench kernel/add/small --rounds 2 --device cpu --json")
    assert done.code == 0
    assert done.json["rounds"] == 2
    assert {"python", "numpy", "cpus", "platform", "variables"} <= set(done.json)
    (row,) = done.json["benchmarks"]
    assert row["name"] == "kernel/add/small"
    assert len(row["samples"]) == 10
    assert row["fastest"] == min(row["samples"])
    assert row["verdict"] is None


def test_the_table(run: Callable[..., Any]) -> None:
    done = run("bench kernel/add/small step/kmeans --rounds 1 --device cpu")
    assert done.code == 0
    header, first, second = done.out.splitlines()
    assert header.split() == ["name", "device", "time", "fastest", "spread"]
    assert first.startswith("kernel/add/small")
    assert "skipped: here: model kmeans: it is not trained in steps" in second
    assert "2 to time, in 1 rounds" in done.err


def test_against_a_file(run: Callable[..., Any], folder: Path) -> None:
    before = run("bench kernel/add/small --rounds 1 --device cpu --json").json
    quick = dict(before["benchmarks"][0])
    document = folder / "before.json"
    for scale, expected in ((1000.0, "faster"), (0.001, "slower")):
        quick["samples"] = [scale * s for s in before["benchmarks"][0]["samples"]]
        document.write_text(json.dumps({"benchmarks": [quick]}), encoding="utf-8")
        done = run("bench kernel/add/* --rounds 1 --device cpu --against before.json --json")
        small, large = done.json["benchmarks"][:2]
        assert small["verdict"] == expected
        assert small["low"] <= small["ratio"] <= small["high"]
        assert large["verdict"] is None
    told = run("bench kernel/add/* --rounds 1 --device cpu --against before.json")
    assert "slower" in told.out
    assert "not measured there" in told.out
    assert "was not measured in turns" in told.out


def test_a_failing_benchmark_is_told_and_the_rest_is_measured(
    run: Callable[..., Any], plugin: Callable[[str], Path]
) -> None:
    plugin(PLUGIN)
    done = run("bench kernel/add/small fit/raises --rounds 1 --device cpu --json")
    assert done.code == 1
    good, bad = done.json["benchmarks"]
    assert good["seconds"] > 0
    assert bad["seconds"] is None
    assert bad["error"] == "here: ZeroDivisionError: as planted"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("bench kernal", "unknown benchmark 'kernal'"),
        ("bench add --device no-such", "unknown device 'no-such'"),
        ("bench kernel/add/small --against no-such", "is no file here and no commit"),
        ("bench add --list --device cpu", "--device does not go with --list"),
        ("bench add --list --rounds 2", "--rounds does not go with --list"),
        ("bench add --factor 2", "--factor is for --against"),
    ],
)
def test_mistakes(spawn: Callable[..., Any], line: str, message: str) -> None:
    done = spawn(line)
    assert done.code == 2
    assert message in done.err
    assert "Traceback" not in done.err


def test_the_variable_names_the_device(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLAGSTONE_DEVICE", "no-such")
    done = run("bench kernel/add/small --rounds 1")
    assert done.code == 2
    assert done.error.startswith("FLAGSTONE_DEVICE: unknown device 'no-such'")
    assert run("bench kernel/add/small --rounds 1 --device cpu").code == 0


def test_a_file_that_is_something_else(spawn: Callable[..., Any], folder: Path) -> None:
    (folder / "x.json").write_text("[]", encoding="utf-8")
    done = spawn("bench kernel/add/small --rounds 1 --device cpu --against x.json")
    assert done.code == 2
    assert "is no file that flagstone bench --json wrote" in done.err
    assert "to time" not in done.err  # it is refused first
