"""Mistakes planted in optimizers, losses, schedules, datasets, kernels and callbacks."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

OPTIMIZER = """
class Planted(fs.optim.Optimizer):
    def __init__(self, layer, lr=0.01, **options):
        super().__init__(layer, lr, **options)
        self.velocity = self.{state}
        self.calls = 0

    def update(self, p, g, lr, scale):
        self.calls += 1
        {line}
        rates = 1.0 if self.rates is None else self.rates
        decays = self.weight_decay if self.decays is None else self.decays
        {then}
        ops.assign(self.velocity, self.velocity * 0.9 + g * scale + p * decays)
        ops.assign(p, p - self.velocity * lr * rates)

@hookimpl
def flagstone_optimizers():
    yield OptimizerSpec("planted", "planted_plugin:Planted")
"""
LOSS = """
def planted(x, target, *, sample_weight=None, reduction="mean"):
    losses.reduction.alike("planted", x=x, target=target)
    each = losses.reduction.per_example("planted", (x - target) * (x - target))
    {line}
    return losses.reduction.reduce("planted", each, sample_weight, reduction)

class Planted(losses.Loss):
    function = planted

@hookimpl
def flagstone_losses():
    yield LossSpec("planted", "planted_plugin:Planted")
"""
SCHEDULE = """
class Planted(fs.schedules.Schedule):
    def __init__(self, gamma: float = 0.9):
        {check}
        super().__init__()
        self.gamma, self.calls, self.best = gamma, 0, 1.0

    def after_warmup(self, step, steps, steps_per_epoch):
        self.calls += 1
        return {factor}

    def observe(self, loss, epoch):
        self.best = min(self.best, loss)

@hookimpl
def flagstone_schedules():
    yield ScheduleSpec("planted", "planted_plugin:Planted")
"""
CHECKED = """if not (isinstance(gamma, (int, float)) and gamma > 0):
            raise fs.errors.ConfigurationError(f"schedule: gamma expected > 0; got {gamma!r}")"""
DATASET = """
SHARED = np.arange(60.0).reshape(20, 3)

def planted():
    X, y = np.arange(60.0).reshape(20, 3), np.arange(20) % 2
    {line}
    return fs.data.Dataset("planted", "classification", X, y)

@hookimpl
def flagstone_datasets():
    yield DatasetSpec("planted", "planted_plugin:planted", task="classification")
"""
KERNEL = """
def expm1(x):
    {line}

@hookimpl
def flagstone_kernels(backend):
    if backend.name == "numpy":
        yield KernelSpec("expm1", "planted_plugin:expm1")
"""
CALLBACK = """
class Planted(fs.Callback):
    def __init__(self, run):
        self.seen = []

    def on_epoch_end(self, trainer, epoch, metrics):
        self.seen.append(metrics["train"]["loss"])
        {line}
{methods}

@hookimpl
def flagstone_callbacks(run):
    yield CallbackSpec("planted", "planted_plugin:Planted")
"""


def optimizer(state: str = "state('velocity')", line: str = "pass", then: str = "pass") -> str:
    return OPTIMIZER.format(state=state, line=line, then=then)


def schedule(factor: str = "self.gamma ** step", checked: str = CHECKED) -> str:
    return SCHEDULE.format(factor=factor, check=checked)


def callback(line: str = "pass", methods: str = "") -> str:
    return CALLBACK.format(line=line, methods=methods)


SORTED_SET = """names = {f"file-{i}" for i in range(20)}
    X = np.array([[float(name[5:]), 1.0, 2.0] for name in names])"""

MISTAKES: dict[str, tuple[str, str, str, str]] = {
    "an optimizer whose state is not saved": (
        optimizer(state="scratch()"), "planted",
        "save_and_resume", "after 4 steps, a restored state and 3 more",
    ),
    "an optimizer that counts in Python": (
        optimizer(line="lr = lr * (1.0 / self.calls)"), "planted",
        "save_and_resume", "after 4 steps, a restored state and 3 more",
    ),
    "an optimizer that reads the gradient": (
        optimizer(line="if float(ops.norm(g)) > 1e9: return"), "planted",
        "capture_safe", r"host reads no value.*planted_plugin\.py, line \d+: if float",
    ),
    "an optimizer that ignores the scale": (
        optimizer(line="scale = scale * 0.0 + 1.0"), "planted",
        "rate_and_scale", r"after step\(lr=0\.01, scale=0\.25\) with gradients times 4: expected",
    ),
    "an optimizer that says it leaves steps out": (
        optimizer().replace("    def __init__", "    leaves_out = True\n\n    def __init__", 1),
        "planted", "left_out", "after a step of scale NaN",
    ),
    "an optimizer that ignores groups' rates": (
        optimizer(then="rates = 1.0"), "planted", "groups", "at lr_scale 0",
    ),
    "an optimizer that ignores groups' decays": (
        optimizer(then="decays = 0.0"), "planted", "groups", "without. Use self.decays",
    ),
    "an optimizer that goes up": (
        optimizer(line="g = -g"), "planted", "descends", "expected a loss below",
    ),
    "an optimizer in float64": (
        optimizer(line="g = g.astype('float64').astype(p.dtype_name)"), "planted",
        "dtypes", "expected float32 throughout; got float64",
    ),
    "a loss that ignores sample weights": (
        LOSS.format(line="sample_weight = None"), "planted",
        "sample_weight", "sample_weight, reduction 'none': expected",
    ),
    "a loss that ignores the reduction": (
        LOSS.format(line="reduction = 'mean'"), "planted",
        "reductions", r"expected one loss per example, shape \(6,\); got shape \(\)",
    ),
    "a loss over the batch": (
        LOSS.format(line="each = each - ops.mean(each)"), "planted",
        "independence", "example 0 alone",
    ),
    "a loss with a wrong gradient": (
        LOSS.format(line="each = each + ops.mean(x.detach() * target, axis=1) if x.ndim == 2 "
        "else each"), "planted",
        "gradients", "gradient with respect to argument 0",
    ),
    "a loss that reads a value": (
        LOSS.format(line="each = each if ops.min(each) else each"), "planted",
        "capture_safe", "host reads no value",
    ),
    "a schedule that counts its calls": (
        schedule("self.gamma ** self.calls"), "planted", "purity", "step 0: expected 0.9",
    ),
    "a schedule that forgets what it heard": (
        schedule("self.gamma ** step * self.best"), "planted",
        "save_and_resume", "stopped after epoch 1: expected the factors",
    ),
    "a schedule that rises without end": (
        schedule("float('inf') if step > 40 else 1.0"), "planted",
        "factors", "step 41 of 60: expected a finite factor",
    ),
    "a schedule that takes anything": (
        schedule(checked="pass"), "planted",
        "error_messages", r"gamma=object\(\): expected ConfigurationError|FlagstoneError; nothing",
    ),
    "a dataset in a random order": (
        DATASET.format(line="X = X[np.random.default_rng().permutation(20)]"), "planted",
        "determinism", "X of a second load",
    ),
    "a dataset that draws from numpy.random": (
        DATASET.format(line="X = X + np.random.standard_normal(X.shape)"), "planted",
        "determinism", r"global generator of numpy\.random",
    ),
    "a dataset in the order of a set": (
        DATASET.format(line=SORTED_SET), "planted",
        "other_processes", "expected the same rows in a process with PYTHONHASHSEED",
    ),
    "a dataset that hands out its own array": (
        DATASET.format(line="X = SHARED"), "planted",
        "ownership", "got what was written into the first's",
    ),
    "a dataset of one class": (
        DATASET.format(line="y = y * 0"), "planted", "contract", "at least two classes; got one",
    ),
    "a kernel that wants contiguous arrays": (
        KERNEL.format(line="return np.expm1(np.frombuffer(x.tobytes('A'), x.dtype))"
        ".reshape(x.shape)"), "expm1",
        "layouts", r"expm1 on numpy, float32, given \(float32\[",
    ),
    "a kernel that fails for empty arrays": (
        KERNEL.format(line="return np.expm1(x) + 0 * x.min()"), "expm1",
        "empty", "zero-size array",
    ),
    "a kernel that is a little wrong": (
        KERNEL.format(line="return np.expm1(x) * 1.0001"), "expm1",
        "values", "expm1 on numpy, float",
    ),
    "a kernel that widens": (
        KERNEL.format(line="return np.expm1(x.astype('float64'))"), "expm1",
        "values", "expected float32 of shape .*; got float64",
    ),
    "a kernel that writes to its argument": (
        KERNEL.format(line="return np.expm1(x, out=x)"), "expm1",
        "values", "input 0 was changed",
    ),
    "a kernel with other arguments": (
        KERNEL.replace("expm1(x)", "expm1(x, y)").format(line="return np.expm1(x)"), "expm1",
        "registered", r"expected the op's arguments \(x\); got \(x, y\)",
    ),
    "a callback with a misspelt event": (
        callback(methods="\n    def on_epoch_ends(self, *_):\n        pass"), "planted",
        "contract", "got on_epoch_ends, which nobody calls; did you mean on_epoch_end",
    ),
    "a callback that changes the parameters": (
        callback("p = trainer.layer.parameters()[0]; p.array[...] = p.array * 0.5"), "planted",
        "looks_on", "after training with it",
    ),
    "a callback that prints": (
        callback("print(epoch)"), "planted", "quiet", "expected nothing on standard output",
    ),
    "a callback that ends at Ctrl-C": (
        callback(methods="\n    def on_interrupt(self, trainer):\n        self.gone.close()"),
        "planted", "interrupt", "AttributeError: 'Planted' object has no attribute 'gone'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named(check: Callable[..., Any], mistake: str) -> None:
    source, name, point, words = MISTAKES[mistake]
    found = check(source, name)
    assert found.code == 1
    reason = found.of("failed")[point]
    assert reason.startswith(f"{found.thing['kind']} {name!r}, {point}: ")
    assert re.search(words, reason), reason


def test_a_slow_kernel_is_a_warning(check: Callable[..., Any]) -> None:
    slow = "return np.array([np.expm1(v) for v in x.ravel()], x.dtype).reshape(x.shape)"
    found = check(KERNEL.format(line=slow), "expm1")
    assert (found.code, found.of("failed")) == (0, {})
    told = r"faster than the generic form; got .* times as long \(arrays of "
    assert re.search(told, found.of("warned")["speed"])


GOOD = {
    "optimizer": optimizer(),
    "loss": LOSS.format(line="pass"),
    "schedule": schedule(),
    "dataset": DATASET.format(line="pass"),
    "callback": callback(),
}


@pytest.mark.parametrize("kind", GOOD)
def test_without_mistakes_all_points_pass(check: Callable[..., Any], kind: str) -> None:
    found = check(GOOD[kind], "planted")
    assert (found.code, found.of("failed"), found.of("skipped")) == (0, {}, {})
    assert found.thing["kind"] == kind
    assert found.thing["provider"]["name"] == "planted_plugin"


def test_a_kernel_without_mistakes_passes(check: Callable[..., Any]) -> None:
    found = check(KERNEL.format(line="return np.expm1(x)"), "expm1")
    assert (found.code, found.of("failed")) == (0, {})
