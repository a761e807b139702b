"""scikit-learn's own checks of an estimator, for one registered model."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from flagstone.errors import UnavailableError
from flagstone.plugins import ModelSpec

FEEDS_A_TABLE = frozenset({
    "check_fit_score_takes_y", "check_estimators_overwrite_params",
    "check_dont_overwrite_parameters", "check_estimators_fit_returns_self",
    "check_readonly_memmap_input", "check_n_features_in_after_fitting",
    "check_positive_only_tag_during_fit", "check_estimators_dtypes",
    "check_sample_weights_pandas_series", "check_sample_weights_not_an_array",
    "check_sample_weights_list", "check_all_zero_sample_weights_error",
    "check_sample_weights_shape", "check_sample_weights_not_overwritten",
    "check_sample_weight_equivalence_on_dense_data", "check_dtype_object",
    "check_pipeline_consistency", "check_estimators_nan_inf", "check_estimators_pickle",
    "check_f_contiguous_array_estimator", "check_classifier_data_not_an_array",
    "check_classifiers_one_label", "check_classifiers_one_label_sample_weights",
    "check_classifiers_classes", "check_classifiers_train", "check_supervised_y_2d",
    "check_decision_proba_consistency", "check_methods_sample_order_invariance",
    "check_methods_subset_invariance", "check_fit2d_1sample", "check_fit2d_1feature",
    "check_dict_unchanged", "check_fit_idempotent", "check_fit_check_is_fitted",
    "check_n_features_in", "check_fit2d_predict1d",
})  # fmt: skip
"""The checks that hand a table to ``fit``, which a model of images refuses. The others look at
parameters, tags, cloning, unfitted models and refusals."""


def sklearn_checks(
    spec: ModelSpec, params: Mapping[str, Any], left_out: frozenset[str] = frozenset()
) -> Iterator[tuple[str, Any]]:
    """Name of a check, and a function that runs it, for a model with these hyper-parameters.

    Raises:
        UnavailableError: scikit-learn is not installed.
    """
    try:
        checks = importlib.import_module("sklearn.utils.estimator_checks")
    except ImportError:
        raise UnavailableError(
            "scikit-learn, whose checks these are, is not installed: "
            'pip install "flagstone[sklearn]"'
        ) from None
    with warnings.catch_warnings():  # no model derives from BaseEstimator: sklearn is an extra
        warnings.filterwarnings("ignore", "Estimator .* does not inherit from", UserWarning)
        pairs = list(checks.estimator_checks_generator(spec.load()(**params)))
    for estimator, check in pairs:
        name = check.func.__name__
        if name not in left_out:
            yield name, lambda e=estimator, c=check: c(e)


def failing_checks(spec: ModelSpec, params: Mapping[str, Any]) -> dict[str, str]:
    """Check -> what is wrong: it fails, or it passes although the spec declares that it fails.

    Models of images run the checks that can hand them images.
    """
    import unittest

    of_images = spec.load().takes_images_only
    left_out = FEEDS_A_TABLE if of_images else frozenset()
    declared = spec.expected_failed_checks
    failures: dict[str, str] = {}
    passed: set[str] = set()
    if of_images and "epochs" in spec.load().hyperparameters():
        params = {"epochs": 1, **params}
    for name, run in sklearn_checks(spec, params, left_out):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                run()
            except unittest.SkipTest:
                continue
            except Exception as error:  # noqa: BLE001 - each check words its failure its own way
                if name not in declared:
                    failures[name] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            else:
                passed.add(name)
    for name in sorted(declared.keys() & passed - failures.keys()):
        failures[name] = "declared in expected_failed_checks, but it passes"
    return failures
