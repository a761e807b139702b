"""Estimators inside joblib: children share the cores, they do not each take all of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import flagstone as fs

pytest.importorskip("sklearn", reason="searches by scikit-learn, which is not installed")

from joblib import parallel_config
from joblib.externals.loky import get_reusable_executor
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

JOBS = 2
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.fixture(autouse=True)
def fresh_children(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.endswith("_NUM_THREADS")]:
        monkeypatch.delenv(name)
    get_reusable_executor().shutdown(wait=True)
    yield
    get_reusable_executor().shutdown(wait=True)


def table() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 6))
    return x, (x @ rng.standard_normal(6) + rng.logistic(size=200) > 0).astype(int)


def search(**how: Any) -> GridSearchCV:
    grid = {"l2": [1e-3, 1e-2]}
    return GridSearchCV(fs.model("logistic", device="cpu"), grid, cv=2, refit=False, **how)


def test_children_do_not_take_more_threads_than_there_are_cores() -> None:
    def threads_in_use(model: Any, x: Any, y: Any) -> dict[str, float]:
        """What a product and a kernel may take, asked in the child, after a fit there."""
        from flagstone_numpy import threads

        assert os.getpid() != parent
        model.predict(x)
        return {"ours": threads.count(), "blas": threads.blas.before}

    parent = os.getpid()
    x, y = table()
    with parallel_config(backend="loky", n_jobs=JOBS):
        found = search(scoring=threads_in_use).fit(x, y).cv_results_
    for what in ("ours", "blas"):
        counts = np.concatenate([found[f"split{i}_test_{what}"] for i in range(2)])
        assert (counts >= 1).all()
        assert (counts * JOBS <= max(CORES, JOBS)).all(), (what, counts)


def test_a_number_that_is_asked_for_holds_in_children_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAGSTONE_NUM_THREADS", "3")

    def threads_in_use(model: Any, x: Any, y: Any) -> float:
        from flagstone_numpy import threads

        return float(threads.count())

    with parallel_config(backend="loky", n_jobs=JOBS):
        found = search(scoring=threads_in_use).fit(*table()).cv_results_
    assert set(found["mean_test_score"]) == {3.0}


def test_scores_are_those_of_one_process() -> None:
    x, y = table()
    alone = search().fit(x, y).cv_results_
    with parallel_config(backend="loky", n_jobs=JOBS):
        together = search().fit(x, y).cv_results_
    np.testing.assert_array_equal(together["mean_test_score"], alone["mean_test_score"])


def test_threads_of_joblib_share_an_estimator() -> None:
    """The threading backend: fits at once in one process, with the results of fits in turn."""
    x, y = table()
    model = fs.model("logistic", device="cpu", l2=1e-3)
    alone = clone(model).fit(x, y).coef_
    with parallel_config(backend="threading", n_jobs=JOBS):
        found = GridSearchCV(model, {"l2": [1e-3, 1e-3]}, cv=2).fit(x, y)
    np.testing.assert_allclose(found.best_estimator_.coef_, alone, rtol=1e-9)
