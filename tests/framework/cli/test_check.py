"""``flagstone check``: what is chosen, what is told, and how it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flagstone.testing import isolated_plugins

PLUGIN = """
from flagstone import nn, testing
from flagstone.plugins import *

class Plain(nn.Tanh):
    pass

class Wrong(nn.Layer):
    def forward(self, x):
        return x * x.detach()

class Sized(nn.Linear):
    def __init__(self, sizes):
        super().__init__(*sizes)

class SizedSuite(testing.LayerSuite):
    samples = [testing.LayerSample(lambda: Sized((4, 3)), (5, 4), output=(5, 3))]

@hookimpl
def flagstone_layers():
    yield LayerSpec("plain", "checked_plugin:Plain")
    yield LayerSpec("wrong", "checked_plugin:Wrong")
    yield LayerSpec("sized", "checked_plugin:Sized", suite="checked_plugin:SizedSuite")
    yield LayerSpec("unsaid", "checked_plugin:Sized")
    yield LayerSpec("suited", "checked_plugin:Plain", suite="checked_plugin:Plain")
    yield LayerSpec("absent", "checked_plugin:NoSuch")
    yield LayerSpec("lacking", "checked_plugin:Plain", requires=("no_such_module",))
"""


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import importlib
    import sys

    (tmp_path / "checked_plugin.py").write_text(PLUGIN, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    with isolated_plugins(importlib.import_module("checked_plugin")):
        yield
    del sys.modules["checked_plugin"]


def test_a_sound_layer(run: Callable[..., Any]) -> None:
    done = run("check plain")
    assert (done.code, done.err) == (0, "")
    first, *points, last = done.out.splitlines()
    assert first == (
        "layer 'plain' of plugin 'checked_plugin' (registered in this process, checked_plugin), "
        "on cpu"
    )
    assert [line.split()[0] for line in points] == ["pass"] * len(points)
    assert "  pass  save and load         state_dict holds everything that training" in done.out
    assert last == f"{len(points)} points: {len(points)} passed"


def test_a_wrong_layer_ends_with_1_and_says_at_which_point(run: Callable[..., Any]) -> None:
    done = run("check wrong")
    assert done.code == 1
    (failed,) = [line for line in done.out.splitlines() if "FAIL" in line]
    assert failed.startswith("  FAIL  gradients             given (5, 4), training: gradient with")
    assert done.out.splitlines()[-1] == "12 points: 11 passed, 1 failed"


def test_one_json_document(run: Callable[..., Any]) -> None:
    done = run("check wrong --json")
    report = done.json
    assert done.code == 1
    assert (report["ok"], report["failed"], report["device"]) == (False, 1, "cpu")
    (thing,) = report["checked"]
    assert (thing["kind"], thing["name"], thing["ok"]) == ("layer", "wrong", False)
    assert thing["provider"]["module"] == "checked_plugin"
    points = {point["point"]: point for point in thing["points"]}
    assert points["gradients"]["status"] == "failed"
    assert points["gradients"]["reason"].startswith("layer 'wrong', gradients: given (5, 4)")
    assert points["shapes"].keys() == {"point", "status", "reason", "holds", "seconds"}


def test_the_suite_that_a_spec_names_is_used(run: Callable[..., Any]) -> None:
    assert run("check sized").code == 0
    unsaid = run("check unsaid --point shapes")
    assert unsaid.code == 1
    assert "expected a layer that is made with sizes (sizes); got TypeError" in unsaid.out
    assert "say samples = [LayerSample(lambda: ..., (n, ...))] in a LayerSuite" in unsaid.out


@pytest.mark.parametrize(
    ("name", "code", "told"),
    [
        ("suited", 1, "expected a subclass of flagstone.testing.LayerSuite; got Plain"),
        ("absent", 1, "there is no attribute 'NoSuch'"),
        ("lacking", 0, "needs the module 'no_such_module', which is not installed"),
    ],
)
def test_what_cannot_be_loaded_is_one_point(
    run: Callable[..., Any], name: str, code: int, told: str
) -> None:
    done = run(f"check {name} --json")
    (point,) = done.json["checked"][0]["points"]
    assert (done.code, point["point"]) == (code, "loads")
    assert told in point["reason"]


@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        ("check", 2, "say a NAME, or --all"),
        ("check plain --all", 2, "say a NAME, or --all"),
        ("check plane", 2, "unknown name 'plane'; known: .*plain.* Did you mean 'plain'"),
        ("check xyzzy", 2, "unknown name 'xyzzy'; flagstone plugins list tells what there is"),
        ("check plane --kind layer", 2, "unknown layer 'plane'.*Did you mean 'plain'"),
        (
            "check softmax",
            2,
            "'softmax' is a model and a layer.*; say which: --kind model or --kin",
        ),
        ("check plain --kind metric", 2, "is not one of 'model', 'layer'"),
        ("check plain --point shape", 2, "unknown point of layers 'shape'.*mean 'shapes'"),
        ("check --all --point shapes", 2, "--point is for one NAME"),
        ("check plain --device cuda", 3, "device 'cuda'"),
        ("check plain --device abacus", 2, "unknown device 'abacus'"),
    ],
)
def test_what_is_asked_wrongly(run: Callable[..., Any], line: str, code: int, told: str) -> None:
    import re

    done = run(line)
    assert (done.code, done.out) == (code, "")
    assert re.search(told, done.error)


def test_some_points_only(run: Callable[..., Any]) -> None:
    done = run("check softmax --kind layer --point error-messages --point shapes --json")
    points = [point["point"] for point in done.json["checked"][0]["points"]]
    assert points == ["loads", "shapes", "error_messages"]


def test_all_of_a_kind(run: Callable[..., Any]) -> None:
    done = run("check --all --kind schedule")
    assert done.code == 0
    lines = done.out.splitlines()
    assert "schedule cosine: 7 passed" in lines
    assert len(lines) > 10
    wrong = run("check --all --kind layer")
    assert wrong.code == 1
    told = [line for line in wrong.out.splitlines() if "FAIL" in line]
    assert any(line.startswith("layer wrong: FAIL  gradients") for line in told)
    assert len(told) == 14  # wrong; every point of unsaid; suited and absent


def test_a_kernel_and_a_backend(run: Callable[..., Any]) -> None:
    done = run("check relu --kind kernel --json --device cpu")
    assert done.code == 0
    assert done.json["checked"][0]["provider"]["distribution"] == "flagstone"
    backend = run("check numpy --kind backend --json --point contract").json
    assert backend["device"] == "cpu"
    assert backend["checked"][0]["points"][1]["status"] == "passed"


@pytest.mark.parametrize(
    ("error", "code"), [(SystemExit(143), 143), (KeyboardInterrupt(), 130), (SystemExit(1), 1)]
)
def test_a_signal_ends_the_check_and_is_nobodys_failure(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    from flagstone.testing import LayerSuite

    class Stopped(LayerSuite):
        def test_shapes(self) -> None:
            raise error

    monkeypatch.setattr(LayerSuite, "test_shapes", Stopped.test_shapes)
    done = run("check plain --point shapes")
    assert done.code == code
    assert ("FAIL" in done.out) == (code == 1)
