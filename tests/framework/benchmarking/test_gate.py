"""The gate with fake interpreters: how it ends, and what it says."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flagstone.benchmarking import gate
from flagstone.benchmarking.sides import Measured

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="a fake interpreter is a script that begins with #!"
)

FAKE = '''\
#!{python}
"""A worker that takes, for each benchmark, what it is told."""
import json, random, sys
TABLE = {table!r}
opened = None
for line in sys.stdin:
    request = json.loads(line)
    if request["do"] == "list":
        answer = {{"names": list(TABLE)}}
        if "no-such" in request["names"]:
            answer = {{"unknown": "unknown benchmark 'no-such'"}}
    elif request["do"] == "open":
        opened = TABLE.get(request["name"], "skip: there is no such thing")
        if opened == "die":
            sys.exit(9)
        answer = {{}}
        if isinstance(opened, str):
            kind, _, why = opened.partition(": ")
            answer = {{{{"skip": "skipped", "raise": "error"}}[kind]: why}}
    else:
        answer = {{"seconds": opened * random.uniform(0.98, 1.02)}}
    print(json.dumps(answer), flush=True)
'''


@pytest.fixture
def judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, Any]]:
    """``judged(base, head)``: exit code, Markdown and JSON for tables name -> seconds or words."""

    def run(base: dict[str, Any], head: dict[str, Any], *options: str) -> tuple[int, str, Any]:
        pythons = []
        for name, table in (("base", base), ("head", head)):
            path = tmp_path / name
            path.write_text(FAKE.format(python=sys.executable, table=table), encoding="utf-8")
            path.chmod(0o755)
            pythons.append(str(path))
        document = tmp_path / "gate.json"
        code = gate.main(
            [*pythons, "--pythons", "--rounds", "3", "--json", str(document), *options]
        )
        return code, capsys.readouterr().out, json.loads(document.read_text(encoding="utf-8"))

    return run


def test_unchanged(judged: Callable[..., Any]) -> None:
    code, text, document = judged({"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 2.0})
    assert code == gate.OK == 0
    assert "No benchmark is slower" in text
    assert [r["outcome"] for r in document["results"]] == ["no difference shown"] * 2


def test_a_regression(judged: Callable[..., Any]) -> None:
    code, text, document = judged({"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 3.0})
    assert code == gate.REGRESSION == 1
    assert "| b | cpu | " in text
    assert "Regression: a benchmark is slower" in text
    slower = document["results"][1]
    assert slower["outcome"] == "slower"
    assert slower["rounds"] == 6  # the second measurement alone
    assert slower["interval"]["low"] > 1.3
    assert slower["interval"]["ratio"] == pytest.approx(1.5, rel=0.05)


def test_what_only_looked_slower_once_is_no_regression(
    judged: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second measurement decides, on times of its own."""
    real, calls = gate.measure, []

    def first_is_slow(*arguments: Any, **options: Any) -> Any:
        found = real(*arguments, **options)
        calls.append(len(found))
        if len(calls) == 1:
            for case in found:
                case.rounds = [[(a, 2 * b) for a, b in pairs] for pairs in case.rounds]
        return found

    monkeypatch.setattr(gate, "measure", first_is_slow)
    code, _, document = judged({"a": 1.0}, {"a": 1.0})
    assert code == gate.OK
    assert calls == [1, 1]
    assert document["results"][0]["outcome"] == "no difference shown"


def test_what_is_not_sure_is_measured_until_it_is(
    judged: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = gate.measure, []

    def busy_for_a_while(*arguments: Any, **options: Any) -> Any:
        found = real(*arguments, **options)
        calls.append(len(found))
        if len(calls) < 4:  # a third of the rounds shows nothing
            for case in found:
                case.rounds[::3] = [[(a, a) for a, _ in pairs] for pairs in case.rounds[::3]]
        return found

    monkeypatch.setattr(gate, "measure", busy_for_a_while)
    code, text, document = judged({"a": 1.0, "b": 1.0}, {"a": 1.7, "b": 1.0})
    assert code == gate.REGRESSION, text
    assert calls[0] == 2
    assert len(calls) > 3
    assert set(calls[1:]) == {1}
    assert document["results"][0]["rounds"] == 6 * (len(calls) - 1)


def test_what_stays_unsure_is_no_regression(
    judged: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def busy(sides: Any, cases: Any, rounds: int) -> Any:
        calls.append(rounds)
        return [Measured("a", "cpu", [[(1.0, 1.4)], [(1.0, 1.4)], [(1.0, 0.5)]] * (rounds // 3))]

    monkeypatch.setattr(gate, "measure", busy)
    code, _, document = judged({"a": 1.0}, {"a": 1.0})
    assert code == gate.OK
    assert calls == [3, 6, 6, 6, 6]
    assert document["results"][0]["rounds"] == 24


def test_faster_is_told_and_passes(judged: Callable[..., Any]) -> None:
    code, text, _ = judged({"a": 2.0}, {"a": 1.0})
    assert code == gate.OK
    assert "faster" in text


@pytest.mark.parametrize("failure", ["raise: ValueError: no", "die"])
def test_a_crash_on_the_head_and_the_others_are_measured(
    judged: Callable[..., Any], failure: str
) -> None:
    code, text, document = judged(
        {"a": 1.0, "b": 1.0, "c": 1.0}, {"a": failure, "b": 1.0, "c": 2.0}
    )
    assert code == gate.CRASHED == 4
    assert "Crash: a benchmark raised" in text
    assert [r["outcome"] for r in document["results"]] == [
        "crashed", "no difference shown", "slower",
    ]  # fmt: skip
    note = document["results"][0]["note"]
    assert note == ("its process ended with exit code 9" if failure == "die" else "ValueError: no")


def test_what_the_base_cannot_do_is_new(judged: Callable[..., Any]) -> None:
    code, text, document = judged(
        {"a": "raise: ValueError: no", "c": 1.0}, {"a": 1.0, "b": 1.0, "c": 1.0}
    )
    assert code == gate.OK
    assert [r["outcome"] for r in document["results"]] == ["new", "new", "no difference shown"]
    assert "on the base it fails: ValueError: no" in text


def test_nothing_measured(judged: Callable[..., Any]) -> None:
    code, text, _ = judged({"a": "skip: no card"}, {"a": "skip: no card"})
    assert code == gate.NOTHING == 5
    assert "Nothing was measured" in text
    assert "skipped: no card" in text


def test_an_unknown_benchmark_is_usage(judged: Callable[..., Any]) -> None:
    code, text, _ = judged({}, {}, "--factor=1.5", "no-such")
    assert code == gate.USAGE == 2
    assert "unknown benchmark 'no-such'" in text


def test_a_flagstone_that_does_not_start_is_a_broken_build(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    broken.chmod(0o755)
    assert gate.main([str(broken), str(broken), "--pythons"]) == gate.BROKEN_BUILD == 3
    assert "its process ended with exit code 1" in capsys.readouterr().out
    absent = str(tmp_path / "none")
    assert gate.main([absent, absent, "--pythons"]) == gate.BROKEN_BUILD
    assert "none cannot be started: No such file" in capsys.readouterr().out


def test_a_failure_of_the_gate_itself_is_no_regression(
    judged: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "compared", lambda *_: 1 / 0)
    code, text, _ = judged({"a": 1.0}, {"a": 1.0})
    assert code == gate.BUG == 6
    assert "ZeroDivisionError" in text


def test_a_bad_option_is_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        gate.main(["a", "b", "--factor", "0.9"])
    assert ended.value.code == gate.USAGE
    assert "--factor expects a number above 1" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--markdown", "--json"])
def test_a_place_that_cannot_be_written_is_told_before_anything_is_measured(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        gate.main(["a", "b", option, str(tmp_path / "no" / "gate.md")])
    assert ended.value.code == gate.USAGE  # Python's own, 1, would say regression
    assert f"{option} {tmp_path / 'no' / 'gate.md'}: cannot be written" in capsys.readouterr().err


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository whose one commit is a project that does not build."""
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(
        textwrap.dedent(
            """
            [build-system]
            requires = []
            build-backend = "no_such_backend"
            [project]
            name = "broken"
            version = "1"
            """
        ),
        encoding="utf-8",
    )
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-C", str(folder)]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], check=True)
    return folder


def test_no_such_commit(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = gate.main(["no-such", "HEAD", "--repository", str(repository)])
    assert code == gate.BROKEN_BUILD
    out = capsys.readouterr().out
    assert "Broken build" in out
    assert "base (no-such): no-such cannot be checked out" in out


def test_both_commits_are_looked_for_before_one_is_installed(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = gate.main(["HEAD", "no-such", "--repository", str(repository)])
    assert code == gate.BROKEN_BUILD
    told = capsys.readouterr()
    assert "head (no-such): no-such cannot be checked out" in told.out
    assert "installing" not in told.err


@pytest.mark.slow
def test_a_commit_that_does_not_build(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = gate.main(["HEAD", "HEAD", "--repository", str(repository)])
    assert code == gate.BROKEN_BUILD
    out = capsys.readouterr().out
    assert "base (HEAD): " in out
    assert "does not install (--pip=" in out
    left = subprocess.run(
        ["git", "-C", str(repository), "worktree", "list"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert len(left.splitlines()) == 1
