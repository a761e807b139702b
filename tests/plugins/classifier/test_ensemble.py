"""An ensemble is the average of its members, trained one after another and resumed among them."""

from __future__ import annotations

import re
import unittest
import warnings
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn
from flagstone.errors import FlagstoneError, InputError, NotFittedError, RunError
from flagstone.plugins import registry
from flagstone.training import Callback

RNG = np.random.default_rng(0)
X = RNG.standard_normal((90, 4))
Y = np.array(["a", "b", "c"])[np.argmax(X[:, :3] + 0.5 * RNG.standard_normal((90, 3)), axis=1)]
MEMBER = "mlp(epochs=3, hidden=(8,), dropout=0.2, lr=0.02)"


def ensemble(member: str = MEMBER, members: int = 3, **params: Any) -> Any:
    return fs.model("ensemble", member=member, members=members, **params)


@pytest.mark.parametrize(
    ("member", "labels"),
    [(MEMBER, Y), ("softmax(epochs=2, lr=0.1)", Y), ("logistic(solver='sgd', epochs=3)", Y == "a")],
)
def test_probabilities_are_the_mean_of_the_members(member: str, labels: np.ndarray) -> None:
    model = ensemble(member).fit(X, labels)
    alone = [model._member(i).fit(X, labels) for i in range(3)]
    mean = np.mean([m.predict_proba(X) for m in alone], axis=0)
    np.testing.assert_allclose(model.predict_proba(X), mean, rtol=1e-9)
    np.testing.assert_array_equal(model.predict(X), model.classes_[mean.argmax(axis=1)])
    assert model.score(X, labels) == np.mean(model.predict(X) == labels)
    assert model.n_parameters_ == 3 * alone[0].n_parameters_
    assert [row["member"] for row in model.history_] == sorted(
        [1, 2, 3] * (len(model.history_) // 3)
    )
    assert [row["epoch"] for row in model.history_] == list(range(1, len(model.history_) + 1))
    for i, one in enumerate(alone):
        rows = [row["train"] for row in model.history_ if row["member"] == i + 1]
        assert rows == [row["train"] for row in one.history_]


def test_members_and_ensembles_of_neighbouring_seeds_differ() -> None:
    seeds = [ensemble(seed=seed)._member(i).seed for seed in range(10) for i in range(10)]
    assert len(set(seeds)) == 100
    one, other = ensemble(seed=1).fit(X, Y), ensemble(seed=1).fit(X, Y)
    np.testing.assert_array_equal(one.predict_proba(X), other.predict_proba(X))


def test_images_and_weights_and_validation() -> None:
    images = X.reshape(90, 2, 2)
    model = ensemble("cnn(epochs=1)", 2)
    model.fit(images, Y, np.arange(90) % 3, validation_data=(images, Y))
    assert model.predict(images).shape == (90,)
    assert "validation" in model.history_[-1]
    folded = ensemble("cnn(epochs=1, image_shape=(2, 2))", 2)
    folded.fit(X, Y, np.arange(90) % 3)
    np.testing.assert_array_equal(folded.predict(X), model.predict(images))


def test_a_loaded_ensemble_is_the_saved_one(tmp_path: Any) -> None:
    for member in (MEMBER, "logistic"):
        labels = Y if member == MEMBER else (Y == "a").astype(int)
        model = ensemble(member).fit(X, labels)
        model.save(tmp_path / "m.safetensors")
        loaded: Any = fs.load(tmp_path / "m.safetensors")
        assert loaded.get_params() == model.get_params()
        np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
        assert loaded.history_ == model.history_
        loaded.fit(X, labels)


class Keep(Callback):
    """The state after an epoch; the epochs that were told of; what is asked to stop when."""

    def __init__(self, epoch: int, stop: bool = False) -> None:
        self.epoch, self.stop = epoch, stop
        self.told: list[tuple[int, int, bool]] = []
        self.begun = self.ended = 0

    def on_train_begin(self, trainer: Any) -> None:
        self.begun += 1
        self.parameters = trainer.layer.count_parameters()

    def on_epoch_end(self, trainer: Any, epoch: int, metrics: Any) -> None:
        if epoch == self.epoch:
            self.state = trainer.state()
            trainer.stop = trainer.stop or self.stop
        self.told.append((epoch, trainer.epochs, trainer.stop))

    def on_train_end(self, trainer: Any) -> None:
        self.ended += 1


@pytest.mark.parametrize("epoch", [1, 3, 5, 6, 9])
def test_a_resumed_training_keeps_what_was_finished(epoch: int) -> None:
    kept = Keep(epoch)
    whole = ensemble().fit(X, Y, callbacks=[kept])
    again = Keep(0)
    resumed = ensemble().fit(X, Y, resume_from=kept.state, callbacks=[again])
    np.testing.assert_array_equal(resumed.predict_proba(X), whole.predict_proba(X))
    assert [r["train"] for r in resumed.history_] == [r["train"] for r in whole.history_]
    assert len(again.told) == 9 - epoch  # and nothing is trained twice
    assert (kept.begun, kept.ended, again.begun, again.ended) == (1, 1, 1, 1)
    assert kept.parameters == whole.n_parameters_


def test_members_that_end_early_shorten_the_training() -> None:
    watched = Keep(4)
    model = ensemble("softmax(l2=0.01)", 2).fit(X, Y, callbacks=[watched])  # to the optimum
    epochs = len(model.history_)
    assert watched.told[-1] == (epochs, watched.told[-1][1], True)
    assert epochs < watched.told[-1][1] < watched.told[0][1]
    resumed = ensemble("softmax(l2=0.01)", 2).fit(X, Y, resume_from=watched.state)
    assert [r["train"] for r in resumed.history_] == [r["train"] for r in model.history_]


def test_a_callback_that_stops_leaves_the_members_so_far(tmp_path: Any) -> None:
    model = ensemble().fit(X, Y, callbacks=[Keep(5, stop=True)])
    assert (model.n_members_, len(model.history_)) == (2, 5)
    model.save(tmp_path / "m.safetensors")
    loaded: Any = fs.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert model.fit(X, Y).n_members_ == 3


@pytest.mark.parametrize("params", [{"members": 2}, {"seed": 1}, {"member": "mlp(epochs=3)"}])
def test_another_ensembles_state_is_refused(params: dict[str, Any]) -> None:
    kept = Keep(4)
    ensemble().fit(X, Y, callbacks=[kept])
    with pytest.raises(RunError, match=f"the checkpoint was made with {next(iter(params))} "):
        ensemble(**params).fit(X, Y, resume_from=kept.state)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"member": "mlpp"}, "unknown model 'mlpp'"),
        ({"member": "mlp(3)"}, "expected a name or name(option=value, ...); got 'mlp(3)'"),
        ({"member": "mlp(hiden=(3,))"}, "no hyper-parameter 'hiden'"),
        (
            {"member": "mlp(epochs=0)"},
            "Ensemble: member 'mlp(epochs=0)': MLPClassifier: epochs expected a positive integer; ",
        ),
        ({"member": ""}, "member: expected a name or name(option=value, ...); got ''"),
        ({"member": "mlp(epochs='x')"}, "MLPClassifier: epochs expected int | float; got 'x'"),
        ({"member": "linear"}, "member expected a classifier with one layer; 'linear' is for regr"),
        ({"member": "ensemble(member='mlp')"}, "'ensemble' is an ensemble itself"),
        ({"member": "mlp(seed=3)"}, "member expected no seed, which is the ensemble's own"),
        ({"member": "mlp(device='cpu')"}, "member expected no device, which is the ensemble's own"),
        ({"member": "logistic(threshold=0.7)"}, "member expected no threshold"),
        ({"members": 0}, "members expected a positive integer; got 0"),
        ({"members": 2.0}, "members expected int; got 2.0"),
        ({"seed": -1}, "seed expected an integer in [0, 2**64); got -1"),
    ],
)
def test_a_wrong_hyperparameter_is_named(params: dict[str, Any], message: str) -> None:
    model = ensemble(**params)
    with pytest.raises(FlagstoneError, match=re.escape(message)):
        model.fit(X, Y)
    assert not hasattr(model, "layer_")


def test_what_cannot_be_used_is_refused() -> None:
    with pytest.raises(NotFittedError, match="instance is not fitted yet"):
        ensemble().predict(X)
    with pytest.raises(InputError, match="at least two classes"):
        ensemble().fit(X, np.zeros(90))
    with pytest.raises(FlagstoneError, match=r"^Ensemble: member 'cnn': CNN: X expected images"):
        ensemble(member="cnn").fit(X, Y)
    with pytest.raises(FlagstoneError, match="4 features"):
        ensemble(members=1).fit(X, Y).predict(X[:, :2])


def test_its_layer_gives_log_probabilities() -> None:
    layer = ensemble().fit(X, Y).layer_
    assert isinstance(layer, nn.Layer)
    out = layer(fs.tensor(X.astype(np.float32))).numpy()
    np.testing.assert_allclose(np.exp(out).sum(axis=1), 1.0, rtol=1e-5)


@pytest.mark.slow
def test_scikit_learns_checks() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn, whose checks these are, is not installed")
    from flagstone.testing.sklearn_checks import sklearn_checks

    spec = registry.find("model", "ensemble")
    params = {"member": "softmax(epochs=8)", "members": 2}
    # It asks for seven digits of an optimum, which eight iterations do not give; the members' own
    # checks hold them to it.
    slow = frozenset({"check_sample_weight_equivalence_on_dense_data"})
    for name, run in sklearn_checks(spec, params, slow):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                run()
            except unittest.SkipTest:
                continue
            except Exception as error:
                raise AssertionError(name) from error
