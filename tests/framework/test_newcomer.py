"""What a newcomer types first, and what is said about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn
from flagstone.errors import ConfigurationError, InputError


@pytest.mark.parametrize("given", [[1, 2], nn.Linear(2, 2).parameters(), None])
def test_an_optimizer_wants_the_layer(given: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"Adam: layer expected .*Pass the outermost"):
        fs.optim.Adam(given)


def test_numpy_integers_are_integers() -> None:
    labels = np.array([0, 1, 2])
    layer = nn.Sequential(
        nn.Conv2d(np.int64(1), np.int64(4), np.int64(3), stride=np.int64(1)),
        nn.MaxPool2d(np.int64(2)),
        nn.Flatten(),
        nn.Linear(np.int64(36), labels.max() + 1),
    )
    assert layer(fs.tensor(np.zeros((2, 8, 8, 1), np.float32))).shape == (2, 3)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.Conv2d(3, 8, 3, stride=0), "Conv2d: stride expected a positive integer"),
        (lambda: nn.Conv2d(3, 8, 3, padding=-1), "Conv2d: padding expected 'same'"),
        (lambda: nn.Conv2d(3, 8, 3, padding="foo"), "Conv2d: padding expected 'same'"),
        (lambda: nn.Conv2d(3, 8, 3, dilation=0), "Conv2d: dilation expected a positive integer"),
        (lambda: nn.MaxPool2d(0), "MaxPool2d: kernel_size expected a positive integer"),
        (lambda: nn.MaxPool2d((2, 2, 2)), "MaxPool2d: kernel_size expected a positive integer"),  # type: ignore[arg-type]  # a mistake
        (lambda: nn.AvgPool2d(2.5), "AvgPool2d: kernel_size expected a positive integer"),  # type: ignore[arg-type]  # a mistake
        (lambda: nn.AvgPool2d(2, padding="x"), "AvgPool2d: padding expected 'same'"),
        (lambda: nn.Linear(True, 2), "Linear: in_features expected a positive integer"),
    ],
)
def test_a_layer_checks_its_arguments_when_it_is_made(make: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()


def test_a_run_directory_can_be_loaded(tmp_path: Path) -> None:
    X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1])
    model = fs.model("softmax", epochs=3).fit(X, y)
    model.save(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(fs.load(tmp_path).predict_proba(X), model.predict_proba(X))
