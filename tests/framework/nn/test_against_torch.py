"""Every layer gives PyTorch's values and gradients from PyTorch's weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn

torch = pytest.importorskip("torch", reason="PyTorch, the reference, is not installed")

TOLERANCE = {"float64": 1e-11, "float32": 2e-5}

Case = tuple[Callable[[], nn.Layer], Callable[[], Any], tuple[int, ...]]

CASES: dict[str, Case] = {
    "linear": (lambda: nn.Linear(5, 3), lambda: torch.nn.Linear(5, 3), (4, 5)),
    "linear, no bias": (
        lambda: nn.Linear(5, 3, bias=False), lambda: torch.nn.Linear(5, 3, bias=False), (4, 5),
    ),
    "linear, more axes": (lambda: nn.Linear(5, 3), lambda: torch.nn.Linear(5, 3), (2, 3, 4, 5)),
    "linear, one feature": (lambda: nn.Linear(1, 1), lambda: torch.nn.Linear(1, 1), (1, 1)),
    "conv": (lambda: nn.Conv2d(3, 4, 3), lambda: torch.nn.Conv2d(3, 4, 3), (2, 6, 7, 3)),
    "conv, all options": (
        lambda: nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 2), (1, 2), 2, bias=False),
        lambda: torch.nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 2), (1, 2), 2, bias=False),
        (2, 7, 8, 4),
    ),
    "conv, same": (
        lambda: nn.Conv2d(2, 3, 5, padding="same"),
        lambda: torch.nn.Conv2d(2, 3, 5, padding="same"),
        (3, 6, 5, 2),
    ),
    "conv, depthwise": (
        lambda: nn.Conv2d(4, 4, 3, groups=4), lambda: torch.nn.Conv2d(4, 4, 3, groups=4),
        (2, 5, 6, 4),
    ),
    "conv, 1x1": (lambda: nn.Conv2d(3, 2, 1), lambda: torch.nn.Conv2d(3, 2, 1), (2, 4, 5, 3)),
    "max pool": (lambda: nn.MaxPool2d(2), lambda: torch.nn.MaxPool2d(2), (2, 7, 6, 3)),
    "max pool, overlapping": (
        lambda: nn.MaxPool2d(3, 2, 1), lambda: torch.nn.MaxPool2d(3, 2, 1), (2, 7, 6, 3),
    ),
    "average pool": (lambda: nn.AvgPool2d(2), lambda: torch.nn.AvgPool2d(2), (2, 6, 7, 3)),
    "average pool, padded": (
        lambda: nn.AvgPool2d((3, 2), (2, 1), 1), lambda: torch.nn.AvgPool2d((3, 2), (2, 1), 1),
        (2, 6, 7, 3),
    ),
    "average pool, padding not counted": (
        lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        lambda: torch.nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        (2, 6, 7, 3),
    ),
    "batch norm of a table": (
        lambda: nn.BatchNorm(4), lambda: torch.nn.BatchNorm1d(4), (6, 4),
    ),
    "batch norm of images": (
        lambda: nn.BatchNorm(3, eps=1e-3, momentum=0.3),
        lambda: torch.nn.BatchNorm2d(3, eps=1e-3, momentum=0.3),
        (4, 5, 2, 3),
    ),
    "sigmoid": (nn.Sigmoid, lambda: torch.nn.Sigmoid(), (3, 4)),
    "tanh": (nn.Tanh, lambda: torch.nn.Tanh(), (3, 4)),
    "relu": (nn.ReLU, lambda: torch.nn.ReLU(), (3, 4)),
    "leaky relu, PyTorch's slope": (nn.LeakyReLU, lambda: torch.nn.LeakyReLU(), (3, 4)),
    "leaky relu, the lecture's slope": (
        lambda: nn.LeakyReLU(0.1), lambda: torch.nn.LeakyReLU(0.1), (3, 4),
    ),
    "elu": (lambda: nn.ELU(0.7), lambda: torch.nn.ELU(0.7), (3, 4)),
    "softmax": (nn.Softmax, lambda: torch.nn.Softmax(dim=-1), (3, 4)),
    "flatten": (nn.Flatten, lambda: torch.nn.Flatten(), (3, 4)),
}  # fmt: skip


def channels_first(a: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(a, -1, 1)) if a.ndim == 4 else a


def channels_last(a: np.ndarray) -> np.ndarray:
    return np.moveaxis(a, 1, -1) if a.ndim == 4 else a


def as_torch(a: np.ndarray) -> Any:
    return torch.from_numpy(np.array(a))


def copy_weights(ours: nn.Layer, theirs: Any) -> None:
    state = {name: as_torch(value) for name, value in ours.state_dict().items()}
    missing, unexpected = theirs.load_state_dict(state, strict=False)
    assert not unexpected
    assert set(missing) <= {"num_batches_tracked"}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name: str, dtype: str) -> None:
    make_ours, make_theirs, shape = CASES[name]
    images = len(shape) == 4 and "linear" not in name
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape).astype(dtype)
    ours = make_ours().initialize(1, dtype=dtype)
    for p in ours.parameters():  # the start of batch norm, 1 and 0, would hide mistakes
        p.array[...] = rng.standard_normal(p.shape)
    theirs = make_theirs().to(getattr(torch, dtype))
    copy_weights(ours, theirs)

    x_ours = fs.tensor(x, requires_grad=True)
    y_ours = ours(x_ours)
    x_theirs = as_torch(channels_first(x) if images else x).requires_grad_()
    y_theirs = theirs(x_theirs)
    expected = y_theirs.detach().numpy()
    expected = channels_last(expected) if images else expected
    tolerance = TOLERANCE[dtype]
    np.testing.assert_allclose(y_ours.numpy(), expected, rtol=tolerance, atol=tolerance)

    dy = rng.standard_normal(y_ours.shape).astype(dtype)
    y_ours.backward(fs.tensor(dy))
    y_theirs.backward(as_torch(channels_first(dy) if images else dy))
    dx = x_theirs.grad.numpy()
    np.testing.assert_allclose(
        x_ours.grad.numpy(), channels_last(dx) if images else dx, rtol=tolerance, atol=tolerance
    )
    gradients = dict(theirs.named_parameters())
    for parameter, p in ours.named_parameters():
        given = p.grad.numpy()
        in_file_order = np.moveaxis(given, -1, 1) if given.ndim == 4 else given
        np.testing.assert_allclose(
            in_file_order, gradients[parameter].grad.numpy(), rtol=tolerance, atol=10 * tolerance
        )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_whole_network_from_pytorchs_state_dict(dtype: str) -> None:
    ours = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 3)
    ).initialize(0, dtype=dtype)
    torch.manual_seed(0)
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        torch.nn.Flatten(), torch.nn.Linear(64, 3),
    ).to(getattr(torch, dtype))  # fmt: skip
    state = {name: value.numpy() for name, value in theirs.state_dict().items()}
    # What follows Flatten sees channels last here: PyTorch's columns, (c, h, w), in our order.
    state["4.weight"] = np.moveaxis(state["4.weight"].reshape(3, 4, 4, 4), 1, -1).reshape(3, 64)
    ours.load_state_dict(state)
    x = np.random.default_rng(0).standard_normal((5, 8, 8, 1)).astype(dtype)
    expected = theirs(as_torch(channels_first(x))).detach().numpy()
    tolerance = TOLERANCE[dtype]
    np.testing.assert_allclose(ours(fs.tensor(x)).numpy(), expected, rtol=tolerance, atol=tolerance)
    assert ours[0].weight.shape == (4, 3, 3, 1)
    assert ours.state_dict()["0.weight"].shape == (4, 1, 3, 3)


@pytest.mark.parametrize("shape", [(6, 3), (4, 5, 2, 3)])
def test_batch_norms_running_statistics_over_ten_steps(shape: tuple[int, ...]) -> None:
    ours = nn.BatchNorm(3, momentum=0.2).initialize(0, dtype="float64")
    kind = torch.nn.BatchNorm1d if len(shape) == 2 else torch.nn.BatchNorm2d
    theirs = kind(3, momentum=0.2).double()
    rng = np.random.default_rng(1)
    for step in range(10):
        x = rng.standard_normal(shape) * (step + 1) + step
        ours(fs.tensor(x))
        theirs(as_torch(channels_first(x)))
        for name in ("running_mean", "running_var"):
            np.testing.assert_allclose(
                ours.state_dict()[name], getattr(theirs, name).numpy(), rtol=1e-12, atol=1e-13
            )
    ours.eval()
    theirs.eval()
    x = rng.standard_normal(shape)
    expected = channels_last(theirs(as_torch(channels_first(x))).detach().numpy())
    before = ours.state_dict()
    np.testing.assert_allclose(ours(fs.tensor(x)).numpy(), expected, rtol=1e-12, atol=1e-12)
    for name, value in ours.state_dict().items():  # predicting changes no statistic
        np.testing.assert_array_equal(value, before[name])


def test_batch_norm_in_eval_mode_passes_pytorchs_gradients() -> None:
    rng = np.random.default_rng(2)
    ours = nn.BatchNorm(3).initialize(0, dtype="float64")
    theirs = torch.nn.BatchNorm1d(3).double()
    ours(fs.tensor(x := rng.standard_normal((6, 3)) * 3 + 1))
    theirs(as_torch(x))
    ours.eval()
    theirs.eval()
    given = fs.tensor(x, requires_grad=True)
    expected = as_torch(x).requires_grad_()
    (ours(given) ** 2).sum().backward()
    (theirs(expected) ** 2).sum().backward()
    np.testing.assert_allclose(given.grad.numpy(), expected.grad.numpy(), rtol=1e-11)
    np.testing.assert_allclose(ours.weight.grad.numpy(), theirs.weight.grad.numpy(), rtol=1e-11)
    np.testing.assert_allclose(ours.bias.grad.numpy(), theirs.bias.grad.numpy(), rtol=1e-11)


def test_the_default_start_has_pytorchs_bounds() -> None:
    torch.manual_seed(0)
    for ours, theirs in (
        (nn.Linear(50, 200), torch.nn.Linear(50, 200)),
        (nn.Conv2d(4, 64, 5, groups=2), torch.nn.Conv2d(4, 64, 5, groups=2)),
    ):
        ours.initialize(0)
        for name, p in theirs.named_parameters():
            bound = float(p.detach().abs().max())  # close to the true one, of many draws
            values = ours.state_dict()[name]
            assert np.abs(values).max() == pytest.approx(bound, rel=0.1)
            assert values.std() == pytest.approx(float(p.detach().std()), rel=0.2)
