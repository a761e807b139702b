"""Optimizers follow PyTorch's trajectories."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn, optim

torch = pytest.importorskip("torch", reason="PyTorch, the reference, is not installed")

CASES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "sgd": (optim.SGD, torch.optim.SGD, {"lr": 0.05}),
    "sgd, weight decay": (optim.SGD, torch.optim.SGD, {"lr": 0.05, "weight_decay": 0.1}),
    "sgd, momentum": (optim.SGD, torch.optim.SGD, {"lr": 0.02, "momentum": 0.9}),
    "sgd, all options": (
        optim.SGD, torch.optim.SGD,
        {"lr": 0.02, "momentum": 0.8, "nesterov": True, "weight_decay": 0.05},
    ),
    "adam": (optim.Adam, torch.optim.Adam, {}),
    "adam, all options": (
        optim.Adam, torch.optim.Adam,
        {"lr": 0.01, "betas": (0.8, 0.99), "eps": 1e-3, "weight_decay": 0.1},
    ),
    "adam, no memory": (optim.Adam, torch.optim.Adam, {"lr": 0.01, "betas": (0.0, 0.0)}),
    "adamw": (optim.AdamW, torch.optim.AdamW, {}),
    "adamw, all options": (
        optim.AdamW, torch.optim.AdamW,
        {"lr": 0.01, "betas": (0.85, 0.95), "eps": 1e-6, "weight_decay": 0.5},
    ),
}  # fmt: skip
TOLERANCE = {"float64": 1e-10, "float32": 2e-4}


def a_network(dtype: str) -> tuple[nn.Layer, Any]:
    ours = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 2)).initialize(0, dtype=dtype)
    theirs = torch.nn.Sequential(
        torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 2)
    ).to(getattr(torch, dtype))  # fmt: skip
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in ours.state_dict().items()})
    return ours, theirs


def steps(dtype: str, n: int) -> Any:
    rng = np.random.default_rng(1)
    for _ in range(n):
        yield rng.standard_normal((6, 5)).astype(dtype), rng.standard_normal((6, 2)).astype(dtype)


def assert_equal(ours: nn.Layer, theirs: Any, tolerance: float) -> None:
    for name, value in theirs.state_dict().items():
        np.testing.assert_allclose(
            ours.state_dict()[name], value.numpy(), rtol=tolerance, atol=tolerance, err_msg=name
        )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_fifty_steps(name: str, dtype: str) -> None:
    make_ours, make_theirs, options = CASES[name]
    ours, theirs = a_network(dtype)
    start = ours.state_dict()
    optimizer = make_ours(ours, **options)
    if "lr" not in options:
        assert optimizer.lr == pytest.approx(1e-3, rel=1e-7)  # PyTorch's default
    reference = make_theirs(theirs.parameters(), **options)
    for x, y in steps(dtype, 50):
        optimizer.zero_grad()
        fs.losses.mse(ours(fs.tensor(x)), fs.tensor(y)).backward()
        optimizer.step()
        reference.zero_grad()
        torch.nn.functional.mse_loss(theirs(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        reference.step()
    assert_equal(ours, theirs, TOLERANCE[dtype])
    moved = max(np.abs(start[k] - v).max() for k, v in ours.state_dict().items())
    assert moved > 0.01


@pytest.mark.parametrize("limit", [1e-3, 0.5, 1e3])
def test_clip_norm(limit: float) -> None:
    ours, theirs = a_network("float64")
    optimizer = optim.SGD(ours, 0.1, momentum=0.9, clip_norm=limit)
    reference = torch.optim.SGD(theirs.parameters(), 0.1, momentum=0.9)
    clipped = []
    for x, y in steps("float64", 20):
        optimizer.zero_grad()
        fs.losses.mse(ours(fs.tensor(x)), fs.tensor(y)).backward()
        optimizer.step()
        reference.zero_grad()
        torch.nn.functional.mse_loss(theirs(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        norm = torch.nn.utils.clip_grad_norm_(theirs.parameters(), limit)
        clipped.append(float(norm) > limit)
        reference.step()
    assert any(clipped) == (limit < 100)
    assert_equal(ours, theirs, 1e-10)


def test_clipping_looks_at_the_scaled_gradient() -> None:
    """The trainer sums a batch's losses and hands the optimizer 1 / batch size."""
    ours, theirs = a_network("float64")
    optimizer = optim.Adam(ours, 0.01, clip_norm=0.3)
    reference = torch.optim.Adam(theirs.parameters(), 0.01)
    for x, y in steps("float64", 10):
        optimizer.zero_grad()
        fs.losses.mse(ours(fs.tensor(x)), fs.tensor(y), reduction="sum").backward()
        optimizer.step(scale=fs.tensor(np.asarray(1 / 6)))
        reference.zero_grad()
        torch.nn.functional.mse_loss(theirs(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.3)
        reference.step()
    assert_equal(ours, theirs, 1e-10)


def test_a_rate_that_changes_every_step() -> None:
    ours, theirs = a_network("float64")
    optimizer = optim.AdamW(ours, 1.0)
    reference = torch.optim.AdamW(theirs.parameters(), 1.0)
    for i, (x, y) in enumerate(steps("float64", 20)):
        lr = 0.02 / (i + 1)
        optimizer.zero_grad()
        fs.losses.mse(ours(fs.tensor(x)), fs.tensor(y)).backward()
        if i % 2:
            optimizer.step(lr=fs.tensor(np.asarray(lr)))
        else:
            optimizer.lr = lr
            optimizer.step()
        for group in reference.param_groups:
            group["lr"] = lr
        reference.zero_grad()
        torch.nn.functional.mse_loss(theirs(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        reference.step()
    assert_equal(ours, theirs, 1e-10)
