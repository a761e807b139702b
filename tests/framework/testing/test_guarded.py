"""The backend that gives no value away inside a step sends none and does not wait either."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone.backend import Backend
from flagstone.testing.host_reads import GUARDED, HostReadError, check_backend, in_step


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda backend, x: x.item(), "reads a value"),
        (lambda backend, x: backend.to_numpy(x.array), "reads a value"),
        (lambda backend, x: backend.asarray(np.ones(2)), "sends what is on the host"),
        (lambda backend, x: backend.asarray([1.0]), "sends what is on the host"),
        (lambda backend, x: backend.synchronize(), "waits for the device"),
    ],
)
def test_what_a_step_must_not_do(work: Callable[[Backend, Any], Any], message: str) -> None:
    with check_backend(GUARDED) as backend:
        x = fs.tensor(np.ones(()), device=backend)
        work(backend, x)  # outside of a step it may
        with (
            in_step(),
            pytest.raises(HostReadError, match=rf"{message}.*test_guarded\.py"),
        ):
            work(backend, x)
        with in_step():
            backend.asarray(x.array)
