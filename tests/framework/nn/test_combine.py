"""Residual, Add and Concat: values, gradients, and the names of what is inside."""

from __future__ import annotations

import numpy as np

import flagstone as fs
from flagstone import nn

X = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)


def test_residual_adds_its_input_or_the_shortcuts_output() -> None:
    plain = nn.Residual(nn.Linear(3, 3)).initialize(1)
    x = fs.tensor(X)
    np.testing.assert_array_equal(plain(x).numpy(), X + plain.inner(x).numpy())
    projected = nn.Residual(nn.Linear(3, 2), nn.Linear(3, 2, bias=False)).initialize(1)
    expected = projected.shortcut(x).numpy() + projected.inner(x).numpy()
    np.testing.assert_array_equal(projected(x).numpy(), expected)
    assert list(projected.state_dict()) == ["inner.weight", "inner.bias", "shortcut.weight"]


def test_add_and_concat_run_every_branch_on_the_input() -> None:
    branches = [nn.Linear(3, 2), nn.Sequential(nn.Linear(3, 2), nn.ReLU())]
    add, concat = nn.Add(*branches), nn.Concat(*branches)
    assert [name for name, _ in add.named_parameters()] == [
        "0.weight", "0.bias", "1.0.weight", "1.0.bias",
    ]  # fmt: skip
    add.initialize(0)
    x = fs.tensor(X)
    a, b = (branch(x).numpy() for branch in branches)
    np.testing.assert_array_equal(add(x).numpy(), a + b)
    np.testing.assert_array_equal(concat(x).numpy(), np.concatenate([a, b], axis=1))
    along = nn.Concat(*branches, axis=0)(x).numpy()
    np.testing.assert_array_equal(along, np.concatenate([a, b], axis=0))


def test_gradients_reach_the_input_by_every_branch() -> None:
    x = fs.tensor(X, requires_grad=True)
    net = nn.Add(nn.Identity(), nn.Residual(nn.Identity()), nn.Identity())
    net(x).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.full_like(X, 4.0))
    x.grad = None
    weight = fs.tensor(np.arange(24, dtype=np.float32).reshape(4, 6))
    (nn.Concat(nn.Identity(), nn.Identity())(x) * weight).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), weight.numpy()[:, :3] + weight.numpy()[:, 3:])


def test_one_branch_is_that_branch_and_identity_is_its_input() -> None:
    x = fs.tensor(X)
    assert nn.Identity()(x) is x
    assert nn.Add(nn.Identity())(x) is x
    np.testing.assert_array_equal(nn.Concat(nn.Identity())(x).numpy(), X)


def test_what_they_show() -> None:
    assert repr(nn.Residual(nn.ReLU())) == "Residual(\n  (inner): ReLU()\n)"
    assert repr(nn.Concat(nn.ReLU(), nn.Tanh())) == (
        "Concat(\n  axis=-1\n  (0): ReLU()\n  (1): Tanh()\n)"
    )
    assert repr(nn.Embedding(5, 3, -1)) == "Embedding(5, 3, padding_idx=4)"
    assert repr(nn.LayerNorm(4)) == "LayerNorm((4,), eps=1e-05, elementwise_affine=True)"
