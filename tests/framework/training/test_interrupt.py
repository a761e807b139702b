"""Ctrl-C as a flag."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import pytest

import flagstone as fs
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


def test_sigterm_sets_it_too_and_ends_with_its_own_code() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with InterruptFlag() as flag:
        os.kill(os.getpid(), signal.SIGTERM)
        assert flag.raised == signal.SIGTERM
        with pytest.raises(SystemExit) as ended:
            os.kill(os.getpid(), signal.SIGTERM)
        assert ended.value.code == 143
        with pytest.raises(SystemExit, match="143"):
            flag.end()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_trainer_finishes_the_step_and_tells_callbacks(make_trainer: Any, make_data: Any) -> None:
    told: list[str] = []

    class Watch(fs.Callback):
        def on_progress(self, trainer: Any, step: int, steps: int) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

        def on_epoch_end(self, trainer: Any, epoch: int, metrics: Any) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

        def on_interrupt(self, trainer: Any) -> None:
            told.append(str(len(trainer.state()[1]["history"])))

    trainer = make_trainer(epochs=3, callbacks=[Watch()])
    with pytest.raises(SystemExit, match="143"):
        trainer.fit(*make_data())
    assert len(told) == 1


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
