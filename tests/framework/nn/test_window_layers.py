"""Convolution, pooling and resizing layers give PyTorch's values from PyTorch's weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn

torch = pytest.importorskip("torch", reason="PyTorch, the reference, is not installed")
tnn = torch.nn

Case = tuple[Callable[[], nn.Layer], Callable[[], Any], tuple[int, ...]]
SIGNAL, IMAGE, VOLUME = (2, 9, 4), (2, 7, 6, 4), (1, 4, 5, 4, 4)

CASES: dict[str, Case] = {
    "conv 1d": (
        lambda: nn.Conv1d(4, 6, 3, 2, 1, 2, 2), lambda: tnn.Conv1d(4, 6, 3, 2, 1, 2, 2), SIGNAL,
    ),
    "conv 3d": (
        lambda: nn.Conv3d(4, 6, (2, 3, 1), (1, 2, 1), 1, bias=False),
        lambda: tnn.Conv3d(4, 6, (2, 3, 1), (1, 2, 1), 1, bias=False), VOLUME,
    ),
    "transposed 1d": (
        lambda: nn.ConvTranspose1d(4, 6, 3, 2, 1, 1, 2),
        lambda: tnn.ConvTranspose1d(4, 6, 3, 2, 1, 1, 2), SIGNAL,
    ),
    "transposed 2d": (
        lambda: nn.ConvTranspose2d(4, 2, (3, 2), (3, 1), (1, 0), (2, 0), 2, False, (1, 2)),
        lambda: tnn.ConvTranspose2d(4, 2, (3, 2), (3, 1), (1, 0), (2, 0), 2, False, (1, 2)), IMAGE,
    ),
    "transposed 3d": (
        lambda: nn.ConvTranspose3d(4, 3, 2, 2), lambda: tnn.ConvTranspose3d(4, 3, 2, 2), VOLUME,
    ),
    "depthwise": (
        lambda: nn.DepthwiseConv2d(4, 3, padding=1, multiplier=2),
        lambda: tnn.Conv2d(4, 8, 3, padding=1, groups=4), IMAGE,
    ),
    "max pool 1d": (
        lambda: nn.MaxPool1d(3, 2, 1, 2, ceil_mode=True),
        lambda: tnn.MaxPool1d(3, 2, 1, 2, ceil_mode=True), SIGNAL,
    ),
    "max pool 3d": (lambda: nn.MaxPool3d(2), lambda: tnn.MaxPool3d(2), VOLUME),
    "average pool 1d": (
        lambda: nn.AvgPool1d(3, 2, 1, True, False), lambda: tnn.AvgPool1d(3, 2, 1, True, False),
        SIGNAL,
    ),
    "average pool 2d": (
        lambda: nn.AvgPool2d(3, 2, 1, True), lambda: tnn.AvgPool2d(3, 2, 1, True), IMAGE,
    ),
    "average pool 3d": (lambda: nn.AvgPool3d(2, 1), lambda: tnn.AvgPool3d(2, 1), VOLUME),
    "global average": (
        nn.GlobalAvgPool, lambda: tnn.Sequential(tnn.AdaptiveAvgPool2d(1), tnn.Flatten()), IMAGE,
    ),
    "global maximum": (
        nn.GlobalMaxPool, lambda: tnn.Sequential(tnn.AdaptiveMaxPool3d(1), tnn.Flatten()), VOLUME,
    ),
    "adaptive average 1d": (
        lambda: nn.AdaptiveAvgPool1d(4), lambda: tnn.AdaptiveAvgPool1d(4), SIGNAL,
    ),
    "adaptive average 2d": (
        lambda: nn.AdaptiveAvgPool2d((None, 4)), lambda: tnn.AdaptiveAvgPool2d((None, 4)), IMAGE,
    ),
    "adaptive average 3d": (
        lambda: nn.AdaptiveAvgPool3d(3), lambda: tnn.AdaptiveAvgPool3d(3), VOLUME,
    ),
    "adaptive maximum 1d": (
        lambda: nn.AdaptiveMaxPool1d(4), lambda: tnn.AdaptiveMaxPool1d(4), SIGNAL,
    ),
    "adaptive maximum 2d": (
        lambda: nn.AdaptiveMaxPool2d((3, 5)), lambda: tnn.AdaptiveMaxPool2d((3, 5)), IMAGE,
    ),
    "adaptive maximum 3d": (
        lambda: nn.AdaptiveMaxPool3d(3), lambda: tnn.AdaptiveMaxPool3d(3), VOLUME,
    ),
    "upsample nearest": (
        lambda: nn.Upsample(scale_factor=2), lambda: tnn.Upsample(scale_factor=2), IMAGE,
    ),
    "upsample bilinear": (
        lambda: nn.Upsample((9, 5), mode="bilinear", align_corners=True),
        lambda: tnn.Upsample((9, 5), mode="bilinear", align_corners=True), IMAGE,
    ),
}  # fmt: skip


def first(a: np.ndarray) -> Any:
    """A tensor of theirs, channels second."""
    return torch.tensor(np.ascontiguousarray(np.moveaxis(a, -1, 1)))


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name: str) -> None:
    make_ours, make_theirs, shape = CASES[name]
    ours, theirs = make_ours().initialize(1, dtype="float64"), make_theirs().double()
    state = {n: torch.tensor(v) for n, v in ours.state_dict().items()}
    assert {n: v.shape for n, v in state.items()} == {
        n: v.shape for n, v in theirs.state_dict().items()
    }
    theirs.load_state_dict(state)
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape)
    x_ours, x_theirs = fs.tensor(x, requires_grad=True), first(x).requires_grad_()
    y, expected = ours(x_ours), theirs(x_theirs)
    np.testing.assert_allclose(first(y.numpy()), expected.detach(), rtol=1e-11, atol=1e-12)
    dy = rng.standard_normal(y.shape)
    y.backward(fs.tensor(dy))
    expected.backward(first(dy))
    np.testing.assert_allclose(first(x_ours.grad.numpy()), x_theirs.grad, rtol=1e-11, atol=1e-12)
    gradients = dict(theirs.named_parameters())
    for path, p in ours.named_parameters():
        given = first(p.grad.numpy()) if p.ndim > 1 else p.grad.numpy()
        np.testing.assert_allclose(given, gradients[path].grad, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_default_start_of_a_transposed_convolution_has_pytorchs_bounds(d: int) -> None:
    torch.manual_seed(0)
    ours = getattr(nn, f"ConvTranspose{d}d")(64, 40, 5, groups=2).initialize(0)
    theirs = getattr(tnn, f"ConvTranspose{d}d")(64, 40, 5, groups=2)
    for name, p in theirs.named_parameters():
        values = ours.state_dict()[name]
        bound = float(p.detach().abs().max())  # close to the true one, of many draws
        assert np.abs(values).max() == pytest.approx(bound, rel=0.1)
        assert values.std() == pytest.approx(float(p.detach().std()), rel=0.25)


def test_a_separable_convolution_is_a_depthwise_and_a_pointwise_one() -> None:
    ours = nn.SeparableConv2d(3, 5, 3, padding="same", multiplier=2).initialize(0, dtype="float64")
    theirs = tnn.Sequential(
        tnn.Conv2d(3, 6, 3, padding="same", groups=3, bias=False), tnn.Conv2d(6, 5, 1)
    ).double()
    named = {"depthwise": "0", "pointwise": "1"}
    state = {}
    for name, value in ours.state_dict().items():
        layer, _, part = name.partition(".")
        state[f"{named[layer]}.{part}"] = torch.tensor(value)
    theirs.load_state_dict(state)
    x = np.random.default_rng(0).standard_normal((2, 5, 6, 3))
    expected = theirs(first(x)).detach()
    np.testing.assert_allclose(first(ours(fs.tensor(x)).numpy()), expected, rtol=1e-11, atol=1e-12)


def test_a_transposed_convolution_takes_pytorchs_state() -> None:
    theirs = tnn.ConvTranspose2d(3, 4, (2, 5)).double()
    ours = nn.ConvTranspose2d(3, 4, (2, 5)).initialize(0, dtype="float64")
    ours.load_state_dict({n: v.numpy() for n, v in theirs.state_dict().items()})
    assert ours.weight.shape == (3, 2, 5, 4)
    assert ours.state_dict()["weight"].shape == (3, 4, 2, 5)
    np.testing.assert_array_equal(ours.state_dict()["weight"], theirs.weight.detach())
