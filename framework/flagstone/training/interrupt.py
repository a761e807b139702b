"""Ctrl-C and SIGTERM as a flag, so that a step is never left half done."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, NoReturn

ENDED_BY_SIGTERM = 128 + signal.SIGTERM  # the exit code that shells give
USUAL = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}


class InterruptFlag:
    """A context in which the first Ctrl-C or SIGTERM (which ``kill``, ``timeout`` and batch systems
    send) sets :attr:`raised`; a second one ends at once.

    Outside the main thread, where Python delivers no signals, and for a signal that somebody else
    handles, it does nothing.

    Attributes:
        raised: the signal's number, or 0.
    """

    def __init__(self) -> None:
        self.raised = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> InterruptFlag:
        if threading.current_thread() is threading.main_thread():
            for number, usual in USUAL.items():
                if signal.getsignal(number) is usual:
                    self._before[number] = signal.signal(number, self._set)
        return self

    def __exit__(self, *_: object) -> None:
        while self._before:
            signal.signal(*self._before.popitem())

    def end(self) -> NoReturn:
        """Raise what ends the program: ``SystemExit`` with 143 for SIGTERM, ``KeyboardInterrupt``
        for Ctrl-C."""
        if self.raised == signal.SIGTERM:
            raise SystemExit(ENDED_BY_SIGTERM)
        raise KeyboardInterrupt

    def _set(self, number: int, frame: FrameType | None) -> None:
        again, self.raised = self.raised, number
        if again:
            self.end()
