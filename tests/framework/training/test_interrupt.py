"""Ctrl-C as a flag."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import pytest

from flagstone.training.interrupt import InterruptFlag


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_the_first_press_sets_the_flag_and_the_second_interrupts() -> None:
    with InterruptFlag() as flag:
        assert not flag.raised
        press()
        assert flag.raised
        with pytest.raises(KeyboardInterrupt):
            press()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_outside_it_ctrl_c_is_as_ever() -> None:
    with InterruptFlag() as flag:
        pass
    with pytest.raises(KeyboardInterrupt):
        press()
    assert not flag.raised


def test_somebody_elses_handler_is_left_alone() -> None:
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        with InterruptFlag() as flag:
            press()
            assert not flag.raised
    finally:
        signal.signal(signal.SIGINT, before)
    assert pressed == [signal.SIGINT]


def test_nested_flags_give_the_press_to_the_outer_one() -> None:
    with InterruptFlag() as outer:
        with InterruptFlag() as inner:
            press()
        assert outer.raised
        assert not inner.raised


def test_another_thread_trains_without_it(make_trainer: Any, make_data: Any) -> None:
    trainer = make_trainer(epochs=1)
    thread = threading.Thread(target=trainer.fit, args=make_data())
    thread.start()
    thread.join(60)
    assert trainer.epoch == 1
