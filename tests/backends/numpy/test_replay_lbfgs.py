"""What is captured of L-BFGS, which decides on the host, and of models made of models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import losses, nn
from flagstone.backend import Backend
from flagstone.errors import CaptureError
from flagstone.named import make
from flagstone_numpy.backend import NumpyBackend


def lbfgs(how: str, steps: int = 20) -> tuple[bytes, Any]:
    """The parameters after 20 steps of 10 iterations, and what was captured."""
    rng = np.random.default_rng(0)
    x = fs.tensor(rng.standard_normal((400, 6)).astype(np.float32), device="cpu")
    y = fs.tensor(rng.integers(0, 3, 400), device="cpu")
    layer = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))
    layer.initialize(0, device="cpu")
    optimizer: Any = make("optimizer", "lbfgs(max_iter=10)", layer, 1.0)
    calls = 0

    def closure() -> fs.Tensor:
        nonlocal calls
        calls += 1
        optimizer.zero_grad()
        loss = losses.cross_entropy(layer(x), y)
        loss.backward()
        return loss

    captured: Any = closure
    if how == "closure":
        captured = fs.capture(closure, device="cpu", strict=True)

    def step() -> None:
        optimizer.step(captured)

    if how == "step":
        captured_step = fs.capture(step, device="cpu")
        captured_step()
        captured_step()
        captured_step()
        with pytest.warns(RuntimeWarning, match=r"cannot be captured: it reads a tensor"):
            captured_step()
        for _ in range(steps - 4):
            captured_step()
        return layer.state_dict()["0.weight"].tobytes(), captured_step
    for _ in range(steps):
        step()
    if how == "closure":
        assert calls <= 4, "the others are replays"
    else:
        assert calls > 200
    return layer.state_dict()["0.weight"].tobytes(), captured


def test_a_closure_of_lbfgs_is_captured_and_gives_the_same_bits() -> None:
    assert lbfgs("closure")[0] == lbfgs("eager")[0]


def test_a_step_of_lbfgs_is_refused_and_runs_as_it_is() -> None:
    found, captured = lbfgs("step")
    assert isinstance(captured.reason, CaptureError)
    assert "on the host" in str(captured.reason)
    assert found == lbfgs("eager")[0]


def test_an_ensemble_over_200_steps_of_each_member(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((38, 5)).astype(np.float32)
    y = rng.integers(0, 2, 38)
    found = []
    for captured in (True, False):
        if not captured:
            monkeypatch.setattr(NumpyBackend, "capture", Backend.capture)
        member = "mlp(epochs=20, batch_size=4, optimizer='adam', lr=0.01)"
        model = fs.model("ensemble", member=member, members=2, device="cpu")
        model.fit(x, y)
        found.append((model.layer_.state_dict(), model.predict_proba(x).tobytes()))
    assert found[0][1] == found[1][1]
    for name, value in found[0][0].items():
        assert value.tobytes() == found[1][0][name].tobytes(), name


def test_a_fit_by_lbfgs(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 5)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    made: list[Any] = []
    ordinary = NumpyBackend.capture

    def capture(self: Any, step: Any, *example: Any) -> Any:
        made.append(ordinary(self, step, *example))
        return made[-1]

    found = []
    for kind in (capture, Backend.capture):
        monkeypatch.setattr(NumpyBackend, "capture", kind)
        model: Any = fs.model("mlp", epochs=20, optimizer="lbfgs", batch_size=None, device="cpu")
        model.fit(x, y, validation_data=(x, y))
        timeless = [{k: v for k, v in e.items() if k != "seconds"} for e in model.history_]
        found.append((model.layer_.flat.values.numpy().tobytes(), repr(timeless)))
    assert found[0] == found[1]
    assert [step.program is not None for step in made] == [True, True]  # closure, evaluation
