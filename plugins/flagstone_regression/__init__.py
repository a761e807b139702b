"""Regression models: ``linear`` and ``mlp-regressor``."""

from collections.abc import Iterator

from flagstone.plugins import ModelSpec, hookimpl

MINI_BATCHES = (
    "mini-batches are cut by row number, so a row of weight 2 and a row given twice fall into "
    "different batches"
)


@hookimpl
def flagstone_models() -> Iterator[ModelSpec]:
    yield ModelSpec(
        "linear",
        "flagstone_regression.linear:LinearRegression",
        task="regression",
        summary="linear regression, one target or several: normal equations, L-BFGS, descent",
    )
    yield ModelSpec(
        "mlp-regressor",
        "flagstone_regression.mlp:MLPRegressor",
        task="regression",
        summary="a multi-layer perceptron for numbers",
        expected_failed_checks={"check_sample_weight_equivalence_on_dense_data": MINI_BATCHES},
    )
