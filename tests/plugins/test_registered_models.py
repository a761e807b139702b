"""Every registered model, by the suite that a stranger's uses."""

from __future__ import annotations

import pytest

from flagstone.errors import FlagstoneError
from flagstone.plugins import registry
from flagstone.testing import ModelSuite, suites
from flagstone.testing.sklearn_checks import FEEDS_A_TABLE, sklearn_checks

SPECS = {spec.name: spec for spec in registry.specs("model")}
IMAGES = [name for name, spec in SPECS.items() if spec.load().takes_images_only]

globals().update(suites("model"))


class TestLinearInSteps(ModelSuite):
    """Of itself it takes the normal equations, which are not a training in steps."""

    name = "linear"
    target = SPECS["linear"].load()
    params = {"solver": "lbfgs", "epochs": 3}  # noqa: RUF012


@pytest.mark.parametrize("name", IMAGES[:1])
def test_what_is_left_out_for_images_feeds_them_a_table(name: str) -> None:
    """So that the list stays true: each of these fails, and enough of them are left in."""
    sklearn = pytest.importorskip("sklearn", reason="scikit-learn's checks are not installed")
    checks = list(sklearn_checks(SPECS[name], {"epochs": 1}))
    names = {check for check, _ in checks}
    if sklearn.__version__.startswith("1.9."):  # the list is that version's; others have fewer
        assert names >= FEEDS_A_TABLE
    assert len(names - FEEDS_A_TABLE) >= 20
    for check, run in checks:
        if check in FEEDS_A_TABLE:
            with pytest.raises((FlagstoneError, AssertionError, ValueError)):
                run()


def test_each_model_declares_at_most_the_one_failure() -> None:
    allowed = {"check_sample_weight_equivalence_on_dense_data"}
    for spec in SPECS.values():
        assert set(spec.expected_failed_checks) <= allowed
        assert all(len(reason) > 20 for reason in spec.expected_failed_checks.values())
