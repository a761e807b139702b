"""Least squares by the normal equations, held to LAPACK's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flagstone as fs

RNG = np.random.default_rng(3)
N = 4000
PLAIN = RNG.standard_normal((N, 6))
TABLES = {
    "plain": PLAIN,
    "far from 0": PLAIN + 1e6,
    "other units": PLAIN * [1e-6, 1.0, 1e6, 3.0, 1e-3, 10.0] + [0, 5, 0, -900, 0, 1],
    "nearly collinear": PLAIN[:, :1] + 1e-4 * PLAIN,
    "float32": PLAIN.astype(np.float32),
    "integers": RNG.integers(0, 9, (N, 6)),
}
TARGETS = PLAIN @ RNG.standard_normal((6, 2)) + RNG.standard_normal((N, 2)) + 7.0
WEIGHT = RNG.integers(0, 4, N).astype(float)


def reference(x: Any, y: Any, weight: Any, l2: float) -> Any:
    """Predictions of the penalised minimum in standardised units, by LAPACK's least squares."""
    x = np.asarray(x, np.float64)
    mean = np.average(x, axis=0, weights=weight)
    z = (x - mean) / np.sqrt(np.average((x - mean) ** 2, axis=0, weights=weight))
    root = np.sqrt(weight)[:, None]
    middle = np.average(y, axis=0, weights=weight)
    rows = np.concatenate([z * root, np.sqrt(weight.sum() * l2 * y.shape[1]) * np.eye(6)])
    right = np.concatenate([(y - middle) * root, np.zeros((6, y.shape[1]))])
    return z @ np.linalg.lstsq(rows, right, rcond=None)[0] + middle


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("l2", [0.0, 0.1])
@pytest.mark.parametrize("kind", sorted(TABLES))
def test_the_minimum(kind: str, l2: float, weighted: bool) -> None:
    x, weight = TABLES[kind], WEIGHT if weighted else None
    y = TARGETS / TARGETS.std(axis=0) if l2 and not weighted else TARGETS
    if l2 and weighted:  # the penalty is in units of standardised targets
        mean = np.average(TARGETS, axis=0, weights=WEIGHT)
        y = TARGETS / np.sqrt(np.average((TARGETS - mean) ** 2, axis=0, weights=WEIGHT))
    model = fs.model("linear", solver="normal", l2=l2).fit(x, y, weight)
    expected = reference(x, y, np.ones(N) if weight is None else weight, l2)
    np.testing.assert_allclose(model.predict(x), expected, rtol=0, atol=1e-8)


def test_what_the_history_tells_is_what_evaluating_tells() -> None:
    model = fs.model("linear").fit(PLAIN, TARGETS, WEIGHT)
    assert model.solver_ == "normal"
    by_lbfgs = fs.model("linear", solver="lbfgs").fit(PLAIN, TARGETS, WEIGHT)
    told, expected = model.history_[0]["train"], by_lbfgs.history_[-1]["train"]
    assert told == pytest.approx(expected, rel=1e-7)


def test_columns_that_say_the_same_share_the_weight() -> None:
    x = np.column_stack([PLAIN, PLAIN[:, 0], np.full(N, 3.0)])
    model = fs.model("linear").fit(x, TARGETS[:, 0])
    assert model.coef_[0] == pytest.approx(model.coef_[6])
    plain = fs.model("linear").fit(PLAIN, TARGETS[:, 0])
    np.testing.assert_allclose(model.predict(x), plain.predict(PLAIN), atol=1e-8)


def test_wide_tables_and_what_belongs_to_iterations_go_by_lbfgs() -> None:
    wide = RNG.standard_normal((20, 513))
    assert fs.model("linear", epochs=2).fit(wide, wide[:, 0]).solver_ == "lbfgs"
    for options in ({"patience": 2}, {"weight_decay": 0.1}, {"optimizer": "lbfgs"}):
        assert fs.model("linear", **options).fit(PLAIN, TARGETS).solver_ == "lbfgs"
