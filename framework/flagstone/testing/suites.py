"""Which suite checks what: by kind, or the one that a spec names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from flagstone.backend import Backend
from flagstone.errors import PluginError
from flagstone.plugins import Spec, registry
from flagstone.plugins.targets import a_type, load_target
from flagstone.testing.augmentation_suite import AugmentationSuite
from flagstone.testing.backend_suite import BackendSuite
from flagstone.testing.callback_suite import CallbackSuite, new_run
from flagstone.testing.dataset_suite import DatasetSuite
from flagstone.testing.kernel_suite import KernelSuite, kernel_spec
from flagstone.testing.layer_suite import LayerSuite
from flagstone.testing.loss_suite import LossSuite
from flagstone.testing.model_suite import ModelSuite
from flagstone.testing.optimizer_suite import OptimizerSuite
from flagstone.testing.schedule_suite import ScheduleSuite
from flagstone.testing.suite import Suite

SUITES: Mapping[str, type[Suite]] = {
    suite.kind: suite
    for suite in (
        ModelSuite,
        LayerSuite,
        LossSuite,
        OptimizerSuite,
        ScheduleSuite,
        AugmentationSuite,
        DatasetSuite,
        BackendSuite,
        KernelSuite,
        CallbackSuite,
    )
}
"""Kind -> its suite."""


def suite_of(spec: Spec, **attributes: Any) -> type[Suite]:
    """The suite that checks what ``spec`` describes, ready for :func:`run_suite`.

    Args:
        spec: from the registry.
        attributes: what to set on it, such as ``device="cuda"``.

    Raises:
        PluginError: the suite that the spec names cannot be imported, or is none for its kind.
    """
    base = SUITES[spec.kind]
    if spec.suite:
        base = load_target(spec, spec.suite)
        if not (isinstance(base, type) and issubclass(base, SUITES[spec.kind])):
            got = base.__name__ if isinstance(base, type) else a_type(base)
            raise PluginError(
                f"{spec}: suite {spec.suite!r}: expected a subclass of flagstone.testing."
                f"{SUITES[spec.kind].__name__}; got {got}"
            )
    words = re.split(r"[^a-zA-Z0-9]+", spec.name)
    name = "Test" + "".join(word[:1].upper() + word[1:] for word in words)
    return type(name, (base,), {"name": spec.name, "__module__": base.__module__, **attributes})


def suites(kind: str, **attributes: Any) -> dict[str, type[Suite]]:
    """A suite for everything of a kind that is registered, by the names of their classes.

    For a test module: ``globals().update(suites("layer"))``.
    """
    found = [suite_of(spec, **attributes) for spec in registry.specs(kind)]
    return {suite.__name__: suite for suite in found}


def checkable(kind: str, backend: Backend) -> dict[str, Spec]:
    """Name -> spec of everything of a kind that can be checked.

    Args:
        kind: a key of :data:`SUITES`.
        backend: whose kernels are meant.
    """
    if kind == "kernel":
        return {name: kernel_spec(name, backend) for name in backend.kernels}
    if kind == "callback":
        with new_run() as run:
            return {spec.name: spec for spec in registry.callback_specs(run)}
    return {spec.name: spec for spec in registry.specs(kind)}
