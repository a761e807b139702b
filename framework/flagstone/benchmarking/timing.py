"""Timing one benchmark: warm it up, find how often to repeat it, take samples."""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING

from flagstone.benchmarking.benchmark import Benchmark

if TYPE_CHECKING:
    from flagstone.backend import Backend

SAMPLE = 0.01  # seconds that a sample takes at least
WARM_UP = 4  # calls, or until SAMPLE is over ten times: kernels compile, steps are recorded


class Timer:
    """A prepared benchmark.

    Args:
        benchmark: what to time.
        backend: where.
        sample: seconds that a sample takes at least.

    Attributes:
        repeats: how many calls a sample is the mean of.
    """

    def __init__(self, benchmark: Benchmark, backend: Backend, sample: float = SAMPLE) -> None:
        self._run = benchmark.prepare(backend)
        self._synchronize = backend.synchronize
        self.repeats = 1
        started = time.perf_counter()
        for _ in range(WARM_UP):
            self._run()
            self._synchronize()
            if time.perf_counter() - started > 10 * sample:
                break
        while (taken := self._timed()) < sample:
            self.repeats = max(self.repeats + 1, int(self.repeats * min(10.0, sample / taken)))

    def sample(self) -> float:
        """Seconds of one call, the mean of ``repeats``; the device has finished."""
        return self._timed() / self.repeats

    def _timed(self) -> float:
        run = self._run
        was_on = gc.isenabled()
        gc.disable()
        try:
            self._synchronize()
            started = time.perf_counter()
            for _ in range(self.repeats):
                run()
            self._synchronize()
            return max(time.perf_counter() - started, 1e-9)
        finally:
            if was_on:
                gc.enable()
