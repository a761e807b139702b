"""What a plugin hands over: small frozen specs whose targets are imported when first used."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from flagstone.errors import FlagstoneError, PluginError
from flagstone.plugins.guests import quiet_output
from flagstone.plugins.targets import a_type, explain, is_importable, load_target, needs

SUPPORTED_APIS = (1,)
_OF_A_MODEL = ("hyperparameters", "fit", "predict")  # what the command line calls
_OF_A_TRANSFORMER = ("hyperparameters", "fit", "transform")
WITH_TARGETS = ("classification", "regression")  # tasks, of datasets too
WITHOUT_TARGETS = ("clustering", "transform")  # of models that learn from X alone
TASKS = WITH_TARGETS + WITHOUT_TARGETS

_NAME = re.compile(r"[a-z][a-z0-9_-]*")
_DEVICE = re.compile(rf"{_NAME.pattern}(:{_NAME.pattern})*")
_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclass(frozen=True)
class Provider:
    """Where a plugin comes from.

    Attributes:
        name: the name of its entry point, or the name that it was registered under.
        module: what the entry point names: ``"module"`` or ``"module:object"``.
        distribution, version: of the installed project; empty for a plugin registered in-process.
        location: the folder that the project is installed in.
    """

    name: str
    module: str
    distribution: str = ""
    version: str = ""
    location: str = ""

    def __str__(self) -> str:
        source = f"{self.distribution} {self.version}".strip() or "registered in this process"
        return f"plugin {self.name!r} ({source}, {self.module})"


@dataclass(frozen=True)
class Probe:
    """Whether a backend works on this machine.

    Attributes:
        ok: whether it does.
        reason: where it does not, what is missing and what to install.
        detail: what is there, for people: ``"NumPy 2.4, OpenBLAS, 2 threads"``.
    """

    ok: bool
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Spec:
    """What every spec says.

    Attributes:
        name: what users type: lowercase letters, digits, ``-`` and ``_``, a letter first.
        target: ``"module:attribute"``, imported when the thing is first used.
        summary: one line for lists.
        requires: names of modules that must be importable, such as ``("sklearn",)``.
        api: the version of this interface that the plugin is written for.
        suite: ``"module:attribute"`` of the subclass of one of ``flagstone.testing``'s suites that
            ``flagstone check`` runs; empty: the suite of the kind as it is.
        provider: where it comes from; the registry fills it in.
    """

    kind: ClassVar[str] = "part"
    hook: ClassVar[str] = ""

    name: str
    target: str
    summary: str = ""
    requires: tuple[str, ...] = ()
    api: int = 1
    suite: str = field(default="", kw_only=True)
    provider: Provider | None = field(default=None, kw_only=True, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}" + (f" of {self.provider}" if self.provider else "")

    @property
    def claims(self) -> tuple[str, ...]:
        """The names that no other spec of this kind may have."""
        return (self.name,)

    def problems(self) -> Iterator[str]:
        """What is wrong with the spec itself, in words; nothing is imported."""
        if self.api not in SUPPORTED_APIS:
            known = " or ".join(str(api) for api in SUPPORTED_APIS)
            yield (
                f"it is written for plugin api {self.api!r}, this flagstone takes api {known}: "
                f"upgrade flagstone, or install a release of the plugin for api {known}"
            )
            return
        yield from _name_problems("name", self.name)
        if not (isinstance(self.target, str) and _TARGET.fullmatch(self.target)):
            yield f"target: expected 'module:attribute'; got {self.target!r}"
        if not isinstance(self.summary, str):
            yield f"summary: expected a string; got {self.summary!r}"
        if not _is_strings(self.requires):
            yield f"requires: expected a tuple of module names; got {self.requires!r}"
        if self.suite != "" and not (isinstance(self.suite, str) and _TARGET.fullmatch(self.suite)):
            yield f"suite: expected 'module:attribute' or ''; got {self.suite!r}"

    def load(self) -> Any:
        """The object that ``target`` names.

        Raises:
            UnavailableError: a module that it needs is not installed; says what to install.
            PluginError: importing it failed, or the module has no such attribute.
        """
        return load_target(self, self.target, self.requires)


@dataclass(frozen=True)
class BackendSpec(Spec):
    """A backend. ``target`` is a function ``open(device_index: int | None) -> Backend``.

    Attributes:
        devices: the device prefixes that it serves, such as ``("cpu",)`` or ``("torch:cuda",)``.
        probe: ``"module:function"``, cheap, returning a :class:`Probe`; empty: it always works.
        priority: among backends that work, ``auto`` takes the highest.
    """

    kind: ClassVar[str] = "backend"
    hook: ClassVar[str] = "flagstone_backends"

    devices: tuple[str, ...] = field(default=(), kw_only=True)
    probe: str = field(default="", kw_only=True)
    priority: int = field(default=0, kw_only=True)

    @property
    def claims(self) -> tuple[str, ...]:
        """Its name and its device prefixes: both are what ``--device`` takes."""
        return (self.name, *(device for device in self.devices if device != self.name))

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if not (_is_strings(self.devices) and self.devices):
            yield f"devices: expected a tuple of device prefixes; got {self.devices!r}"
        else:
            for device in self.devices:
                if not _DEVICE.fullmatch(device):
                    yield f"devices: expected names as in 'cuda' or 'torch:cuda'; got {device!r}"
            if "auto" in self.claims:
                yield "'auto' is reserved: it means the first backend that works"
        if self.probe != "" and not (isinstance(self.probe, str) and _TARGET.fullmatch(self.probe)):
            yield f"probe: expected 'module:function' or ''; got {self.probe!r}"
        if not isinstance(self.priority, int):
            yield f"priority: expected an integer; got {self.priority!r}"

    def run_probe(self) -> Probe:
        """Whether the backend works here. A probe that breaks is a reason that it does not."""
        missing = next((name for name in self.requires if not is_importable(name)), None)
        if missing is not None:
            return Probe(False, f"{self} {needs(missing)}")
        if not self.probe:
            return Probe(True)
        try:
            function = load_target(self, self.probe)
            with quiet_output():
                probe = function()
        except FlagstoneError as error:
            return Probe(False, str(error))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a stranger's code, any failure
            return Probe(False, f"{self}: its probe failed: {explain(error)}")
        if not isinstance(probe, Probe):
            got = type(probe).__name__
            return Probe(False, f"{self}: its probe must return a Probe; it returned {got}")
        return probe


@dataclass(frozen=True)
class ModelSpec(Spec):
    """A model. ``target`` is a subclass of ``flagstone.Classifier`` or ``flagstone.Regressor``, or,
    without targets, of ``flagstone.estimator.Unsupervised``.

    Attributes:
        task: ``"classification"`` or ``"regression"``; or, of a model that learns from X alone,
            ``"clustering"`` (it predicts a number for each row) or ``"transform"`` (it transforms).
        expected_failed_checks: scikit-learn check -> why the model cannot pass it.
    """

    kind: ClassVar[str] = "model"
    hook: ClassVar[str] = "flagstone_models"

    task: str = field(kw_only=True)
    expected_failed_checks: Mapping[str, str] = field(
        default_factory=dict, kw_only=True, hash=False
    )

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        yield from _task_problems(self.task)
        if not isinstance(self.expected_failed_checks, Mapping):
            yield (
                "expected_failed_checks: expected a mapping from check to reason; "
                f"got {self.expected_failed_checks!r}"
            )

    def load(self) -> Any:
        """The model's class.

        Raises:
            UnavailableError, PluginError: as for any spec.
            PluginError: the target is no class of models.
        """
        model = super().load()
        needed = _OF_A_TRANSFORMER if self.task == "transform" else _OF_A_MODEL
        lacking = [name for name in needed if not callable(getattr(model, name, None))]
        if not isinstance(model, type) or lacking:
            got = (
                f"a class without {' and '.join(lacking)}"
                if isinstance(model, type)
                else a_type(model)
            )
            raise PluginError(
                f"{self}: target {self.target!r}: expected a subclass of flagstone.Classifier or "
                f"flagstone.Regressor; got {got}"
            )
        return model


@dataclass(frozen=True)
class DatasetSpec(Spec):
    """A dataset. ``target`` is a function without arguments returning a ``Dataset``.

    Attributes:
        task: ``"classification"`` or ``"regression"``.
    """

    kind: ClassVar[str] = "dataset"
    hook: ClassVar[str] = "flagstone_datasets"

    task: str = field(kw_only=True)

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        yield from _task_problems(self.task, WITH_TARGETS)


@dataclass(frozen=True)
class LayerSpec(Spec):
    """A layer. ``target`` is a subclass of ``flagstone.nn.Layer``."""

    kind: ClassVar[str] = "layer"
    hook: ClassVar[str] = "flagstone_layers"


@dataclass(frozen=True)
class LossSpec(Spec):
    """A loss. ``target`` is the loss."""

    kind: ClassVar[str] = "loss"
    hook: ClassVar[str] = "flagstone_losses"


@dataclass(frozen=True)
class MetricSpec(Spec):
    """A metric. ``target`` is the metric."""

    kind: ClassVar[str] = "metric"
    hook: ClassVar[str] = "flagstone_metrics"


@dataclass(frozen=True)
class OptimizerSpec(Spec):
    """An optimizer. ``target`` is its class."""

    kind: ClassVar[str] = "optimizer"
    hook: ClassVar[str] = "flagstone_optimizers"


@dataclass(frozen=True)
class ScheduleSpec(Spec):
    """A schedule of the learning rate. ``target`` is the schedule."""

    kind: ClassVar[str] = "schedule"
    hook: ClassVar[str] = "flagstone_schedules"


@dataclass(frozen=True)
class AugmentationSpec(Spec):
    """An augmentation. ``target`` is a subclass of ``flagstone.augment.Augmentation``."""

    kind: ClassVar[str] = "augmentation"
    hook: ClassVar[str] = "flagstone_augmentations"


@dataclass(frozen=True)
class EngineSpec(Spec):
    """An engine, which says where and how a run's steps are executed. ``target`` is its class."""

    kind: ClassVar[str] = "engine"
    hook: ClassVar[str] = "flagstone_engines"


@dataclass(frozen=True)
class KernelSpec(Spec):
    """A kernel for a backend. ``name`` is the op's name, ``target`` a function of its arguments.

    Attributes:
        overrides: it is meant to replace the kernel that the backend has for this op.
    """

    kind: ClassVar[str] = "kernel"
    hook: ClassVar[str] = "flagstone_kernels"

    overrides: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class CallbackSpec(Spec):
    """A callback of a run. ``target`` takes the run and returns the callback."""

    kind: ClassVar[str] = "callback"
    hook: ClassVar[str] = "flagstone_callbacks"


KINDS: Mapping[str, type[Spec]] = {
    spec.kind: spec
    for spec in (
        BackendSpec,
        ModelSpec,
        LayerSpec,
        LossSpec,
        MetricSpec,
        OptimizerSpec,
        ScheduleSpec,
        AugmentationSpec,
        DatasetSpec,
        EngineSpec,
    )
}


def _is_strings(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(item, str) and item for item in value)


def _name_problems(field_name: str, value: object) -> Iterator[str]:
    if not (isinstance(value, str) and _NAME.fullmatch(value)):
        yield (
            f"{field_name}: expected lowercase letters, digits, '-' and '_', a letter first; "
            f"got {value!r}"
        )


def _task_problems(task: object, known: tuple[str, ...] = TASKS) -> Iterator[str]:
    if task not in known:
        yield f"task: expected {' or '.join(map(repr, known))}; got {task!r}"
