"""``flagstone plugins show``: what can be named in text, with its options."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flagstone.errors import ConfigurationError
from flagstone.named import make
from flagstone.plugins import registry

TEXT = {"optimizer": (None, 0.1), "schedule": (), "loss": (), "augmentation": (), "layer": ()}
MARKS = re.compile(r":\w+:`|``")


@pytest.mark.parametrize("kind", TEXT)
def test_the_options_are_those_that_text_takes(run: Callable[..., Any], kind: str) -> None:
    shown = {one["name"]: one for one in run(f"plugins show --kind {kind} --json").json["shown"]}
    assert sorted(shown) == registry.names(kind)
    for name, one in shown.items():
        with pytest.raises(ConfigurationError) as caught:
            make(kind, f"{name}(no_such_option=1)", *TEXT[kind])
        known = re.search(r"known: (.*?)\.(?: |$)", str(caught.value))
        assert known is not None
        assert [o["name"] for o in one["options"]] == known[1].replace("none", "").split(", ") or (
            known[1] == "none" and not one["options"]
        )
        assert one["summary"] == registry.find(kind, name).summary


def without_help(run: Callable[..., Any], kind: str) -> list[str]:
    shown = run(f"plugins show --kind {kind} --json").json["shown"]
    return [f"{one['name']}.{o['name']}" for one in shown for o in one["options"] if not o["help"]]


@pytest.mark.parametrize("kind", ["optimizer", "schedule", "loss", "augmentation"])
def test_every_option_says_what_it_is(run: Callable[..., Any], kind: str) -> None:
    assert without_help(run, kind) == []
    for one in run(f"plugins show --kind {kind} --json").json["shown"]:
        said = [one["about"], *(o["help"] for o in one["options"])]
        assert not MARKS.search(" ".join(said)), one["name"]


def test_one_that_does_not_is_found(run: Callable[..., Any], plugin: Callable[[str], Path]) -> None:
    plugin(
        '''
        import flagstone as fs
        from flagstone.schedules import Schedule

        @fs.hookimpl
        def flagstone_schedules():
            yield fs.ScheduleSpec("bumpy", "test_plugin:Bumpy", summary="up and down")
            yield fs.ScheduleSpec("lost", "no_such_module:Lost", summary="is nowhere")

        class Bumpy(Schedule):
            """Goes up and down.

            Args:
                height: of a bump, times
                    the :class:`base <x.Base>` rate.
                warmup: as in :class:`Schedule`.
            """

            def __init__(self, height: float = 2.0, silent: int = 3, warmup: float = 0):
                super().__init__(warmup)
        '''
    )
    assert without_help(run, "schedule") == ["bumpy.silent"]
    said = run("plugins show bumpy").out
    assert said.startswith("bumpy: schedule, of the plugin ")
    assert "Goes up and down." in said
    assert re.search(r"height +of a bump, times the .*rate\.\s+\[default: 2\.0\]", said)
    assert re.search(r"silent +\[default: 3\]", said)
    assert re.search(r"warmup +a number of steps \(an integer\) or a fraction", said)
    listed = run("plugins show --kind schedule").out
    assert re.search(r"bumpy +up and down +bumpy\(height=2\.0, silent=3, warmup=0\)", listed)
    assert re.search(r"lost +cannot be loaded: .*no_such_module", listed)
    assert "no_such_module" in run("plugins show lost").out


def test_what_must_be_given_and_what_is_of_several_kinds(run: Callable[..., Any]) -> None:
    said = run("plugins show sequential --kind schedule").out
    assert re.search(r"at +the epochs[^[]*\[required\]", said)
    required = run("plugins show multi-step --json").json["shown"][0]["options"][0]
    assert (required["name"], required["default"]) == ("milestones", None)
    kinds = [one["kind"] for one in run("plugins show linear --json").json["shown"]]
    assert kinds == ["model", "layer", "schedule"]
    (one,) = run("plugins show linear --kind layer --json").json["shown"]
    assert {o["name"] for o in one["options"]} >= {"in_features", "out_features", "bias"}


def test_initialisers(run: Callable[..., Any]) -> None:
    listed = run("plugins show --kind initializer").out
    for name in ("zeros", "kaiming_uniform", "orthogonal", "dirac"):
        assert re.search(rf"^{name} ", listed, re.MULTILINE)
    assert "Every element 0." in run("plugins show zeros").out
    assert "Options in Python" in run("plugins show kaiming_uniform").out


def test_what_is_refused(run: Callable[..., Any]) -> None:
    done = run("plugins show cosin")
    assert (done.code, "Did you mean 'cosine'?" in done.error) == (2, True)
    assert "unknown schedule 'sgd'" in run("plugins show sgd --kind schedule").error
    assert "say a NAME, or --kind" in run("plugins show").error


@pytest.mark.parametrize("model", registry.names("model"))
def test_no_help_shows_marks_of_the_source(run: Callable[..., Any], model: str) -> None:
    assert not MARKS.search(run(f"train {model} --help").out)
