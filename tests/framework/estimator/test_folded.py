"""Predictions go through a copy without the batch normalisations that follow weights."""

from __future__ import annotations

import gc
import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn
from flagstone.estimator import folded as module
from flagstone.estimator.folded import folded

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((24, 6, 6, 3)).astype(np.float32)
LABELS = np.arange(24) % 3


@dataclass(kw_only=True, eq=False, repr=False)
class Small(fs.ImageClassifier):
    epochs: int = 1
    batch_size: int | None = 8

    def build(self, inputs: fs.Spec, outputs: fs.Spec) -> nn.Layer:
        return nn.Sequential(
            nn.Conv2d(inputs.shape[-1], 5, 3), nn.BatchNorm2d(5), nn.ReLU(),
            nn.Flatten(), nn.Linear(80, outputs.size),
        )  # fmt: skip


def plainly(model: Any) -> Any:
    """The fitted layer's own answers."""
    layer = model.layer_
    with fs.no_grad():
        layer.eval()
        out = layer(fs.tensor(IMAGES, device="cpu")).numpy()
        layer.train()
    return out


def norms(layer: nn.Layer) -> int:
    return sum(isinstance(part, nn.BatchNorm) for _, part in layer.named_layers())


def test_predictions_are_the_layers_and_the_layer_is_untouched() -> None:
    model = Small().fit(IMAGES, LABELS)
    before = {name: a.copy() for name, a in model.layer_.state_dict().items()}
    attributes = set(vars(model))
    found = model.decision_function(IMAGES)
    np.testing.assert_allclose(found, plainly(model), rtol=0, atol=2e-6 * np.abs(found).max())
    assert norms(folded(model.layer_)) == 0
    assert norms(model.layer_) == 1
    assert model.layer_.training
    assert set(vars(model)) == attributes
    for name, a in model.layer_.state_dict().items():
        np.testing.assert_array_equal(a, before[name])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(IMAGES),
                                  model.predict(IMAGES))  # fmt: skip


@pytest.mark.parametrize("part", ["weight", "running_var"])
def test_a_copy_is_kept_until_a_value_changes(part: str) -> None:
    model = Small().fit(IMAGES, LABELS)
    copy = folded(model.layer_)
    assert folded(model.layer_) is copy
    state = dict(model.layer_.state_dict())
    name = next(n for n in state if n.endswith(part))
    state[name] = state[name] * 2.0
    model.layer_.load_state_dict(state)
    assert folded(model.layer_) is not copy
    found = model.decision_function(IMAGES)
    np.testing.assert_allclose(found, plainly(model), rtol=0, atol=2e-6 * np.abs(found).max())


def test_copies_go_with_their_layers() -> None:
    model = Small().fit(IMAGES, LABELS)
    model.predict(IMAGES)
    held = len(module._copies)
    del model
    gc.collect()
    assert len(module._copies) < held


def test_what_has_nothing_to_fold_predicts_itself() -> None:
    for layer in (
        nn.BatchNorm(3),
        nn.Linear(3, 2),
        nn.Sequential(nn.BatchNorm(3), nn.Linear(3, 2)),
    ):
        layer.initialize(0)
        assert folded(layer) is layer


def test_members_of_an_ensemble_are_folded() -> None:
    layer = nn.Sequential(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(4)), nn.ReLU())
    layer.initialize(0)
    assert norms(folded(layer)) == 0
