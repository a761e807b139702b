"""What flagstone asks of a dataset, and what its source says of this one."""

from __future__ import annotations

import itertools
import math

import flagstone as fs
import numpy as np
from flagstone import testing

from flagstone_led.dataset import DISPLAY, FAILS, load


class TestLed(testing.DatasetSuite):
    name = "led"


def test_the_best_possible_accuracy_is_the_books() -> None:
    """74 %: the likeliest digit of each of the 128 patterns, weighted by how often it is shown."""
    best = 0.0
    for lights in itertools.product("01", repeat=7):
        wrong = [sum(a != b for a, b in zip(lights, row, strict=True)) for row in DISPLAY]
        best += max(math.pow(FAILS, k) * math.pow(1 - FAILS, 7 - k) for k in wrong) / 10
    assert round(best, 2) == 0.74


def test_lights_fail_as_often_as_they_should() -> None:
    led = load()
    shown = np.array([[light == "1" for light in row] for row in DISPLAY])
    wrong = (led.X.astype(bool) ^ shown[led.y]).mean(axis=0)
    assert np.all(np.abs(wrong - FAILS) < 0.025)  # more than three deviations
    assert np.all(np.abs(np.bincount(led.y) - 200) < 50)


def test_a_model_comes_close_to_the_best_and_not_above_it() -> None:
    led = load()
    assert led.X_test is not None
    model = fs.model("softmax", device="cpu", epochs=30, lr=0.01).fit(led.X, led.y)
    assert 0.70 < model.score(led.X_test, led.y_test) < 0.78
