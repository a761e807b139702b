"""scikit-learn's own checks, over every model that is registered.

A model declares in its ``ModelSpec`` which checks it cannot pass, and why; one that passes all the
same fails here (strict), so that the declarations stay true. Models of images run those checks that
can hand them images: see :data:`FEEDS_A_TABLE`.
"""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from flagstone.plugins import registry

pytest.importorskip("sklearn", reason="scikit-learn, whose checks these are, is not installed")

import sklearn
from sklearn.utils.estimator_checks import estimator_checks_generator

SPECS = {spec.name: spec for spec in registry.specs("model")}
TABLES = [name for name, spec in SPECS.items() if not spec.load().takes_images_only]
IMAGES = [name for name in SPECS if name not in TABLES]


def checks(name: str, **params: Any) -> list[tuple[str, Any]]:
    """Name and (estimator, check) of all checks, marked as failing where the model declares it."""
    spec = SPECS[name]
    with warnings.catch_warnings():  # no model derives from BaseEstimator: sklearn is an extra
        warnings.filterwarnings("ignore", "Estimator .* does not inherit from", UserWarning)
        generated = list(
            estimator_checks_generator(
                spec.load()(**params),
                expected_failed_checks=dict(spec.expected_failed_checks),
                mark="xfail",
            )
        )
    out = []
    for case in generated:
        estimator, check, marks = (*getattr(case, "values", case), getattr(case, "marks", ()))
        check_name = check.func.__name__
        out.append(
            (check_name, pytest.param(estimator, check, id=f"{name}-{check_name}", marks=marks))
        )
    return out


@pytest.mark.parametrize(
    ("estimator", "check"), [case for name in TABLES for _, case in checks(name)]
)
def test_models_of_tables(estimator: Any, check: Any) -> None:
    check(estimator)


# The checks that hand a table to fit, which a model of images refuses with one line (ShapeError).
# None of the others does: they look at parameters, tags, cloning, unfitted models and refusals.
FEEDS_A_TABLE = {
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
}  # fmt: skip


@pytest.mark.parametrize(
    ("estimator", "check"),
    [
        case
        for name in IMAGES
        for check, case in checks(name, epochs=1)
        if check not in FEEDS_A_TABLE
    ],
)
def test_models_of_images(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize("name", IMAGES)
def test_what_is_left_out_for_images_feeds_them_a_table(name: str) -> None:
    """So that the list above stays true: each of these fails, and enough of them are left in."""
    cases = checks(name, epochs=1)
    if sklearn.__version__.startswith("1.9."):  # the list is that version's; others have fewer
        assert {check for check, _ in cases} >= FEEDS_A_TABLE
    assert len({check for check, _ in cases} - FEEDS_A_TABLE) >= 20
    for check, case in cases:
        if check in FEEDS_A_TABLE:
            estimator, run = case.values
            with pytest.raises(Exception):  # noqa: B017, PT011  # each check words it its own way
                run(estimator)


def test_each_model_declares_at_most_the_one_failure() -> None:
    allowed = {"check_sample_weight_equivalence_on_dense_data"}
    for spec in SPECS.values():
        assert set(spec.expected_failed_checks) <= allowed
        assert all(len(reason) > 20 for reason in spec.expected_failed_checks.values())
