"""How a build of BLAS is held at one thread: by its own functions, or by threadpoolctl."""

from __future__ import annotations

import pytest

from flagstone_numpy import blas
from flagstone_numpy.blas import Hold, find_control


class _Library:
    """A BLAS that ctypes has loaded, with the two functions of a build."""

    def __init__(self, get_name, set_name):
        self.threads = 4

        def get():
            return self.threads

        def put(number):
            self.threads = number

        setattr(self, get_name, get)
        setattr(self, set_name, put)


@pytest.mark.parametrize("names", blas._SYMBOLS, ids=lambda names: names[1])
def test_each_builds_own_functions_hold_it_at_one(names):
    """OpenBLAS as NumPy's wheels and others name it, MKL, BLIS; by threadpoolctl where none is."""
    library = _Library(*names)
    hold = Hold(blas._by_symbol([object(), library]))
    assert hold.works
    with hold:
        assert library.threads == 1
    assert library.threads == 4


def test_without_a_known_function_threadpoolctl_controls_it(monkeypatch):
    monkeypatch.setattr(blas, "_numpys_libraries", lambda: iter([object()]))
    pytest.importorskip("threadpoolctl", reason="threadpoolctl, which is tested, is absent")
    control = find_control()
    assert control is not None
    assert control.how == "threadpoolctl"
    before = control.get()
    with Hold(control):
        assert control.get() == 1
    assert control.get() == before


def test_without_either_nothing_is_held(monkeypatch):
    """As with Accelerate, which has no function for it."""
    monkeypatch.setattr(blas, "_numpys_libraries", lambda: iter([object()]))
    monkeypatch.setattr(blas, "_by_threadpoolctl", lambda: None)
    assert find_control() is None
    assert not Hold(None).works
