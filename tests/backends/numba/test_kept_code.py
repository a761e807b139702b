"""Compiled code on disk is used for what it was made from, and for nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("numba", reason="numba is not installed: pip install flagstone[fast]")

from flagstone_numba.loops import elementwise, keeping, winograd
from flagstone_numba.loops.compiling import compiled

INNER = """
from flagstone_numba.loops.compiling import compiled
@compiled
def inner(x):
    return x * {factor}
"""
OUTER = """
from flagstone_numba.loops.compiling import compiled
from flagstone_inner import inner
@compiled
def outer(x):
    return inner(x) + 1
"""
CALL = """
import pathlib, sys
sys.path.insert(0, ".")
import flagstone_inner, flagstone_outer
given = sys.argv[1:]
if given:  # the file is another by the time that the function is compiled
    pathlib.Path("flagstone_inner.py").write_text(given[0])
made = flagstone_outer.outer(10)
print(made, sum(flagstone_outer.outer.stats.cache_hits.values()))
"""


def run(folder, *given):
    done = subprocess.run(
        [sys.executable, "-B", "-c", CALL, *given], cwd=folder, text=True, timeout=120, check=False,
        env=os.environ | {"NUMBA_CACHE_DIR": str(folder / "kept")}, capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_file_edited_while_a_process_runs_leaves_no_old_code_to_later_ones(tmp_path):
    old, new = (INNER.format(factor=factor) for factor in (2, 3))
    (tmp_path / "flagstone_inner.py").write_text(old)
    (tmp_path / "flagstone_outer.py").write_text(OUTER)
    assert run(tmp_path, new) == "21 0"
    assert run(tmp_path) == "31 0"
    assert run(tmp_path) == "31 1"
    (tmp_path / "flagstone_inner.py").write_text(old)
    assert run(tmp_path) == "21 1"


FACTOR = 2
TABLE = {"rows": (np.arange(3.0), 1)}


def times(x):
    return x * FACTOR


def summed(x):
    return times(x) + TABLE["rows"][0].sum()


def with_default(x, more=1):
    return x + more


def maker(factor):
    def made(x):
        return [x * factor for _ in range(3)]

    return made


def another(function, **names):
    """``function`` with other names in its module."""
    copy = type(function)(function.__code__, function.__globals__ | names, function.__name__)
    copy.__module__ = function.__module__
    return copy


def test_all_that_a_function_is_made_from_counts(monkeypatch):
    monkeypatch.setattr(keeping, "OURS", __name__)
    told = {
        "as it is": summed,
        "a number of a function that it calls": another(summed, times=another(times, FACTOR=3)),
        "another function": another(summed, times=with_default),
        "an array": another(summed, TABLE={"rows": (np.arange(1.0, 4), 1)}),
        "one of its numbers as another type": another(summed, times=another(times, FACTOR=2.0)),
        "a closure": maker(1),
        "another closure": maker(2),
        "a default": with_default,
        "another default": lambda x, more=2: x + more,
    }
    prints = {name: keeping.fingerprint(function) for name, function in told.items()}
    assert len(set(prints.values())) == len(prints)
    assert prints["as it is"] == keeping.fingerprint(another(summed))
    assert prints["a closure"] == keeping.fingerprint(maker(1))


def test_what_writes_terms_of_llvm_counts_as_well(monkeypatch):
    """Numba itself looks at the file that a loop is in, and at no other."""
    from flagstone_numba.loops import product, transform

    def prints():
        return [keeping.fingerprint(f.py_func) for f in (winograd.forward, elementwise.relu)]

    before = prints()
    changed = transform.MATRICES | {2: transform.MATRICES[4]}
    for module, name, value in (
        (transform, "LANES", 2),
        (transform, "_write", product._write),
        (product, "VECTOR_BYTES", 8),
        (transform, "MATRICES", changed),
    ):
        monkeypatch.setattr(module, name, value)
        after = prints()
        assert after[0] != before[0]
        assert after[1] == before[1]  # which has nothing of it
        monkeypatch.undo()
    assert prints() == before


@pytest.fixture
def half(monkeypatch, tmp_path):
    """A function whose code is kept in a folder of the test's."""

    def half(x):
        return x / 2

    def make():
        made = compiled(half)
        monkeypatch.setattr(type(made._cache), "cache_path", str(tmp_path))
        return made

    return make


@pytest.mark.parametrize(
    "spoil", [lambda code: code[:-100], lambda code: b"", lambda code: b"x" * 9]
)
def test_a_file_that_was_cut_short_is_written_again(half, tmp_path, spoil):
    assert half()(3) == 1.5
    (place,) = tmp_path.iterdir()
    whole = place.read_bytes()
    place.write_bytes(spoil(whole))
    again = half()
    assert again(3) == 1.5
    assert not again.stats.cache_hits
    assert [len(whole)] == [len(p.read_bytes()) for p in tmp_path.iterdir()]
    third = half()
    assert third(3) == 1.5
    assert sum(third.stats.cache_hits.values()) == 1


def test_kinds_of_arguments_and_machines_have_files_of_their_own(half, tmp_path):
    """Two processes that compile for different ones at once do not meet."""
    first, second = half(), half()
    first(3)
    second(3.0)
    assert len(list(tmp_path.iterdir())) == 2
    again = half()
    assert (again(5), again(5.0)) == (2.5, 2.5)
    assert sum(again.stats.cache_hits.values()) == 2
    codegen = again.targetctx.codegen()
    other = SimpleNamespace(magic_tuple=lambda: ("another", "machine", ""))
    assert again._cache._place("kinds", codegen) != again._cache._place("kinds", other)


def test_without_room_on_the_disk_code_is_compiled_and_not_kept(half, monkeypatch, tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert half()(3) == 1.5
    assert not list(tmp_path.iterdir())
