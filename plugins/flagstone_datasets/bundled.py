"""The small datasets that scikit-learn carries (the extra ``sklearn``).

Classes have their names (``setosa``) where scikit-learn gives names that are words, so that
predictions can be read without a key.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from flagstone.data import Dataset


def digits() -> Dataset:
    """1797 handwritten digits of 8 x 8 pixels, 0 to 16; labels are integers."""
    bunch = _load("load_digits")
    return Dataset(
        "digits",
        "classification",
        np.asarray(bunch.images, dtype=np.float64),  # (1797, 8, 8)
        np.asarray(bunch.target),
        target_names=("digit",),
    )


def iris() -> Dataset:
    """Three species of iris by four lengths in cm."""
    return _named_classes("iris", "load_iris", "species")


def wine() -> Dataset:
    """Three cultivars by 13 chemical measurements."""
    return _named_classes("wine", "load_wine", "cultivar")


def breast_cancer() -> Dataset:
    """Malignant and benign tumours by 30 measurements."""
    return _named_classes("breast-cancer", "load_breast_cancer", "diagnosis")


def diabetes() -> Dataset:
    """Disease progression after one year by ten scaled measurements; regression."""
    bunch = _load("load_diabetes")
    return Dataset(
        "diabetes",
        "regression",
        np.asarray(bunch.data, dtype=np.float64),  # (442, 10)
        np.asarray(bunch.target, dtype=np.float64),
        tuple(bunch.feature_names),
        ("progression",),
    )


def _named_classes(name: str, loader: str, target: str) -> Dataset:
    bunch = _load(loader)
    return Dataset(
        name,
        "classification",
        np.asarray(bunch.data, dtype=np.float64),
        np.asarray(bunch.target_names, dtype=np.str_)[bunch.target],
        tuple(str(feature) for feature in bunch.feature_names),
        (target,),
    )


def _load(loader: str) -> Any:
    # the specs say that sklearn is required, so the registry has told a user who lacks it
    return getattr(importlib.import_module("sklearn.datasets"), loader)()
