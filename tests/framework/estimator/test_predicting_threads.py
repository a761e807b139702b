"""Several threads may predict with one model at once, as a server's do."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn

WAIT = 30.0  # seconds, after which something hangs


def test_a_prediction_that_ends_changes_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.random((60, 4, 4), np.float32), np.arange(60) % 3
    model = fs.model("cnn", epochs=1, dropout=0.5, device="cpu").fit(X, y)
    model.layer_.train()  # as a loop of one's own leaves it
    usual, main = nn.Flatten.forward, threading.current_thread()
    inside, go_on = threading.Event(), threading.Event()

    def held(self: nn.Flatten, x: fs.Tensor) -> Any:
        if threading.current_thread() is main:
            futures.append(pool.submit(model.predict_proba, X))
            assert inside.wait(WAIT)
        else:
            inside.set()
            assert go_on.wait(WAIT)
        return usual(self, x)

    futures: list[Any] = []
    with ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(nn.Flatten, "forward", held)
        first = model.predict_proba(X)  # begins before the other, and ends within it
        go_on.set()
        second = futures[0].result(WAIT)
    monkeypatch.undo()
    model.layer_.eval()
    np.testing.assert_array_equal(first, model.predict_proba(X))
    np.testing.assert_array_equal(second, first)
