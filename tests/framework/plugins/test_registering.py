"""Plugins that are registered in the process: what is added, refused and removed."""

from __future__ import annotations

import json
import types

import pytest

from flagstone.errors import PluginError, UnknownNameError
from flagstone.plugins import LayerSpec, ModelSpec, Registry, hookimpl

GOOD = """
@hookimpl
def flagstone_layers():
    yield LayerSpec("good", "json:dumps")
"""
LOSS = """
@hookimpl
def flagstone_losses():
    yield LossSpec("mine", "json:dumps")
"""


class Mine:
    @hookimpl
    def flagstone_layers(self):
        yield LayerSpec("mine", "json:loads")


def test_an_object_can_be_registered_and_removed(registry_of):
    registry = registry_of({"good": GOOD})
    row = registry.register(Mine(), name="mine")
    assert (row.status, row.provides) == ("ok", {"layer": ("mine",)})
    assert row in registry.providers()
    assert registry.load("layer", "mine") is json.loads
    registry.unregister("mine")
    assert registry.names("layer") == ["good"]
    assert registry.register(Mine()).name == "Mine"
    with pytest.raises(UnknownNameError, match="unknown registered plugin 'good'; known: Mine"):
        registry.unregister("good")


def test_a_module_can_be_registered():
    module = types.ModuleType("my_module")
    module.flagstone_layers = hookimpl(lambda: [LayerSpec("late", "json:dumps")])
    registry = Registry([])
    assert registry.register(module).name == "my_module"
    assert registry.names("layer") == ["late"]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ([LayerSpec("good", "m:f")], "'good' belongs to"),
        ([LayerSpec("new", "m:f"), LayerSpec("Bad", "m:f")], "name: expected lowercase"),
        (None, "it returned None"),
    ],
)
def test_registering_something_unsound_raises_and_adds_nothing(registry_of, answer, told):
    registry = registry_of({"good": GOOD})

    class Bad:
        @hookimpl
        def flagstone_layers(self):
            return answer

    before = registry.providers()
    with pytest.raises(PluginError, match=told):
        registry.register(Bad(), name="bad")
    assert registry.names("layer") == ["good"]
    assert registry.providers() == before
    with pytest.raises(PluginError, match="a plugin named 'good' is there already"):
        registry.register(Mine(), name="good")


def test_a_registered_plugin_keeps_its_kinds_apart_from_names_not_asked_for_yet(
    registry_of,
):
    registry = registry_of({"one": GOOD.replace('"good"', '"mine"') + LOSS})
    with pytest.raises(PluginError, match=r"layer 'mine' .* left out: 'mine' belongs to"):
        registry.register(Mine())
    assert registry.find("layer", "mine").provider.name == "one"
    assert registry.names("loss") == ["mine"]


def test_a_model_spec_keeps_its_own_fields():
    class Models:
        @hookimpl
        def flagstone_models(self):
            return [ModelSpec("m", "m:f", task="regression", expected_failed_checks={"c": "why"})]

    registry = Registry([])
    registry.register(Models())
    spec = registry.find("model", "m")
    assert (spec.task, spec.expected_failed_checks) == ("regression", {"c": "why"})
