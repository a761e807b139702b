"""What keeps plugins out, or makes their problems errors: the environment and one call."""

from __future__ import annotations

import sys

import pytest

from flagstone.errors import PluginError
from flagstone.plugins import LayerSpec, hookimpl

LAYER = """
@hookimpl
def flagstone_layers():
    yield LayerSpec("{0}", "json:dumps")
"""
GOOD = LAYER.format("good")


class Mine:
    @hookimpl
    def flagstone_layers(self):
        yield LayerSpec("mine", "json:loads")


def test_plugins_named_in_the_environment_are_not_imported(only_row, registry_of, monkeypatch):
    monkeypatch.setenv("FLAGSTONE_DISABLE_PLUGINS", " bad , absent,")
    registry = registry_of({"bad": "1/0", "good": GOOD})
    assert registry.names("layer") == ["good"]
    row = only_row(registry, "bad")
    assert (row.status, row.reason) == ("disabled", "named in FLAGSTONE_DISABLE_PLUGINS")
    assert "bad_plugin" not in sys.modules
    assert only_row(registry, "absent").reason.endswith("but not installed")


@pytest.mark.parametrize("value", ["1", "true"])
def test_no_plugins_leaves_only_our_own(only_row, registry_of, monkeypatch, value):
    monkeypatch.setenv("FLAGSTONE_NO_PLUGINS", value)
    registry = registry_of({"good": GOOD}, own={"core": LAYER.format("builtin")})
    assert registry.names("layer") == ["builtin"]
    assert only_row(registry, "good").status == "disabled"
    assert "--no-plugins" in only_row(registry, "good").reason


@pytest.mark.parametrize("value", ["", "0", "false"])
def test_a_switch_that_is_off_does_nothing(registry_of, monkeypatch, value):
    monkeypatch.setenv("FLAGSTONE_NO_PLUGINS", value)
    monkeypatch.setenv("FLAGSTONE_STRICT_PLUGINS", value)
    assert registry_of({"good": GOOD, "bad": "1/0"}).names("layer") == ["good"]


def test_third_party_plugins_can_be_disabled_even_after_a_look_up(registry_of):
    registry = registry_of({"good": GOOD}, own={"core": LAYER.format("builtin")})
    registry.register(Mine(), "mine")
    assert registry.names("layer") == ["builtin", "good", "mine"]
    registry.disable_third_party()
    assert registry.names("layer") == ["builtin", "mine"]


@pytest.mark.parametrize("source", ["1 / 0", LAYER.format("builtin")], ids=["failure", "conflict"])
def test_strict_mode_raises_at_a_look_up_but_still_tells_the_stories(
    registry_of, monkeypatch, source
):
    monkeypatch.setenv("FLAGSTONE_STRICT_PLUGINS", "1")
    registry = registry_of({"bad": source, "good": GOOD}, own={"core": LAYER.format("builtin")})
    for _ in range(2):
        with pytest.raises(PluginError, match=r"(?s)STRICT_PLUGINS.*plugin 'bad' \(bad-dist 1.2"):
            registry.names("layer")
    assert [row.status for row in registry.providers()].count("ok") == 2


def test_strict_mode_accepts_what_was_disabled(registry_of, monkeypatch):
    monkeypatch.setenv("FLAGSTONE_STRICT_PLUGINS", "1")
    monkeypatch.setenv("FLAGSTONE_DISABLE_PLUGINS", "bad")
    assert registry_of({"bad": "1/0", "good": GOOD}).names("layer") == ["good"]
