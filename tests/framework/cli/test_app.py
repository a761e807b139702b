"""The group itself: what starts fast, what a mistake says, what ends how."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

import flagstone
from flagstone.cli.app import COMMANDS
from flagstone.cli.failures import guarded

HEAVY = ("numpy", "rich", "sklearn", "scipy", "polars", "safetensors", "flagstone.training")


def test_version(run: Callable[..., Any]) -> None:
    assert run("--version").out == f"flagstone {flagstone.__version__}\n"


def test_help_lists_every_command(run: Callable[..., Any]) -> None:
    done = run("--help")
    assert done.code == 0
    for name in COMMANDS:
        assert f"\n  {name} " in done.out
    assert run("-h").out == done.out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_an_example_of_its_use(
    run: Callable[..., Any], name: str
) -> None:
    done = run(f"{name} --help")
    assert done.code == 0
    assert done.out.startswith("Usage: flagstone ")


def test_no_command_is_help_and_code_2(run: Callable[..., Any]) -> None:
    done = run("")
    assert (done.code, done.out) == (2, "")
    assert "Usage: flagstone" in done.err


def test_an_unknown_command_has_a_suggestion(run: Callable[..., Any]) -> None:
    done = run("trian softmax")
    assert done.error.startswith("unknown command 'trian'; known: ")
    assert done.error.endswith("Did you mean 'train'?")
    assert done.code == 2


def test_an_unknown_option_has_a_suggestion(run: Callable[..., Any]) -> None:
    done = run("models --jsn")
    assert done.error == (
        "no such option '--jsn'. Did you mean '--json'? (see flagstone models --help)"
    )
    assert done.code == 2


def test_an_option_like_none_has_no_suggestion(run: Callable[..., Any]) -> None:
    done = run("models --channels 3")
    assert done.error == "no such option '--channels'. (see flagstone models --help)"


@pytest.mark.parametrize("line", ["--help", "--version", "models", "train --help"])
def test_nothing_heavy_is_imported_to_say_little(line: str) -> None:
    code = (
        "import sys\n"
        "from flagstone.cli.app import cli\n"
        f"try: cli.main({line.split()!r}, prog_name='flagstone')\n"
        "except SystemExit: pass\n"
        f"sys.stderr.write(' '.join(m for m in {HEAVY!r} if m in sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
    assert done.stdout


def test_importing_the_command_line_imports_no_click() -> None:
    code = "import sys, flagstone.cli; print('click' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_reader_that_leaves_early_ends_it_quietly(command: list[str], folder: Path) -> None:
    process = subprocess.Popen(
        [*command, "doctor", "--ops"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 1
    assert err == ""


def test_a_warning_is_one_line(spawn: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import flagstone.cli.listing as l\n"
        "import warnings, click\n"
        "l.registry = type('R', (), {'specs': lambda _, kind: warnings.warn('a\\n b') or []})()\n"
    )
    done = spawn("models", site=tmp_path)
    assert done.err == "warning: a b\n"
    assert done.code == 0


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("flagstone tr", "train"),
        ("flagstone train softm", "softmax"),
        ("flagstone train softmax --data dig", "digits"),
        ("flagstone train mlp --hid", "--hidden"),
        ("flagstone train nix --da", "--data"),
    ],
)
def test_a_shell_completes_names(spawn: Callable[..., Any], words: str, offered: str) -> None:
    done = spawn(
        "",
        _FLAGSTONE_COMPLETE="bash_complete",
        COMP_WORDS=words,
        COMP_CWORD=str(len(words.split()) - 1),
    )
    assert done.out.splitlines() == [f"plain,{offered}"]
    assert done.err == ""


def test_what_is_logged_while_a_command_works_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("flagstone")
    before = logger.level, list(logger.handlers)

    def work() -> None:
        logging.getLogger("flagstone.some.module").info("downloading %s", "a file")
        logger.debug("nothing for people")

    assert guarded(work) == 0
    assert capsys.readouterr() == ("", "downloading a file\n")
    assert (logger.level, list(logger.handlers)) == before


def test_standalone_mode_can_be_switched_off() -> None:
    from flagstone.cli.app import cli

    with pytest.raises(click.UsageError):
        cli.main(["models", "--nix"], standalone_mode=False)


PLUGIN = """
    import click
    import flagstone as fs
    from flagstone.plugins import hookimpl

    @click.command()
    def hello():
        '''Greet.'''
        click.echo("hello")

    @click.command()
    def broken():
        raise ValueError("a\\nb")

    @click.command()
    def unavailable():
        from flagstone.errors import UnavailableError
        raise UnavailableError("no card\\n  in here")

    @click.command()
    def stopped():
        raise KeyboardInterrupt

    @hookimpl
    def flagstone_commands(cli):
        for command in (hello, broken, unavailable, stopped):
            cli.add_command(command)
"""


def test_doctor_ends_with_3_where_no_backend_works(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"name": "numpy", "devices": ["cpu"], "works": False, "reason": "broken", "detail": ""}
    monkeypatch.setattr("flagstone.cli.doctor._backends", lambda: [row])
    done = run("doctor")
    assert (done.code, done.error) == (3, "no backend works here")
    assert done.out.endswith("problems\n  no backend works here\n")
    assert run("doctor --json").json["problems"] == ["no backend works here"]


def test_commands_of_plugins_are_appended(
    run: Callable[..., Any], plugin: Callable[[str], Path]
) -> None:
    plugin(PLUGIN)
    assert "\n  hello        Greet.\n" in run("--help").out
    assert run("hello").out == "hello\n"


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        (
            "broken",
            1,
            "error: unexpected ValueError: a b; set FLAGSTONE_DEBUG=1 to see where it comes from",
        ),
        ("unavailable", 3, "error: no card in here"),
        ("stopped", 130, "interrupted"),
    ],
)
def test_how_a_failure_ends(
    run: Callable[..., Any], plugin: Callable[[str], Path], name: str, code: int, message: str
) -> None:
    plugin(PLUGIN)
    done = run(name)
    assert done.code == code
    assert done.err.strip() == message


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("line", ["models", "--version", "plugins list --json"])
def test_standard_output_that_is_full(command: list[str], line: str) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*command, *line.split()], check=False, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr == ("error: standard output: cannot be written: No space left on device\n")
