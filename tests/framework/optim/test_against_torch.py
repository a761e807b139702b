"""Clipping, and rates that change from step to step, as in PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn, optim

torch = pytest.importorskip("torch", reason="PyTorch, the reference, is not installed")


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
