"""Losses, measures and penalties per example, against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn
from flagstone.errors import RunError
from flagstone.training.objective import (
    L2,
    BinaryCrossEntropy,
    CrossEntropy,
    Objective,
    SquaredError,
)


def test_cross_entropy() -> None:
    logits = np.array([[2.0, 1.0, 0.0], [0.0, 1.0, 5.0], [0.0, 3.0, 0.0]])
    labels = np.array([0, 1, 1])
    out, y = fs.tensor(logits), fs.tensor(labels)
    expected = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(3), labels]
    np.testing.assert_allclose(CrossEntropy().losses(out, y).numpy(), expected)
    measures = CrossEntropy().measures(out, y)
    assert set(measures) == {"accuracy"}
    np.testing.assert_array_equal(measures["accuracy"].numpy(), [1, 0, 1])
    assert measures["accuracy"].dtype_name == "float64"


def test_binary_cross_entropy() -> None:
    logits = np.array([[2.0], [-1.0], [0.5], [-0.2]])
    labels = np.array([1, 0, 0, 1])
    out, y = fs.tensor(logits), fs.tensor(labels)
    p = 1 / (1 + np.exp(-logits[:, 0]))
    expected = -np.log(np.where(labels == 1, p, 1 - p))
    losses = BinaryCrossEntropy().losses(out, y)
    assert losses.shape == (4,)
    np.testing.assert_allclose(losses.numpy(), expected)
    accuracy = BinaryCrossEntropy().measures(out, y)["accuracy"]
    np.testing.assert_array_equal(accuracy.numpy(), [1, 1, 0, 0])
    at_07 = BinaryCrossEntropy(margin=np.log(0.7 / 0.3)).measures(out, y)["accuracy"]
    np.testing.assert_array_equal(at_07.numpy(), (p > 0.7) == labels)
    np.testing.assert_array_equal(at_07.numpy(), [1, 1, 1, 0])


def test_squared_error_is_reported_in_the_targets_units() -> None:
    out, y = np.array([[1.0, 2.0], [0.0, 0.0]]), np.array([[0.0, 4.0], [1.0, 0.0]])
    scale = np.array([10.0, 0.5])
    objective = SquaredError(fs.tensor(scale))
    losses = objective.losses(fs.tensor(out), fs.tensor(y))
    np.testing.assert_allclose(losses.numpy(), ((out - y) ** 2).mean(axis=1))
    measures = objective.measures(fs.tensor(out), fs.tensor(y))
    error = (out - y) * scale
    np.testing.assert_allclose(measures["mse"].numpy(), (error**2).mean(axis=1))
    np.testing.assert_allclose(measures["mae"].numpy(), np.abs(error).mean(axis=1))


def test_l2_takes_weights_and_leaves_biases_out() -> None:
    layer = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).initialize(0, dtype="float64")
    objective = L2(CrossEntropy(), 0.25)
    penalty = objective.penalty(layer)
    assert penalty is not None
    state = layer.state_dict()
    expected = 0.25 * sum((state[f"{i}.weight"] ** 2).sum() for i in (0, 1))
    assert penalty.item() == pytest.approx(expected)
    penalty.backward()
    np.testing.assert_allclose(layer[0].weight.grad.numpy(), 0.5 * state["0.weight"])
    assert layer[0].bias.grad is None
    assert objective.penalty(nn.Sequential(nn.ReLU())) is None
    out, y = fs.tensor(np.ones((2, 2))), fs.tensor(np.array([0, 1]))
    np.testing.assert_array_equal(
        objective.losses(out, y).numpy(), CrossEntropy().losses(out, y).numpy()
    )
    assert objective.measures(out, y).keys() == {"accuracy"}


def test_an_objective_without_a_loss_says_so() -> None:
    class Nothing(Objective):
        pass

    empty: Any = None
    with pytest.raises(NotImplementedError, match="Nothing defines no losses"):
        Nothing().losses(empty, empty)
    assert Nothing().measures(empty, empty) == {}
    assert Nothing().penalty(empty) is None


# In a trainer


def test_a_validation_loss_that_is_no_number_ends_the_run(
    make_trainer: Any, make_data: Any
) -> None:
    x, y = make_data()
    trainer, held = make_trainer(), np.where(np.arange(50) == 7, 3, y)
    message = r"the validation loss is nan after epoch 1: .*, or check the validation data$"
    with pytest.raises(RunError, match=message):
        trainer.fit(x, y, validation=(x, held))
    assert trainer.history == []


def test_a_penalty_is_in_the_training_loss_and_not_in_the_validation_loss(
    make_trainer: Any,
    make_data: Any,
) -> None:
    """One says what is minimised, the other what is made of the data, as ``evaluate`` does."""
    x, y = make_data()
    objective = L2(CrossEntropy(), 0.5)
    layer = nn.Linear(6, 3).initialize(0)
    trainer = make_trainer(layer, lr=0.0, epochs=1, batch_size=None, objective=objective)
    (row,) = trainer.fit(x, y, validation=(x, y))
    weight = trainer.layer.state_dict()["weight"]
    penalty = 0.5 * float((weight**2).sum())
    assert row["train"]["loss"] - row["validation"]["loss"] == pytest.approx(penalty, rel=1e-4)
    assert penalty > 0
