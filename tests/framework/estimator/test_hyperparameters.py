"""Hyper-parameters of models: stored as they are, and refused by ``fit``."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone.errors import ConfigurationError, FlagstoneError, UnknownNameError


def table() -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).standard_normal((60, 4))
    return x, (x[:, 0] + x[:, 1] > 0).astype(int)


def test_an_unknown_hyperparameter_is_named_with_a_suggestion() -> None:
    for call in (lambda: fs.model("mlp", hiden=(3,)), lambda: fs.model("mlp").set_params(hiden=1)):
        with pytest.raises(ConfigurationError, match=r"no hyper-parameter 'hiden'.*mean 'hidden'"):
            call()
    with pytest.raises(UnknownNameError, match=r"unknown model 'sofmax'.*Did you mean 'softmax'"):
        fs.model("sofmax")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"epochs": -2.0}, "epochs expected a positive number; got -2.0"),
        ({"epochs": True}, "epochs expected int | float; got True"),
        ({"epochs": "3"}, "epochs expected int | float; got '3'"),
        ({"batch_size": 2.0}, "batch_size expected int | None; got 2.0"),
        ({"epochs": 0}, "epochs expected a positive integer; got 0"),
        ({"batch_size": "all"}, "batch_size expected int | None; got 'all'"),
        ({"batch_size": 0}, "batch_size expected a positive integer; got 0"),
        ({"lr": "fast"}, "lr expected float | None; got 'fast'"),
        ({"lr": np.ones(2)}, "lr expected float | None; got array"),
        ({"lr": -1.0}, "lr expected a finite number >= 0; got -1.0"),
        ({"lr": float("nan")}, "lr expected a finite number >= 0; got nan"),
        ({"optimizer": None}, "optimizer expected str; got None"),
        ({"optimizer": "adm"}, "unknown optimizer 'adm'"),
        ({"optimizer": "sgd(momentum=2)"}, "SGD: momentum expected a number in [0, 1); got 2"),
        ({"schedule": "cos"}, "unknown schedule 'cos'"),
        ({"weight_decay": -0.1}, "weight_decay expected a number >= 0; got -0.1"),
        ({"validation_fraction": 1.0}, "validation_fraction expected a number in [0, 1); got 1.0"),
        ({"patience": 0}, "patience expected a positive integer or None; got 0"),
        ({"standardize": 1}, "standardize expected bool; got 1"),
        ({"seed": -1}, "seed expected an integer in [0, 2**64); got -1"),
        ({"precision": "half"}, "precision: expected exact"),
        ({"verbose": "yes"}, "verbose expected bool; got 'yes'"),
        ({"device": 3}, "device expected str; got 3"),
        ({"device": "gpu"}, "gpu"),
        ({"hidden": 5}, "hidden expected tuple[int, ...]; got 5"),
        ({"hidden": (5, "6")}, "hidden expected tuple[int, ...]; got (5, '6')"),
        ({"hidden": (5, 0)}, "hidden: expected positive integers; got (5, 0)"),
        ({"activation": "rleu"}, "unknown activation 'rleu'"),
        ({"dropout": 1.0}, "dropout: expected a probability in [0, 1); got 1.0"),
        ({"init": "xavier"}, "unknown initialiser 'xavier'"),
        (
            {"optimizer": "sgd(weight_decay=0.1)", "weight_decay": 0.2},
            "weight_decay expected once; got 0.2",
        ),
    ],
)
def test_a_wrong_hyperparameter_is_named(params: dict[str, Any], message: str) -> None:
    model = fs.model("mlp", **params)  # making it does nothing yet
    with pytest.raises(FlagstoneError, match=re.escape(message)) as caught:
        model.fit(*table())
    assert "\n" not in str(caught.value)
    assert not hasattr(model, "layer_")


def test_numpys_numbers_are_numbers() -> None:
    x, y = table()
    plain = fs.model("mlp", epochs=2, lr=0.5, hidden=(3,)).fit(x, y)
    numpys = fs.model("mlp", epochs=np.int64(2), lr=np.float32(0.5), hidden=[np.int32(3)])
    numpys.fit(x, y)
    np.testing.assert_array_equal(plain.predict_proba(x), numpys.predict_proba(x))


@pytest.mark.parametrize(
    "optimizer", ["sgd", "sgd()", "sgd(momentum=0.9)", " sgd ( momentum = 0.9, )", "adamw"]
)
def test_weight_decay_joins_the_optimizers_options(optimizer: str) -> None:
    x, y = table()
    norms = []
    for decay in (0.0, 0.9):
        params = {"optimizer": optimizer, "epochs": 40, "lr": 0.1, "weight_decay": decay}
        norms.append(float(np.abs(fs.model("softmax", **params).fit(x, y).coef_).sum()))
    assert norms[1] < 0.8 * norms[0]
