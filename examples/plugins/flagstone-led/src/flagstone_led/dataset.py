"""The dataset: Breiman, Friedman, Olshen & Stone, "Classification and Regression Trees", 1984,
pages 43-49.

Each of the seven lights of a digit is wrong with probability 0.1. Nobody who sees only the lights
can be right more than 74 % of the time, whatever the number of examples: a model that scores more
on the test split has seen it.
"""

from __future__ import annotations

import numpy as np
from flagstone import data, random

FAILS = 0.1
EXAMPLES = {"train": 2000, "test": 1000}
LIGHTS = ("top", "top left", "top right", "middle", "bottom left", "bottom right", "bottom")
DISPLAY = (
    "1110111", "0010010", "1011101", "1011011", "0111010",
    "1101011", "1101111", "1010010", "1111111", "1111011",
)  # fmt: skip


def load() -> data.Dataset:
    """2000 examples to train on and 1000 to test on; the same on every machine."""
    (X, y), (X_test, y_test) = _draw("train"), _draw("test")
    return data.Dataset("led", "classification", X, y, LIGHTS, X_test=X_test, y_test=y_test)


def _draw(split: str) -> tuple[np.ndarray, np.ndarray]:
    """The lights (n, 7) and the digits (n,): one uniform number for the digit, seven for faults."""
    n = EXAMPLES[split]
    words = random.bits(random.key(0, "led", split), (0, 0), 0, 2 * n)
    uniform = random.uniform(words).reshape(n, 8)
    digits = (uniform[:, 0] * 10).astype(np.int64)
    shown = np.array([[light == "1" for light in row] for row in DISPLAY])[digits]
    return (shown ^ (uniform[:, 1:] < FAILS)).astype(np.float32), digits
