"""The registry over plugins in memory: look-ups, isolation, conflicts."""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
import sys
import threading

import pytest

from flagstone.errors import UnknownNameError
from flagstone.plugins import (
    KINDS,
    Provider,
    Registry,
)

LAYER = """
@hookimpl
def flagstone_layers():
    yield LayerSpec("{0}", "json:dumps")
"""
GOOD = LAYER.format("good")


def test_look_ups_find_what_plugins_provide(registry_of):
    registry = registry_of({"b": LAYER.format("zeta"), "a": LAYER.format("beta")})
    assert registry.names("layer") == ["beta", "zeta"]
    assert registry.find("layer", "zeta").target == "json:dumps"
    assert registry.load("layer", "zeta") is json.dumps
    assert registry.find("layer", "zeta").provider == Provider("b", "b_plugin", "b-dist", "1.2")
    assert all(registry.names(kind) == [] for kind in KINDS if kind != "layer")


def test_own_plugins_come_first_then_the_rest_by_name(registry_of):
    registry = registry_of(
        {"zed": LAYER.format("one"), "abe": LAYER.format("two")},
        own={"own-b": LAYER.format("three"), "own-a": LAYER.format("four")},
    )
    assert [row.name for row in registry.providers()] == ["own-a", "own-b", "abe", "zed"]
    assert [spec.name for spec in registry.specs("layer")] == ["four", "three", "two", "one"]


def test_an_unknown_name_suggests_and_says_which_plugins_have_problems(registry_of):
    registry = registry_of({"good": GOOD, "bad": "1/0"})
    with pytest.raises(UnknownNameError, match=r"unknown layer 'goood'; known: good\. Did") as info:
        registry.find("layer", "goood")
    assert "with problems: bad (`flagstone plugins list` says why)" in str(info.value)
    with pytest.raises(UnknownNameError, match=r"unknown kind 'layers'.*Did you mean 'layer'"):
        registry.names("layers")


BROKEN = {
    "import": ("1 / 0", "importing {0}_plugin failed: ZeroDivisionError: division .*{0}_pl"),
    "missing": ("import no_such_module", "No module named 'no_such_module'"),
    "exits": ("import sys; sys.exit(3)", r"importing .* failed: it called sys.exit\(3\)"),
    "quiet": ("raise RuntimeError", r"failed: RuntimeError \("),
    "unprintable": (
        "class Odd(Exception):\n    def __str__(self): 1 / 0\nraise Odd",
        "Odd: its message cannot be shown",
    ),
    "argument": (
        "@hookimpl\ndef flagstone_models(config): return []",
        r"wrong hook signature: .*'config'.*; the hook is flagstone_models\(\)$",
    ),
    "argument-name": (
        "@hookimpl\ndef flagstone_kernels(device): return []",
        r"wrong hook signature: .*'device'.*; the hook is flagstone_kernels\(backend\)$",
    ),
    "unknown-hook": (
        "@hookimpl\ndef flagstone_modles(): return []",
        "unknown hook flagstone_modles; did you mean flagstone_models",
    ),
    "no-prefix": (
        "@hookimpl\ndef models(): return []",
        "unknown hook models; did you mean flagstone_models",
    ),
    "unmarked": ("def flagstone_models(): return []", "flagstone_models is not marked @hookimpl"),
    "unmarked-unknown": ("def flagstone_zzz(): pass", "unknown hook flagstone_zzz; known: flag"),
    "empty": ("", "it implements no hook: mark functions such as flagstone_models @hookimpl"),
    "raises": (
        "@hookimpl\ndef flagstone_models(): raise KeyError('x')",
        "flagstone_models failed: KeyError: 'x' .*{0}_plugin.py, line 3",
    ),
    "raises-late": (
        "@hookimpl\ndef flagstone_layers():\n    yield LayerSpec('half', 'json:dumps')\n    1 / 0",
        "flagstone_layers failed: ZeroDivisionError",
    ),
    "exits-in-hook": (
        "import sys\n@hookimpl\ndef flagstone_models(): sys.exit('bye')",
        r"flagstone_models failed: it called sys.exit\(bye\)",
    ),
    "stops": (
        "@hookimpl\ndef flagstone_models(): raise StopIteration",
        "flagstone_models failed: ",
    ),
    "none": (
        "@hookimpl\ndef flagstone_models(): pass",
        "flagstone_models: it returned None; yield each ModelSpec, or return a list",
    ),
    "one-spec": (
        "@hookimpl\ndef flagstone_layers(): return LayerSpec('half', 'json:dumps')",
        "flagstone_layers: it returned a LayerSpec, which is no collection of specs; yield each",
    ),
    "string": (
        "@hookimpl\ndef flagstone_layers(): return 'half'",
        "flagstone_layers: it returned a str, which is no collection",
    ),
    "wrong-type": (
        "@hookimpl\ndef flagstone_models(): yield LayerSpec('half', 'json:dumps')",
        "flagstone_models: expected a ModelSpec; got a LayerSpec",
    ),
    "wrong-argument": (
        "@hookimpl\ndef flagstone_models(): yield ModelSpec('half', 'json:dumps')",
        "flagstone_models failed: TypeError: .*missing 1 required keyword-only argument: 'task'",
    ),
    "bad-name": (
        "@hookimpl\ndef flagstone_layers(): yield LayerSpec('Half', 'json:dumps')",
        "flagstone_layers: layer 'Half': name: expected lowercase letters",
    ),
    "api": (
        "@hookimpl\ndef flagstone_layers(): yield LayerSpec('half', 'json:dumps', api=7)",
        "layer 'half': it is written for plugin api 7, this flagstone takes api 1: upgrade",
    ),
    "looks-up": (
        "from flagstone.plugins import registry\nregistry.names('layer')\n"
        "@hookimpl\ndef flagstone_layers(): return []",
        None,  # asks the process's registry, which is another: works
    ),
}  # fmt: skip


@pytest.mark.parametrize("story", BROKEN)
def test_a_broken_plugin_is_told_and_the_others_work(only_row, registry_of, story):
    source, told = BROKEN[story]
    registry = registry_of({story: source, "good": GOOD}, own={"core": LAYER.format("builtin")})
    assert registry.names("layer") == ["builtin", "good"]
    assert registry.names("model") == []
    row = only_row(registry, story)
    if told is None:
        assert row.status == "ok"
        return
    assert row.status == "failed"
    assert "\n" not in row.reason
    assert re.search(told.format(story), row.reason), row.reason
    assert (row.distribution, row.version, row.module) == (
        f"{story}-dist",
        "1.2",
        f"{story}_plugin",
    )
    assert {row.status for row in registry.providers() if row.name != story} == {"ok"}


def test_a_target_that_names_no_attribute_is_told(only_row, write_module):
    write_module("some", "plug = 1")
    registry = Registry([Provider("p", "some:plugg", "d", "1")])
    assert only_row(registry, "p").reason == (
        "'some:plugg': there is no attribute 'plugg'; did you mean 'plug'?"
    )


def test_what_is_sound_in_a_plugin_works_though_another_part_fails(only_row, registry_of):
    source = GOOD + "\n    yield 3\n@hookimpl\ndef flagstone_models(): 1 / 0"
    registry = registry_of({"mixed": source})
    row = only_row(registry, "mixed")
    assert registry.names("layer") == ["good"]
    assert row.provides == {"layer": ("good",)}
    assert row.hooks == ("flagstone_models", "flagstone_layers")
    assert row.status == "failed"
    assert "expected a LayerSpec; got an int" in row.reason
    assert "flagstone_models failed: ZeroDivisionError" in row.reason


def test_ctrl_c_passes_and_the_next_look_up_begins_anew(registry_of, write_module):
    registry = registry_of({"slow": "raise KeyboardInterrupt", "good": GOOD})
    with pytest.raises(KeyboardInterrupt):
        registry.names("layer")
    write_module("slow_plugin", "")
    importlib.invalidate_caches()
    assert registry.names("layer") == ["good"]


def test_a_stranger_cannot_take_a_plugin_name(only_row, registry_of, write_module):
    registry = registry_of(own={"numpy": LAYER.format("builtin")})
    write_module("thief", "raise AssertionError('it was imported')")
    own = only_row(registry, "numpy")
    both = Registry(
        [
            Provider("numpy", "thief", "a-thief", "9"),
            Provider("numpy", own.module, "flagstone", "0.1"),
        ]
    )
    assert both.names("layer") == ["builtin"]
    first, second = both.providers()
    assert (first.distribution, first.status) == ("flagstone", "ok")
    assert (second.distribution, second.status) == ("a-thief", "conflict")
    assert second.reason == (
        "the plugin name 'numpy' belongs to plugin 'numpy' (flagstone 0.1, numpy_own); "
        "rename this one's entry point"
    )
    assert "thief" not in sys.modules


def test_two_specs_of_one_name_are_a_conflict_and_the_first_keeps_it(only_row, registry_of):
    registry = registry_of(
        {"aaa": LAYER.format("relu") + "    yield LayerSpec('mine', 'json:dumps')"},
        own={"core": LAYER.format("relu")},
    )
    assert registry.find("layer", "relu").provider.distribution == "flagstone"
    assert registry.names("layer") == ["mine", "relu"]
    row = only_row(registry, "aaa")
    assert (row.status, row.provides) == ("conflict", {"layer": ("mine",)})
    assert row.reason == (
        "layer 'relu' of plugin 'aaa' (aaa-dist 1.2, aaa_plugin) left out: "
        "'relu' belongs to layer 'relu' of plugin 'core' (flagstone 0.1, core_own)"
    )


def test_one_name_in_two_kinds_is_no_conflict(only_row, registry_of):
    model = "@hookimpl\ndef flagstone_models(): yield ModelSpec('good', 'm:f', task='regression')"
    registry = registry_of({"both": f"{GOOD}\n{model}"})
    assert only_row(registry, "both").provides == {"model": ("good",), "layer": ("good",)}


BACKEND = """
@hookimpl
def flagstone_backends():
    yield BackendSpec("{0}", "json:dumps", devices={1}, priority=9999)
"""


@pytest.mark.parametrize(
    ("name", "devices", "taken"),
    [
        ("numpy", ("evil",), "'numpy'"),
        ("evil", ("cpu",), "'cpu'"),
        ("evil", ("evil", "numpy"), "'numpy'"),
        ("cpu", ("evil",), "'cpu'"),
    ],
)
def test_a_backend_cannot_take_the_name_or_the_devices_of_another(
    only_row, registry_of, name, devices, taken
):
    registry = registry_of(
        {"evil": BACKEND.format(name, devices)}, own={"numpy": BACKEND.format("numpy", ("cpu",))}
    )
    assert registry.names("backend") == ["numpy"]
    row = only_row(registry, "evil")
    assert row.status == "conflict"
    assert f"left out: {taken} belongs to backend 'numpy' of plugin 'numpy'" in row.reason


def test_a_look_up_while_plugins_are_collected_is_that_plugins_failure(
    only_row, registry_of, monkeypatch
):
    source = "import builtins\nbuiltins.the_registry.names('layer')\n" + GOOD
    registry = registry_of({"eager": source, "good": GOOD})
    monkeypatch.setattr("builtins.the_registry", registry, raising=False)
    assert registry.names("layer") == ["good"]
    assert "looked something up while plugins were being" in only_row(registry, "eager").reason


def test_the_first_look_up_happens_once_whatever_the_threads(registry_of, monkeypatch):
    source = "import builtins, time\nbuiltins.imports.append(1)\ntime.sleep(0.05)\n" + GOOD
    imports = []
    monkeypatch.setattr("builtins.imports", imports, raising=False)
    registry = registry_of({"good": source})
    barrier, seen = threading.Barrier(8), []

    def look_up():
        barrier.wait()
        seen.append(registry.names("layer"))

    threads = [threading.Thread(target=look_up) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert seen == [["good"]] * 8
    assert imports == [1]


def test_rows_become_json(registry_of):
    registry = registry_of({"good": GOOD, "bad": "1/0"})
    rows = json.loads(json.dumps([dataclasses.asdict(row) for row in registry.providers()]))
    assert [set(row) for row in rows] == [
        {"name", "status", "reason", "distribution", "version", "module", "location", "hooks",
         "provides"}
    ] * 2  # fmt: skip
    assert rows[1]["provides"] == {"layer": ["good"]}
    assert rows[1]["location"].endswith("good_plugin.py")


def test_a_list_that_was_handed_out_can_be_changed(registry_of):
    registry = registry_of({"good": GOOD})
    registry.specs("layer").clear()
    registry.names("layer").clear()
    assert registry.names("layer") == ["good"]


ASKED = """
import builtins
@hookimpl
def flagstone_layers():
    builtins.asked.append("layer")
    yield LayerSpec("{0}", "json:dumps")
@hookimpl
def flagstone_losses():
    builtins.asked.append("loss")
    yield LossSpec("{0}", "json:dumps")
"""


def test_a_kind_is_asked_for_once_and_when_it_is_wanted(only_row, registry_of, monkeypatch):
    asked = []
    monkeypatch.setattr("builtins.asked", asked, raising=False)
    registry = registry_of({"one": ASKED.format("one")})
    assert registry.names("model") == []
    assert asked == []
    assert registry.names("loss") == registry.names("loss") == ["one"]
    assert asked == ["loss"]
    assert only_row(registry, "one").provides == {"layer": ("one",), "loss": ("one",)}
    assert asked == ["loss", "layer"]
    monkeypatch.setenv("FLAGSTONE_STRICT_PLUGINS", "1")
    assert registry.names("model") == []


def test_ctrl_c_in_a_hook_passes_and_the_next_look_up_begins_anew(registry_of, monkeypatch):
    source = "import builtins\n@hookimpl\ndef flagstone_layers():\n    builtins.interrupt()\n"
    interrupts = [KeyboardInterrupt]

    def interrupt():
        if interrupts:
            raise interrupts.pop()

    monkeypatch.setattr("builtins.interrupt", interrupt, raising=False)
    registry = registry_of({"good": GOOD, "late": source + "    return []\n"})
    with pytest.raises(KeyboardInterrupt):
        registry.names("layer")
    assert registry.names("layer") == ["good"]
    assert [(row.name, row.status) for row in registry.providers()] == [
        ("good", "ok"),
        ("late", "ok"),
    ]
