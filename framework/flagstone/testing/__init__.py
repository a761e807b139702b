"""Checks for whoever writes a plugin: ``fs.testing``.

For every kind there is a suite, a class that a plugin's tests derive from and that
``flagstone check NAME`` runs by itself::

    class TestGated(LayerSuite):
        name = "gated"

A backend is right when every op gives the table's values on it::

    from flagstone.testing import OP_TABLE, check_op

    @pytest.mark.parametrize("row", OP_TABLE.values(), ids=str)
    def test_op(row):
        check_op(row, open_backend("mine"))

An op is described by a row and checked the same way; :func:`gradcheck` compares any function's
gradients with central differences. Nothing here needs pytest.
"""

from flagstone.testing.augmentation_suite import AugmentationSuite
from flagstone.testing.backend_suite import BackendSuite
from flagstone.testing.callback_suite import CallbackSuite
from flagstone.testing.command_line import CommandResult, run_command
from flagstone.testing.dataset_suite import DatasetSuite
from flagstone.testing.gradcheck import gradcheck
from flagstone.testing.isolation import isolated_plugins
from flagstone.testing.kernel_suite import KernelSuite
from flagstone.testing.layer_samples import LayerSample
from flagstone.testing.layer_suite import LayerSuite
from flagstone.testing.loss_samples import LossSample
from flagstone.testing.loss_suite import LossSuite
from flagstone.testing.model_suite import ModelSuite
from flagstone.testing.op_checks import (
    check_gradients,
    check_layouts,
    check_op,
    check_refusals,
    check_values,
)
from flagstone.testing.op_row import Draw, OpRow, Raw, Refusal, Sample
from flagstone.testing.op_table import OP_TABLE, missing_rows
from flagstone.testing.optimizer_suite import OptimizerSuite
from flagstone.testing.schedule_suite import ScheduleSuite
from flagstone.testing.suite import CheckWarning, Outcome, Skipped, Suite, run_suite, skip
from flagstone.testing.suites import SUITES, checkable, suite_of, suites

__all__ = [
    "OP_TABLE",
    "SUITES",
    "AugmentationSuite",
    "BackendSuite",
    "CallbackSuite",
    "CheckWarning",
    "CommandResult",
    "DatasetSuite",
    "Draw",
    "KernelSuite",
    "LayerSample",
    "LayerSuite",
    "LossSample",
    "LossSuite",
    "ModelSuite",
    "OpRow",
    "OptimizerSuite",
    "Outcome",
    "Raw",
    "Refusal",
    "Sample",
    "ScheduleSuite",
    "Skipped",
    "Suite",
    "check_gradients",
    "check_layouts",
    "check_op",
    "check_refusals",
    "check_values",
    "checkable",
    "gradcheck",
    "isolated_plugins",
    "missing_rows",
    "run_command",
    "run_suite",
    "skip",
    "suite_of",
    "suites",
]
