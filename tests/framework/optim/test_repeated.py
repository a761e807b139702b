"""An update on the same tensors as before skips the op's checks, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn, ops, optim
from flagstone.errors import FlagstoneError
from flagstone.tape import observe


def steps(optimizer: Any, layer: nn.Layer, count: int) -> list[np.ndarray]:
    x = fs.tensor(np.array([[1.0, 2.0], [3.0, -1.0]], np.float32))
    found = []
    for _ in range(count):
        optimizer.zero_grad()
        ops.sum(layer(x)).backward()
        optimizer.step()
        found.append(layer.weight.numpy().copy())
    return found


def made(kind: Any = optim.SGD, **options: Any) -> tuple[Any, nn.Layer]:
    layer = nn.Linear(2, 1).initialize(0, device="cpu")
    return kind(layer, 0.5, **options), layer


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam])
def test_the_checks_of_an_update_run_once(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer, layer = made(kind)
    op = ops.sgd_update if kind is optim.SGD else ops.adam_update
    op.known.clear()  # of calls that were made before
    monkeypatch.setattr(op, "forgotten", 0)
    runs = []
    check = op._check
    monkeypatch.setattr(op, "_check", lambda *x, **static: (runs.append(1), check(*x, **static)))
    steps(optimizer, layer, 5)
    assert len(runs) == 1


def test_an_attribute_that_changes_is_seen() -> None:
    optimizer, layer = made(momentum=0.5)
    first, second = steps(optimizer, layer, 2)
    optimizer.momentum = 0.0
    optimizer._velocity = None
    (third,) = steps(optimizer, layer, 1)
    gradient = np.array([[4.0, 1.0]], np.float32)
    np.testing.assert_allclose(first - second, 0.5 * 1.5 * gradient)
    np.testing.assert_allclose(second - third, 0.5 * gradient)


def test_a_rate_that_is_given_is_checked_every_time() -> None:
    optimizer, layer = made()
    steps(optimizer, layer, 3)
    with pytest.raises(FlagstoneError, match=r"lr expected shape \(\); got \(2,\)"):
        optimizer.step(lr=fs.tensor(np.ones(2, np.float32)))
    with pytest.raises(FlagstoneError, match="expected one dtype"):
        optimizer.step(scale=fs.tensor(np.float64(1.0)))
    optimizer.lr = 0.25
    before = layer.bias.numpy().copy()
    steps(optimizer, layer, 1)
    np.testing.assert_allclose(before - layer.bias.numpy(), [0.5])


def test_who_observes_sees_every_update() -> None:
    optimizer, layer = made()
    steps(optimizer, layer, 3)
    seen: list[str] = []
    with observe(lambda op, *_: seen.append(op.name)):
        steps(optimizer, layer, 2)
    assert seen.count("sgd_update") == 2
    assert seen.count("assign") == 4
