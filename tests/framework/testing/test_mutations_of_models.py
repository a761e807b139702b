"""Mistakes planted in a model, each found by ``flagstone check`` and named."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

MODEL = """
KEPT = {{}}

@dataclass(kw_only=True, eq=False, repr=False)
class Planted(fs.Classifier):
    width: int = 6
    batch_size: int | None = 16
    lr: float | None = 0.03

    def build(self, inputs, outputs):
        hidden = nn.Linear(inputs.size, self.width)
        return nn.Sequential(nn.Flatten(), hidden, nn.Tanh(), {last})
{methods}

@hookimpl
def flagstone_models():
    yield ModelSpec(
        "planted", "planted_plugin:Planted", task="classification",
        expected_failed_checks={{
            "check_sample_weight_equivalence_on_dense_data": "it trains in batches",
        }},
    )
"""
LAST = "nn.Linear(self.width, outputs.size)"
FIT = """
    def fit(self, X, y, sample_weight=None, **options):
        {before}
        super().fit(X, y, {weight}, **options)
        {after}
        return self
"""


def fit(before: str = "pass", after: str = "pass", weight: str = "sample_weight") -> str:
    return FIT.format(before=before, after=after, weight=weight)


OBJECTIVE = """
    def objective(self, layer, backend):
        class Read(fs.training.objective.CrossEntropy):
            def losses(self, out, y):
                each = super().losses(out, y)
                {line}
                return each
        return Read()
"""
PREDICT = """
    def predict_proba(self, X):
        {line}
        return super().predict_proba(X)
"""

MISTAKES: dict[str, tuple[str, str, str, str]] = {
    "a hyper-parameter changed in __init__": (
        LAST, "\n    def __post_init__(self):\n        self.width = max(self.width, 2)",
        "hyperparameters", "expected to store any value",
    ),
    "a hyper-parameter replaced in __init__": (
        LAST, "\n    def __post_init__(self):\n        self.batch_size = self.batch_size or 16\n"
        "        self.lr = 0.01",
        "hyperparameters", "expected lr to be stored as it was given; got 0.01",
    ),
    "something else set in __init__": (
        LAST, "\n    def __post_init__(self):\n        self.losses = []",
        "hyperparameters", "nothing but hyper-parameters; got also losses",
    ),
    "one output too many": (
        "nn.Linear(self.width, outputs.size + 1)", "",
        "outputs", r"build: expected a layer that gives shape \(1, 3\).*it gives \(1, 4\)",
    ),
    "fit that changes X": (
        LAST, fit(before="X -= X.mean(axis=0)"),
        "purity", "X after fit and predict",
    ),
    "predict that sets an attribute": (
        LAST, PREDICT.format(line="self.last_ = len(X)"),
        "purity", "expected to set no attribute of the model; it set last_",
    ),
    "a prediction that depends on its batch": (
        LAST, PREDICT.format(line="X = X - X.mean(axis=0)"),
        "batch_independence", "row 0 predicted alone",
    ),
    "a state that save forgets": (
        LAST,
        fit(after="KEPT[id(self)] = 2.0")
        + PREDICT.format(line="X = X * KEPT.get(id(self), 1.0)"),
        "save_and_load", "the loaded model: predictions: expected .*; got",
    ),
    "hidden use of numpy.random": (
        LAST, fit(before="X = X + 0.01 * np.random.standard_normal(X.shape)"),
        "determinism", r"global generator of numpy\.random",
    ),
    "an unseeded generator": (
        LAST, fit(before="X = X + 0.01 * np.random.default_rng().standard_normal(X.shape)"),
        "determinism", "a second model of the same seed: .*exactly; got",
    ),
    "sample weights that are ignored": (
        LAST, fit(weight="None"),
        "sample_weight", "predictions after rows of weight 0",
    ),
    "a host read in the step": (
        LAST, OBJECTIVE.format(line="assert each.sum().item() == each.sum().item()"),
        "capture_safe", r"host reads no value.*planted_plugin\.py, line \d+: assert each",
    ),
    "a silent float64 in the loss": (
        LAST, OBJECTIVE.format(line="each = each.astype('float64').astype('float32')"),
        "dtype", "expected float32 throughout; got float64 from the op",
    ),
    "a raw error for data it cannot take": (
        LAST, fit(before="assert len(X) == len(y)"),
        "error_messages", "fit with too few targets: expected an error of flagstone's.*Assertion",
    ),
    "a run that begins again where it should go on": (
        LAST, fit(before="options.pop('resume_from', None)"),
        "resume", "expected to go on with epoch 2; got epoch 1",
    ),
    "a run whose resumption is not exact": (
        LAST, fit(before="X = X + (options.get('resume_from') is not None)"),
        "resume", "the resumed model: ",
    ),
    "a layer that scikit-learn's checks refuse": (
        LAST, fit(before="self.classes_ = None; self.n_features_in_ = -1", after="self.width_ = 1\n"
        "        self.n_features_in_ = -1"),
        "check_estimator", "check_n_features_in",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named(check: Callable[..., Any], mistake: str) -> None:
    last, methods, point, words = MISTAKES[mistake]
    found = check(MODEL.format(last=last, methods=methods), "planted", "--point", point)
    assert found.code == 1
    reason = found.of("failed")[point]
    assert reason.startswith(f"model 'planted', {point}: ")
    assert re.search(words, reason), reason


def test_a_class_that_was_not_decorated_is_named(check: Callable[..., Any]) -> None:
    source = MODEL.format(last=LAST, methods="    kind: ClassVar[str] = 'planted'")
    source = "from typing import ClassVar\n" + source.replace("@dataclass(kw", "# (kw")
    found = check(source, "planted", "--point", "hyperparameters")
    assert found.code == 1
    reason = found.of("failed")["hyperparameters"]
    assert "width: annotated like a hyper-parameter, and none; decorate the class with" in reason


def test_a_model_without_mistakes_passes(check: Callable[..., Any]) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn, whose checks are a point, is not there")
    found = check(MODEL.format(last=LAST, methods=""), "planted")
    assert (found.code, found.of("failed"), found.of("skipped")) == (0, {}, {})
    assert len(found.points) >= 15
