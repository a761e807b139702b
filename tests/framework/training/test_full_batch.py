"""Training by L-BFGS: to the optimum of a convex loss, an iteration an epoch, resumable."""

from __future__ import annotations

import os
import re
import signal
from typing import Any

import numpy as np
import pytest

from flagstone import nn, optim
from flagstone.errors import ConfigurationError, RunError
from flagstone.schedules import Cosine
from flagstone.training import L2, Callback, FullBatchTrainer, Trainer
from flagstone.training.objective import BinaryCrossEntropy, CrossEntropy, Objective

TIGHT = {"tolerance_grad": 1e-9, "tolerance_change": 0.0}
RNG = np.random.default_rng(5)
X = RNG.standard_normal((200, 6)) @ RNG.standard_normal((6, 6)) + 3.0
Y = (X @ RNG.standard_normal(6) / 3 + 2 * RNG.standard_normal(200) > 0).astype(np.int64)
WEIGHT = RNG.random(200) * 2
WEIGHT /= WEIGHT.mean()


def newton(weight: np.ndarray, l2: float) -> np.ndarray:
    """The minimum of the mean logistic loss plus ``l2 |w|^2``: the slopes, then the intercept."""
    x = np.column_stack([X, np.ones(len(X))])
    penalty = 2 * l2 * np.diag([1.0] * 6 + [0.0])
    w = np.zeros(7)
    for _ in range(40):
        p = 1 / (1 + np.exp(-x @ w))
        hessian = (x.T * (weight * p * (1 - p))) @ x / len(x) + penalty
        w -= np.linalg.solve(hessian, x.T @ (weight * (p - Y)) / len(x) + penalty @ w)
    return w


def trainer(
    layer: nn.Layer | None = None, objective: Objective | None = None, *,
    lbfgs: dict[str, Any] | None = None, **options: Any,
) -> FullBatchTrainer:  # fmt: skip
    layer = nn.Linear(6, 1) if layer is None else layer
    layer.initialize(options.get("seed", 0), dtype="float64")
    options = {"epochs": 200, "batch_size": None, **options}
    optimizer = optim.LBFGS(layer, **(TIGHT if lbfgs is None else lbfgs))
    return FullBatchTrainer(layer, objective or BinaryCrossEntropy(), optimizer, **options)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("l2", [0.0, 0.05])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_optimum_whatever_the_start(seed: int, l2: float, weighted: bool) -> None:
    layer = nn.Linear(6, 1)
    objective: Objective = L2(BinaryCrossEntropy(), l2) if l2 else BinaryCrossEntropy()
    t = trainer(layer, objective, seed=seed)
    history = t.fit(X, Y, weight=WEIGHT if weighted else None)
    state = layer.state_dict()
    found = np.array([*state["weight"].ravel(), *state["bias"]])
    np.testing.assert_allclose(
        found, newton(WEIGHT if weighted else np.ones(200), l2), rtol=0, atol=1e-7
    )
    assert len(history) < 30
    assert t.stop
    losses = [row["train"]["loss"] for row in history]
    assert (np.diff(losses) <= 1e-14).all()
    margin = X @ found[:6] + found[6]
    share = WEIGHT if weighted else np.ones(200)
    loss = np.mean(share * (np.logaddexp(0, margin) - Y * margin)) + l2 * found[:6] @ found[:6]
    assert losses[-1] == pytest.approx(loss, rel=1e-9)
    accuracy = np.mean(share * ((margin > 0) == Y))
    assert history[-1]["train"]["accuracy"] == pytest.approx(accuracy)


@pytest.mark.parametrize("layers", ["standardised", "deep", "no bias", "frozen"])
def test_where_the_second_moments_do_not_serve(layers: str) -> None:
    """The same optimum through other layers, and without the preconditioner."""
    if layers == "standardised":
        layer: Any = nn.Sequential(nn.Standardize((6,)), nn.Sequential(nn.Linear(6, 1)))
    elif layers == "deep":  # the product of two matrices: as good as one of rank 1
        layer = nn.Sequential(nn.Linear(6, 2), nn.Linear(2, 1))
    else:
        layer = nn.Linear(6, 1, bias=layers == "frozen")
    if layers == "frozen":
        layer.bias.requires_grad = False
    history = trainer(layer, epochs=2000).fit(X, Y)
    loss = history[-1]["train"]["loss"]
    w = newton(np.ones(200), 0.0)
    margin = X @ w[:6] + w[6]
    best = np.mean(np.logaddexp(0, margin) - Y * margin)
    if layers in ("standardised", "deep"):
        assert loss == pytest.approx(best, rel=1e-8)
    else:
        assert best < loss < best + 0.1


def test_columns_that_are_one_column_and_ones_that_are_constant() -> None:
    """The pseudo-inverse leaves out what the data do not tell."""
    x = np.column_stack([X, X[:, 0], np.full(200, 7.0)])
    layer = nn.Linear(8, 1, init="zeros")
    history = trainer(layer).fit(x, Y)
    plain = trainer().fit(X, Y)
    assert history[-1]["train"]["loss"] == pytest.approx(plain[-1]["train"]["loss"], rel=1e-9)
    weight = layer.state_dict()["weight"].ravel()
    assert weight[0] == pytest.approx(weight[6])


def test_correlated_features_take_no_more_iterations() -> None:
    common = RNG.standard_normal((400, 1))
    x = common + 1e-3 * RNG.standard_normal((400, 10))
    y = (x[:, 0] + RNG.logistic(size=400) > 0).astype(np.int64)
    assert len(trainer(nn.Linear(10, 1)).fit(x, y)) < 20


@pytest.mark.parametrize("far", [0.0, 1e5])
def test_a_sample_leaves_few_iterations_for_a_large_table(far: float) -> None:
    """Weighted, penalised, behind a standardisation that is folded into the weights or, of columns
    far from 0, is not."""
    x = RNG.standard_normal((70_000, 3)) * [1.0, 20.0, 0.1] + far * np.array([1.0, -20.0, 0.1])
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    y = (z @ [1.0, -2.0, 0.5] + RNG.logistic(size=len(x)) > 0.3).astype(np.int64)
    weight = RNG.random(len(x)) + 0.5
    weight /= weight.mean()
    layer = nn.Sequential(nn.Normalize(x.mean(axis=0), x.std(axis=0)), nn.Linear(3, 1))
    history = trainer(layer, L2(BinaryCrossEntropy(), 0.01)).fit(x, y, weight=weight)
    assert len(history) < 9
    state, rows = layer.state_dict(), np.column_stack([z, np.ones(len(z))])
    w = np.array([*state["1.weight"].ravel(), *state["1.bias"]])
    p = 1 / (1 + np.exp(-rows @ w))
    gradient = rows.T @ (weight * (p - y)) / len(y) + 0.02 * w * [1, 1, 1, 0]
    np.testing.assert_allclose(gradient, 0, atol=1e-8)


class Doubled(BinaryCrossEntropy):
    def losses(self, out: Any, y: Any) -> Any:
        return super().losses(out, y) * 2.0


def test_another_loss_does_not_inherit_the_derivatives_of_its_base() -> None:
    once, twice = trainer(), trainer(objective=Doubled())
    once.fit(X, Y)
    twice.fit(X, Y)
    expected, found = (t.layer.state_dict()["weight"] for t in (once, twice))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)


class Stop(Callback):
    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_epoch_end(self, trainer: Trainer, epoch: int, metrics: Any) -> None:
        trainer.stop = trainer.stop or epoch == self.epoch


def deep() -> nn.Layer:
    return nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.Tanh(), nn.Dropout(0.2), nn.Linear(5, 2))


def test_a_resumed_run_goes_on_bit_for_bit() -> None:
    whole, first, second = deep(), deep(), deep()
    expected = trainer(whole, CrossEntropy(), epochs=12).fit(X, Y)
    stopped = trainer(first, CrossEntropy(), epochs=12, callbacks=[Stop(5)])
    assert len(stopped.fit(X, Y)) == 5
    resumed = trainer(second, CrossEntropy(), epochs=12)
    history = resumed.fit(X, Y, resume_from=stopped.state())
    assert [row["train"] for row in history] == [row["train"] for row in expected]
    for name, value in whole.state_dict().items():
        np.testing.assert_array_equal(second.state_dict()[name], value)


def test_patience_watches_the_validation_loss() -> None:
    t = trainer(deep(), CrossEntropy(), patience=2, epochs=300)
    history = t.fit(X[:40], Y[:40], validation=(X[40:], Y[40:]))
    losses = [row["validation"]["loss"] for row in history]
    assert len(losses) == int(np.argmin(losses)) + 3
    assert t.evaluate(t._data)["loss"] == pytest.approx(history[-3]["train"]["loss"], rel=0.2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 10}, "batch_size: expected None, for all examples, with the optimizer lb"),
        ({"schedule": Cosine()}, "schedule: expected 'constant', with the optimizer lbfgs"),
    ],
)
def test_what_needs_mini_batches_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        trainer(**options)


def test_another_optimizer_is_refused() -> None:
    layer = nn.Linear(6, 1).initialize(0)
    with pytest.raises(ConfigurationError, match="optimizer: expected LBFGS; got SGD"):
        FullBatchTrainer(layer, CrossEntropy(), optim.SGD(layer, 0.1), epochs=1, batch_size=None)


def test_a_loss_that_is_no_number_is_divergence() -> None:
    with pytest.raises(RunError, match="the loss is nan after epoch 1: training diverged"):
        trainer().fit(np.full_like(X, np.inf), Y)


class Presses(L2):
    """An objective whose n-th loss is answered by Ctrl-C."""

    def __init__(self, at: int) -> None:
        super().__init__(BinaryCrossEntropy(), 0.0)
        self.left = at

    def losses(self, out: Any, y: Any) -> Any:
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGINT)
        return super().losses(out, y)


@pytest.mark.parametrize("at", [1, 4, 7])
def test_ctrl_c_within_an_iteration_takes_it_back(at: int) -> None:
    """A checkpoint keeps where the last iteration ended; a resumed run ends where one run does."""
    states: list[Any] = []

    class Keep(Callback):
        def on_interrupt(self, trainer: Any) -> None:
            states.append((trainer.state(), trainer.epoch))

    whole = trainer(epochs=12)
    whole.fit(X, Y)
    stopped = trainer(epochs=12, objective=Presses(at), callbacks=[Keep()])
    with pytest.raises(KeyboardInterrupt):
        stopped.fit(X, Y)
    ((state, epoch),) = states
    assert epoch == state[1]["epoch"] < 12
    after = trainer(epochs=12)
    after.fit(X, Y, resume_from=state)
    np.testing.assert_array_equal(
        after.optimizer.flat.values.numpy(), whole.optimizer.flat.values.numpy()
    )


def test_the_third_backend_takes_the_same_iterations(strict: Any) -> None:
    here = trainer().fit(X, Y)
    layer = nn.Linear(6, 1)
    layer.initialize(0, device="strict", dtype="float64")
    optimizer = optim.LBFGS(layer, **TIGHT)
    objective = BinaryCrossEntropy()
    there = FullBatchTrainer(layer, objective, optimizer, epochs=200, batch_size=None).fit(X, Y)
    losses = [[row["train"]["loss"] for row in history] for history in (here, there)]
    np.testing.assert_allclose(losses[0][:5], losses[1][:5], rtol=1e-9)
