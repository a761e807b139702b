"""Convolutions padded with other values than 0, against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn
from flagstone.errors import InputError

MODES = ("zeros", "reflect", "replicate")


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")  # how PyTorch does it
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("number", range(10))
def test_against_pytorch(number: int, mode: str) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    rng = np.random.default_rng(number)
    d = number % 3 + 1
    groups = int(rng.integers(1, 3))
    size = tuple(int(n) for n in rng.integers(4, 7, d))
    kernel = tuple(int(n) for n in rng.integers(1, 4, d))
    options: dict[str, Any] = {"dilation": int(rng.integers(1, 3)), "groups": groups}
    options |= {"bias": bool(rng.integers(2)), "padding_mode": mode}
    if number % 4 == 0:
        options["padding"] = "same"
    else:
        options["padding"] = tuple(int(n) for n in rng.integers(0, 4, d))
        options["stride"] = tuple(int(n) for n in rng.integers(1, 3, d))
    ours = getattr(nn, f"Conv{d}d")(2 * groups, 3 * groups, kernel, **options)
    ours.initialize(number, dtype="float64")
    theirs = getattr(torch.nn, f"Conv{d}d")(2 * groups, 3 * groups, kernel, **options).double()
    theirs.load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()})

    image = rng.standard_normal((2, *size, 2 * groups))
    x = fs.tensor(image, requires_grad=True)
    other = torch.tensor(np.moveaxis(image, -1, 1).copy(), requires_grad=True)
    y = ours(x)
    expected = theirs(other)
    np.testing.assert_allclose(y.numpy(), np.moveaxis(expected.detach().numpy(), 1, -1), atol=1e-12)
    seed = rng.standard_normal(y.shape)
    y.backward(fs.tensor(seed))
    expected.backward(torch.tensor(np.moveaxis(seed, -1, 1).copy()))
    pairs = [(x.grad.numpy(), np.moveaxis(other.grad.numpy(), 1, -1))]
    pairs.append((np.moveaxis(ours.weight.grad.numpy(), -1, 1), theirs.weight.grad.numpy()))
    if ours.bias is not None:
        pairs.append((ours.bias.grad.numpy(), theirs.bias.grad.numpy()))
    for found, right in pairs:
        np.testing.assert_allclose(found, right, atol=1e-11)


@pytest.mark.parametrize("mode", MODES)
def test_behind_it_things_are_as_ever(mode: str) -> None:
    """An activation, pooling and batch normalisation that are fused or folded into it."""
    conv = nn.Conv2d(2, 3, 3, padding=1, padding_mode=mode)
    layers = [conv, nn.BatchNorm(3), nn.ReLU(), nn.MaxPool2d(2)]
    network = nn.Sequential(*layers).initialize(1).eval()
    x = fs.tensor(np.random.default_rng(0).standard_normal((2, 6, 6, 2)).astype("float32"))
    expected = x
    for layer in layers:
        expected = layer(expected)
    folded = nn.fold_batch_norm(network)
    with fs.no_grad():
        for found in (network(x), folded(x)):
            np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-6)
    assert nn.summary(network, (6, 6, 2)).multiply_adds == 36 * 3 * 3 * 3 * 2


def test_what_it_shows_and_refuses() -> None:
    conv = nn.Conv1d(2, 3, 3, padding=2, padding_mode="reflect")
    shown = "Conv1d(2, 3, kernel_size=(3,), stride=1, padding=2, padding_mode='reflect')"
    assert repr(conv) == shown
    with pytest.raises(InputError, match="reflect"):
        conv(fs.tensor(np.zeros((1, 2, 2), np.float32)))
