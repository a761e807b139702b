"""The hooks asked while something runs: kernels, callbacks, commands."""

from __future__ import annotations

import json
import types

import click
import pytest

from flagstone.errors import PluginError
from flagstone.plugins import PluginWarning

BACKEND = types.SimpleNamespace(name="numpy", kernels={"conv": print})

KERNEL = """
@hookimpl
def flagstone_kernels(backend):
    if backend.name == "numpy":
        return [KernelSpec("{0}", "json:{1}", overrides={2})]
"""


def story(registry, name):
    (row,) = [row for row in registry.providers() if row.name == name]
    return row.status, row.reason


def test_kernels_are_gathered_for_a_backend_and_none_for_another(registry_of):
    registry = registry_of(
        {"a": KERNEL.format("relu", "dumps", False), "b": KERNEL.format("conv", "loads", True)}
    )
    told = r"kernel 'conv' of plugin 'b' \(b-dist 1.2, b_plugin\) replaces that of backend 'numpy'"
    with pytest.warns(PluginWarning, match=told):
        relu, conv = registry.kernels(BACKEND)
    assert (relu.name, relu.load(), relu.provider.name) == ("relu", json.dumps, "a")
    assert (conv.name, conv.load(), conv.overrides) == ("conv", json.loads, True)
    assert registry.kernels(types.SimpleNamespace(name="cupy", kernels={})) == []
    assert story(registry, "a") == ("ok", "")


@pytest.mark.parametrize(
    ("source", "status", "told"),
    [
        (KERNEL.format("conv", "dumps", False), "conflict", "backend 'numpy' has one; to replace"),
        (KERNEL.format("relu", "dumps", True), "conflict", "'relu' belongs to kernel 'relu' of pl"),
        (KERNEL.format("pool", "no_such", False), "failed", "there is no attribute 'no_such'"),
        ("@hookimpl\ndef flagstone_kernels(backend): 1 / 0", "failed", "ZeroDivisionError"),
        (
            "import sys\n@hookimpl\ndef flagstone_kernels(backend): sys.exit(1)",
            "failed",
            "flagstone_kernels failed: it called sys.exit(1)",
        ),
    ],
)
def test_an_unusable_kernel_is_left_out_with_a_warning(
    registry_of, monkeypatch, source, status, told
):
    registry = registry_of({"a": KERNEL.format("relu", "dumps", False), "b": source})
    with pytest.warns(PluginWarning, match=r"plugin 'b' \(b-dist 1.2, b_plugin\)") as caught:
        kernels = registry.kernels(BACKEND)
    assert [(kernel.name, kernel.provider.name) for kernel in kernels] == [("relu", "a")]
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert story(registry, "a") == ("ok", "")
    assert story(registry, "b")[0] == status
    assert told in story(registry, "b")[1]
    once = story(registry, "b")
    with pytest.warns(PluginWarning):
        registry.kernels(BACKEND)
    assert story(registry, "b") == once
    monkeypatch.setenv("FLAGSTONE_STRICT_PLUGINS", "1")
    with pytest.raises(PluginError, match="plugin 'b'"):
        registry.kernels(BACKEND)


CALLBACK = """
def make(run):
    return (run, "callback")
def fail(run):
    1 / 0
@hookimpl
def flagstone_callbacks(run):
    yield CallbackSpec("one", __name__ + ":{0}")
"""


def test_kernels_can_be_asked_after_without_using_them(registry_of):
    registry = registry_of(
        {"a": KERNEL.format("relu", "no_such", False), "b": KERNEL.format("conv", "loads", True)}
    )
    assert [spec.name for spec in registry.kernel_specs(BACKEND)] == ["relu", "conv"]
    assert story(registry, "a") == ("ok", "")


def test_callbacks_can_be_asked_after_without_making_them(registry_of):
    registry = registry_of({"a": CALLBACK.format("fail")})
    (spec,) = registry.callback_specs("the run")
    assert (spec.name, spec.provider.name) == ("one", "a")
    assert story(registry, "a") == ("ok", "")


def test_callbacks_are_made_with_the_run(registry_of):
    registry = registry_of({"a": CALLBACK.format("make")})
    assert registry.callbacks("the run") == [("the run", "callback")]


def test_a_broken_callback_is_left_out_with_a_warning(registry_of):
    registry = registry_of({"a": CALLBACK.format("fail"), "b": CALLBACK.format("make")})
    with pytest.warns(PluginWarning, match="callback 'one' failed: ZeroDivisionError"):
        assert registry.callbacks("the run") == [("the run", "callback")]
    assert story(registry, "a")[0] == "failed"


def test_strict_mode_raises_when_a_callback_breaks(registry_of, monkeypatch):
    monkeypatch.setenv("FLAGSTONE_STRICT_PLUGINS", "1")
    with pytest.raises(PluginError, match="callback 'one' failed"):
        registry_of({"a": CALLBACK.format("fail")}).callbacks("the run")


COMMAND = """
@hookimpl
def flagstone_commands(cli):
    @cli.command("{0}")
    def command():
        print("from", __name__)
"""


@pytest.fixture
def cli():
    @click.group()
    def main():
        pass

    @main.command()
    def train():
        click.echo("ours")

    return main


def run(cli, name):
    from click.testing import CliRunner

    return CliRunner().invoke(cli, [name]).output


def test_commands_are_appended(registry_of, cli):
    registry = registry_of({"a": COMMAND.format("hello")})
    assert list(registry.commands(cli)) == ["hello"]
    assert run(cli, "hello") == "from a_plugin\n"


@pytest.mark.parametrize(
    ("name", "owner"), [("train", "flagstone"), ("doctor", "flagstone"), ("hello", "plugin 'a'")]
)
def test_a_command_that_is_there_cannot_be_replaced(registry_of, cli, name, owner):
    registry = registry_of({"a": COMMAND.format("hello"), "b": COMMAND.format(name)})
    registry.commands(cli, reserved=["doctor"])
    assert run(cli, "train") == "ours\n"
    assert run(cli, "hello") == "from a_plugin\n"
    assert "doctor" not in cli.commands
    status, reason = story(registry, "b")
    assert status == "conflict"
    assert reason.startswith(f"command {name!r} belongs to {owner}")


@pytest.mark.parametrize(
    "end", ["    1 / 0", "    import sys; sys.exit(2)", "    cli.commands = 3"]
)
def test_a_plugin_that_breaks_while_adding_commands_adds_none(registry_of, cli, end):
    registry = registry_of({"a": COMMAND.format("half") + end, "b": COMMAND.format("hello")})
    assert list(registry.commands(cli)) == ["hello"]
    assert sorted(cli.commands) == ["hello", "train"]
    status, reason = story(registry, "a")
    assert status == "failed"
    assert reason.startswith("flagstone_commands failed: ")


def test_strict_mode_raises_when_a_command_breaks(registry_of, cli, monkeypatch):
    monkeypatch.setenv("FLAGSTONE_STRICT_PLUGINS", "1")
    with pytest.raises(PluginError, match="command 'train' belongs to flagstone"):
        registry_of({"a": COMMAND.format("train")}).commands(cli)
