"""The residual network: its published sizes, its shortcut, and that it learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn
from flagstone.errors import ConfigurationError


def bars(n: int, side: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images with a bright row, a bright column, or a bright diagonal, at a random place."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(0, 0.3, (n, side, side)), np.arange(n) % 3
    for image, kind, place in zip(x, y, rng.integers(0, side, n), strict=True):
        if kind == 2:
            image[np.arange(side), (np.arange(side) + place) % side] += 1.5
        else:
            image[(place, slice(None)) if kind else (slice(None), place)] += 1.5
    return x.astype(np.float32), y


def network(depth: int, channels: int = 3, **options: Any) -> nn.Layer:
    from flagstone.plugins import registry

    cls = registry.load("model", "resnet")
    return cls(depth=depth, **options).build(fs.Spec((32, 32, channels)), fs.Spec((10,)))


@pytest.mark.parametrize(
    ("depth", "millions", "parameters"),
    [
        # 3 n blocks. Stem: 3*3*3*16 + 2*16 = 464. Stage 1: 2n * (9*16*16 + 2*16).
        # Stage 2: 9*16*32 + (2n-1) * 9*32*32 + 2n * 2*32. Stage 3: 9*32*64 + (2n-1) * 9*64*64
        # + 2n * 2*64. Head: 64*10 + 10 = 650.
        (20, 0.27, 464 + 14_016 + (4_608 + 46_080 + 384) + (18_432 + 184_320 + 768) + 650),
        (32, 0.46, 464 + 23_360 + (4_608 + 82_944 + 640) + (18_432 + 331_776 + 1_280) + 650),
        (56, 0.85, 464 + 42_048 + (4_608 + 156_672 + 1_152) + (18_432 + 626_688 + 2_304) + 650),
    ],
)
def test_the_papers_sizes(depth: int, millions: float, parameters: int) -> None:
    """Table 6 of the paper, rounded; the terms by hand."""
    layer = network(depth)
    assert layer.count_parameters() == parameters
    assert round(parameters / 1e6, 2) == millions
    weighted = [
        part for _, part in layer.named_layers() if isinstance(part, (nn.Conv2d, nn.Linear))
    ]
    assert len(weighted) == depth


def test_the_papers_shapes() -> None:
    """32x32, 16x16 and 8x8 maps of 16, 32 and 64 channels (section 4.2)."""
    layer = network(20).initialize(0)
    x = fs.tensor(np.zeros((2, 32, 32, 3), np.float32))
    seen = []
    for part in layer:  # type: ignore[attr-defined]  # a Sequential
        x = part(x)
        if x.shape not in seen:
            seen.append(x.shape)
    assert seen == [(2, 32, 32, 16), (2, 16, 16, 32), (2, 8, 8, 64), (2, 64), (2, 10)]


def test_the_shortcut_takes_every_second_pixel_and_adds_zeros() -> None:
    layer = network(8)
    shortcuts = [
        part for _, part in layer.named_layers() if type(part).__name__ == "ShrinkAndWiden"
    ]
    assert len(shortcuts) == 2
    x = np.random.default_rng(0).random((2, 5, 4, 16)).astype(np.float32)
    expected = np.zeros((2, 3, 2, 32), np.float32)
    expected[..., :16] = x[:, [0, 2, 4]][:, :, [0, 2]]
    np.testing.assert_array_equal(shortcuts[0](fs.tensor(x)).numpy(), expected)


def test_it_is_pytorchs() -> None:
    """The same network written in PyTorch, with the same weights, gives the same logits."""
    torch = pytest.importorskip("torch", reason="PyTorch, the reference, is not installed")
    functional = torch.nn.functional
    layer = network(14).initialize(3).train()
    state = [torch.tensor(value) for value in layer.state_dict().values()]
    names = list(layer.state_dict())
    x = np.random.default_rng(1).standard_normal((3, 16, 12, 3)).astype(np.float32)

    def take(kind: str) -> Any:
        assert names[0].rpartition(".")[2] == kind, names[0]
        names.pop(0)
        return state.pop(0)

    def convolution(h: Any, stride: int) -> Any:
        h = functional.conv2d(h, take("weight"), None, stride, 1)
        w, b, _, _ = take("weight"), take("bias"), take("running_mean"), take("running_var")
        return functional.batch_norm(h, None, None, w, b, training=True)

    h = functional.relu(convolution(torch.tensor(x).permute(0, 3, 1, 2), 1))
    for width in (16, 32, 64):
        for _ in range(2):
            stride = 1 if h.shape[1] == width else 2
            around = functional.pad(
                h[:, :, ::stride, ::stride], (0, 0, 0, 0, 0, width - h.shape[1])
            )
            inner = convolution(functional.relu(convolution(h, stride)), 1)
            h = functional.relu(around + inner)
    logits = functional.linear(h.mean((2, 3)), take("weight"), take("bias"))
    assert not names
    np.testing.assert_allclose(layer(fs.tensor(x)).numpy(), logits.numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("depth", [2, 7, 18, 21])
def test_another_depth_is_refused(depth: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"resnet: depth expected 6 n \+ 2.* got {depth}"):
        fs.model("resnet", depth=depth).fit(*bars(6))


def test_it_learns() -> None:
    options = {"depth": 8, "epochs": 6, "batch_size": 25, "lr": 0.05, "schedule": "cosine"}
    x, y = bars(240)
    model = fs.model("resnet", augment="flip,crop(padding=1)", **options).fit(x, y)
    assert model.score(*bars(90, seed=1)) >= 0.9


@pytest.mark.parametrize("shape", [(3, 2, 3), (5, 5), (9, 17)])
def test_images_of_any_size(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).random((8, *shape))
    model = fs.model("resnet", depth=8, epochs=1).fit(x, np.arange(8) % 2)
    assert model.predict_proba(x).shape == (8, 2)
