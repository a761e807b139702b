"""Memory that kernels use again."""

from __future__ import annotations

import os
import warnings

import pytest

pytest.importorskip("numba", reason="numba is not installed: pip install flagstone[fast]")

from flagstone_numba import outputs


@pytest.fixture
def small(monkeypatch):
    """Outputs of 400 bytes count as large, and three of them are kept."""
    monkeypatch.setattr(outputs, "LARGE", 400)
    monkeypatch.setattr(outputs, "MOST_KEPT", 1200)
    monkeypatch.setattr(outputs, "_kept", [])


def place(array):
    return array.__array_interface__["data"][0]


@pytest.mark.usefixtures("small")
def test_a_large_output_takes_memory_that_nobody_refers_to():
    a = outputs.output((10, 10), "float32")
    b = outputs.output((10, 10), "float32")
    first, view = place(a), a[3:]
    assert place(b) != first
    del a
    c = outputs.output((5, 20), "float32")
    assert place(c) not in (first, place(b))  # a view is left
    del view
    d = outputs.output((100,), "float32")
    assert place(d) == first


@pytest.mark.usefixtures("small")
def test_what_is_kept_is_bounded_and_living_outputs_are_let_go_of_too():
    living = [outputs.output((100,), "float32") for _ in range(8)]
    assert len({place(a) for a in living}) == 8
    assert sum(block.size for block in outputs._kept) == 1200


@pytest.mark.usefixtures("small")
def test_small_outputs_and_much_larger_blocks_are_not_shared():
    a = outputs.output((1000,), "uint8")
    at = place(a)
    del a
    assert place(outputs.output((410,), "uint8")) != at
    assert outputs.output((399,), "uint8").base is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.usefixtures("small")
def test_a_child_forked_while_another_thread_takes_memory_can_take_its_own():
    with warnings.catch_warnings(), outputs._lock:
        warnings.simplefilter("ignore", DeprecationWarning)  # Python's, on a fork beside threads
        child = os.fork()
        if not child:
            os._exit(0 if outputs._lock.acquire(timeout=5) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
