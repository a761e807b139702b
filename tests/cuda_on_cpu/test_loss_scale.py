"""A step whose gradients overflowed is left out on the simulated card, without copies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn
from flagstone.backend import Backend, open_backend
from flagstone.named import make
from flagstone.optim import EMA
from flagstone.plugins import registry
from flagstone_cupy import launch
from flagstone_cupy.kernels import update
from flagstone_cupy.signature import local_sources

X = np.random.default_rng(0).standard_normal((4, 24)).astype("f4")
OPTIMIZERS = [
    *[spec.name for spec in registry.specs("optimizer") if spec.name != "lbfgs"],
    "sgd(momentum=0.9, dampening=0.1)", "adamw(clip_norm=0.5)", "adam(clip_value=0.1)",
    "lookahead(base='adam', k=2)", "lookahead(k=2, schedule='cosine')", "ema",
]  # fmt: skip


def made(text: str, device: Any) -> tuple[Any, Any]:
    layer = nn.Linear(24, 70).initialize(1, device=device)  # two blocks of an update
    optimizer: Any = make("optimizer", "adam" if text == "ema" else text, layer, 0.05)
    optimizer = EMA(optimizer, decay=0.5) if text == "ema" else optimizer
    optimizer.start_epoch(0, 1, 8)
    optimizer.loss_scale.scale.array[...] = 256.0
    return layer, optimizer


def stepper(layer: Any, optimizer: Any) -> Any:
    def step(x: Any, factor: Any) -> None:
        optimizer.zero_grad()
        optimizer.backward(((layer(x) - 1.0) ** 2).sum() * factor)
        optimizer.step()

    return step


def values(layer: Any, optimizer: Any) -> dict[str, bytes]:
    arrays = {**layer.state_dict(), **optimizer.state_dict()}
    kept = {name: a for name, a in arrays.items() if "loss_scale" not in name}
    return {name: np.asarray(a).tobytes() for name, a in kept.items()}


@pytest.mark.parametrize("text", OPTIMIZERS)
def test_nothing_changes_and_nothing_is_copied(text: str, simulated: Backend, card: Any) -> None:
    there = open_backend("simulated", "mixed-fp16")
    layer, optimizer = made(text, there)
    x = fs.tensor(X, device=there)
    fine, broken = (fs.tensor(np.asarray(f, "f4"), device=there) for f in (1.0, np.inf))
    step = stepper(layer, optimizer)
    with np.errstate(all="ignore"):
        step(x, fine)
        before = values(layer, optimizer)
        with launch.recording() as launches:
            step(x, broken)
        assert values(layer, optimizer) == before
        assert optimizer.loss_scale.scale.item() == 128.0
        assert not [m for m in launches if m.kernel.name == "undo"]
        step(x, fine)
    after = values(layer, optimizer)
    assert all(after[name] != before[name] for name in layer.state_dict())


def test_a_captured_step_is_left_out_too(simulated: Backend, card: Any) -> None:
    there = open_backend("simulated", "mixed-fp16")
    layer, optimizer = made("adam", there)
    x = fs.tensor(X, device=there)
    step: Any = fs.capture(stepper(layer, optimizer), device=there, strict=True)
    with np.errstate(all="ignore"):
        for i in range(8):
            before = values(layer, optimizer)
            factor = fs.tensor(np.asarray(np.inf if i in (1, 5, 6) else 1.0, "f4"), device=there)
            step(x, factor)
            assert (values(layer, optimizer) == before) is (i in (1, 5, 6))
    assert optimizer.loss_scale.scale.item() == 32.0


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        pytest.param("update.cuh", "return scale && *scale != *scale;",
                     "return scale && *scale == *scale;", id="made where it is to be left out"),
        pytest.param("update.cu", "if (!left_out(scale)) *t += T(1);", "*t += T(1);",
                     id="counted though left out"),
    ],
)  # fmt: skip
def test_a_planted_bug_is_caught(file: str, old: str, new: str, card: Any, simulator: Any) -> None:
    p = np.ones(1500, "f4")
    m, v, t, g = np.zeros(1500, "f4"), np.zeros(1500, "f4"), np.zeros((), "f4"), p * 2

    def check() -> None:
        arrays = (
            p.copy(),
            g,
            m.copy(),
            v.copy(),
            t.copy(),
            np.full((), 0.1, "f4"),
            np.full((), np.nan, "f4"),
        )
        kept = [a.copy() for a in arrays]
        update.adam_update(*arrays, beta1=0.9, beta2=0.9, eps=0.1, weight_decay=0.0,
                           decoupled=False)  # fmt: skip
        assert [a.tobytes() for a in arrays] == [a.tobytes() for a in kept], "something changed"

    check()
    text = local_sources("update.cu")[file]
    assert text.count(old) == 1, "the source changed; plant this bug where it is now"
    kernels = [update.ADAM["float"], update.COUNT_STEP["float"]]
    changed = {file: text.replace(old, new)}
    card.libraries["update.cu"] = simulator.Library("update.cu", changed, kernels)
    with pytest.raises(AssertionError):
        check()
