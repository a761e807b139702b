"""Specs: what they accept, and how a target that cannot be loaded is told."""

from __future__ import annotations

import re
import sys

import pytest

from flagstone.errors import PluginError, UnavailableError
from flagstone.plugins import (
    KINDS,
    BackendSpec,
    DatasetSpec,
    KernelSpec,
    LayerSpec,
    ModelSpec,
    Probe,
    Provider,
)


def backend(**changes):
    return BackendSpec("b", "m:open", **{"devices": ("cpu",), **changes})


def test_there_is_one_hook_per_kind():
    assert sorted(KINDS) == [
        "augmentation", "backend", "dataset", "engine", "layer", "loss", "metric", "model",
        "optimizer", "schedule",
    ]  # fmt: skip
    assert len({spec.hook for spec in KINDS.values()}) == len(KINDS)


@pytest.mark.parametrize(
    "spec",
    [
        LayerSpec("relu", "a.b_c:D.e"),
        LayerSpec("a2-b_c", "m:f", "A layer.", ("sklearn", "a.b"), 1),
        ModelSpec("m", "m:f", task="regression", expected_failed_checks={"check_x": "why"}),
        DatasetSpec("d", "m:f", task="classification"),
        KernelSpec("conv_input_grad", "m:f", overrides=True),
        backend(devices=("cpu", "b"), probe="m:probe", priority=-1),
        backend(devices=("torch:cuda",)),
    ],
    ids=repr,
)
def test_a_sound_spec_has_no_problems_and_can_be_hashed(spec):
    assert list(spec.problems()) == []
    hash(spec)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (LayerSpec("Relu", "m:f"), "name: expected lowercase letters, .* got 'Relu'"),
        (LayerSpec("2d", "m:f"), "name: expected"),
        (LayerSpec("a b", "m:f"), "name: expected"),
        (LayerSpec("", "m:f"), "name: expected"),
        (LayerSpec("relu\n", "m:f"), "name: expected"),
        (LayerSpec(None, "m:f"), "name: expected .* got None"),
        (LayerSpec("relu", "m"), "target: expected 'module:attribute'; got 'm'"),
        (LayerSpec("relu", "m:"), "target: expected"),
        (LayerSpec("relu", print), "target: expected"),
        (LayerSpec("relu", "m:f", None), "summary: expected a string; got None"),
        (LayerSpec("relu", "m:f", requires="torch"), "requires: expected a tuple .* got 'torch'"),
        (LayerSpec("relu", "m:f", api=2), "for plugin api 2, this flagstone takes api 1: upgrade"),
        (LayerSpec("relu", "m:f", api="1"), "for plugin api '1', this flagstone takes api 1"),
        (ModelSpec("m", "m:f", task="cluster"), "task: expected 'classification' or 'regression'"),
        (ModelSpec("m", "m:f", task="regression", expected_failed_checks=["c"]), "a mapping"),
        (DatasetSpec("d", "m:f", task=None), "task: expected .* got None"),
        (backend(devices="cpu"), "devices: expected a tuple of device prefixes; got 'cpu'"),
        (backend(devices=()), "devices: expected a tuple"),
        (backend(devices=("cuda:0",)), "devices: expected names as in .* got 'cuda:0'"),
        (backend(devices=("auto",)), "'auto' is reserved"),
        (backend(probe="m"), "probe: expected 'module:function' or ''; got 'm'"),
        (backend(priority="high"), "priority: expected an integer; got 'high'"),
    ],
    ids=repr,
)
def test_a_problem_names_the_field_what_it_takes_and_what_it_got(spec, told):
    (problem,) = spec.problems()
    assert re.search(told, problem), problem


def test_load_imports_the_target_and_follows_dots():
    assert LayerSpec("relu", "collections:OrderedDict.fromkeys").load()("a") == {"a": None}


PROVIDER = Provider("mine", "mine_plugin", "mine-dist", "1.2", "/site")


def layer(target, **changes):
    return LayerSpec("relu", target, provider=PROVIDER, **changes)


@pytest.mark.parametrize("requires", [("no_such_module",), ("json", "no_such_module.part")])
def test_a_missing_requirement_is_unavailable_and_says_what_to_install(requires):
    with pytest.raises(UnavailableError, match=r"needs the module 'no_such.*pip install") as info:
        layer("json:dumps", requires=requires).load()
    assert str(info.value).startswith("layer 'relu' of plugin 'mine' (mine-dist 1.2, mine_plugin) ")


@pytest.mark.parametrize(
    ("module", "install"),
    [("sklearn", "flagstone[sklearn]"), ("polars", "flagstone[data]"), ("cupy", "cuda13x")],
)
def test_our_extras_are_named_for_the_modules_they_bring(monkeypatch, module, install):
    monkeypatch.setitem(sys.modules, module, None)  # as if not installed
    with pytest.raises(UnavailableError) as info:
        layer("json:dumps", requires=(module,)).load()
    assert install in str(info.value)


def test_a_missing_dependency_of_the_target_is_unavailable(write_module):
    write_module("needy", "import no_such_module.part\n")
    with pytest.raises(UnavailableError, match="needs the module 'no_such_module'"):
        layer("needy:f").load()


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("no_such_module:f", "there is no module 'no_such_module'"),
        ("json.no_such_part:f", "there is no module 'json.no_such_part'"),
        ("json:dumbs", "'json:dumbs': there is no attribute 'dumbs'; did you mean 'dumps'"),
        ("broken:f", "failed: ZeroDivisionError: division by zero .*broken.py, line 2"),
        ("leaves:f", r"failed: it called sys.exit\(3\)"),
        ("misspelt:f", r"invalid syntax|was never closed"),
    ],
)
def test_a_target_that_cannot_be_loaded_is_told_with_its_plugin(write_module, target, told):
    write_module("broken", "x = 1\n1 / 0\n")
    write_module("leaves", "import sys\nsys.exit(3)\n")
    write_module("misspelt", "f = (\n")
    with pytest.raises(PluginError, match=told) as info:
        layer(target).load()
    assert str(info.value).startswith("layer 'relu' of plugin 'mine' (mine-dist 1.2, mine_plugin)")


def test_an_unavailable_error_raised_by_the_target_passes_as_it_is(write_module):
    write_module(
        "honest", "from flagstone.errors import UnavailableError\nraise UnavailableError('no card')"
    )
    with pytest.raises(UnavailableError, match=r"^no card$"):
        layer("honest:f").load()


def test_ctrl_c_while_a_target_is_imported_passes(write_module):
    write_module("slow", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        layer("slow:f").load()


@pytest.mark.parametrize(
    ("probe", "requires", "expected"),
    [
        ("", (), Probe(True)),
        ("probes:works", (), Probe(True, detail="two cards")),
        ("probes:works", ("no_such_module",), "needs the module 'no_such_module'"),
        ("probes:breaks", (), "its probe failed: OSError: no driver .*probes.py, line 7"),
        ("probes:leaves", (), r"its probe failed: it called sys.exit\(1\)"),
        ("probes:forgets", (), "its probe must return a Probe; it returned NoneType"),
        ("no_such_module:probe", (), "there is no module 'no_such_module'"),
    ],
)
def test_a_probe_answers_whatever_happens(write_module, probe, requires, expected):
    write_module(
        "probes",
        """\
        import sys
        from flagstone.plugins import Probe
        def works():
            return Probe(True, detail="two cards")

        def breaks():
            raise OSError("no driver")
        def leaves():
            sys.exit(1)
        def forgets():
            pass
        """,
    )
    answer = backend(probe=probe, requires=requires).run_probe()
    if isinstance(expected, Probe):
        assert answer == expected
    else:
        assert not answer.ok
        assert re.search(expected, answer.reason), answer.reason
