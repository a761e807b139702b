"""The speed-run network: its published shapes, the whitening, its recipe, and that it learns."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn
from flagstone.errors import ConfigurationError, ShapeError
from flagstone.plugins import registry
from flagstone.training.files import read_arrays

SMALL: dict[str, Any] = {"widths": (8, 12, 12), "epochs": 1, "batch_size": 64}


def blobs(n: int, side: int = 9, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images whose class says the colour of a square somewhere, on correlated noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 0.3, (n, side, side, 1)) + rng.normal(0, 0.2, (n, side, side, 3))
    y = np.arange(n) % 3
    for image, kind, (top, left) in zip(x, y, rng.integers(0, side - 3, (n, 2)), strict=True):
        image[top : top + 3, left : left + 3, kind] += 1.5
    return x.astype(np.float32), y


def network(shape: tuple[int, ...] = (32, 32, 3), **options: Any) -> nn.Layer:
    model = registry.load("model", "speedrun")(**options)
    layer: nn.Layer = model.build(fs.Spec(shape), fs.Spec((10,)))
    return layer


def test_the_published_sizes() -> None:
    layer = network()
    trained = 24 + 9 * (24 * 64 + 64 * 64) + 9 * (64 * 256 + 256 * 256) + 9 * 2 * 256 * 256
    trained += 2 * (64 + 256 + 256) + 256 * 10  # biases of normalisations, and the head
    learning = sum(p.size for p in layer.parameters() if p.requires_grad)
    assert learning == trained
    model = fs.model("speedrun", **{**SMALL, "widths": (64, 256, 256)})
    assert model.fit(
        np.random.default_rng(0).random((10, 9, 9, 3)), np.arange(10)
    ).n_parameters_ == (trained)
    assert dict(layer.named_buffers())["whiten.weight"].shape == (24, 2, 2, 3)


def test_the_published_shapes() -> None:
    """The table of the convolutions: 31 x 31 x 24, 31 x 31 x 64, 15 x 15 x 64, ..."""
    layer = network().initialize(0)
    seen: list[tuple[int, ...]] = []
    for _, part in layer.named_layers():
        if isinstance(part, nn.Conv2d):

            def note(x: Any, inner: Any = part.forward) -> Any:
                y = inner(x)
                seen.append((*x.shape[1:], y.shape[-1]))
                return y

            part.forward = note  # type: ignore[method-assign]  # to look on
    assert layer(fs.tensor(np.zeros((2, 32, 32, 3), np.float32))).shape == (2, 10)
    assert seen == [
        (31, 31, 24, 64), (15, 15, 64, 64), (15, 15, 64, 256), (7, 7, 256, 256),
        (7, 7, 256, 256), (3, 3, 256, 256),
    ]  # fmt: skip


@pytest.mark.parametrize("standardize", [True, False])
def test_whitened_patches_have_variance_one_and_no_correlation(standardize: bool) -> None:
    x, y = blobs(300)
    model = fs.model("speedrun", standardize=standardize, **SMALL).fit(x, y)
    layer = model.layer_[1] if standardize else model.layer_
    inputs = model.layer_[0](fs.tensor(x)) if standardize else fs.tensor(x)
    layer.whiten.bias.array[...] = 0.0
    out = layer.whiten(inputs).numpy().astype(np.float64).reshape(-1, 24)
    np.testing.assert_array_equal(out[:, :12], -out[:, 12:])
    second = out[:, :12].T @ out[:, :12] / len(out)
    patches = np.lib.stride_tricks.sliding_window_view(inputs.numpy(), (2, 2), axis=(1, 2))
    rows = patches.transpose(0, 1, 2, 4, 5, 3).reshape(-1, 12).astype(np.float64)
    variances = np.sort(np.linalg.eigvalsh(rows.T @ rows / len(rows)))[::-1]
    np.testing.assert_allclose(second, np.diag(variances / (variances + 5e-4)), atol=1e-4)


def test_the_whitening_is_measured_not_trained_and_kept(tmp_path: Path) -> None:
    x, y = blobs(200)
    one = fs.model("speedrun", **SMALL).fit(x, y)
    longer = fs.model("speedrun", **{**SMALL, "epochs": 3}).fit(x, y)
    name = "1.whiten.weight"
    weight = one.layer_.state_dict()[name]
    assert weight.shape == (24, 3, 2, 2)  # PyTorch's order
    np.testing.assert_array_equal(longer.layer_.state_dict()[name], weight)
    assert np.abs(weight).max() > 0
    changed = longer.layer_.state_dict()["1.whiten.bias"] - one.layer_.state_dict()["1.whiten.bias"]
    assert np.abs(changed).max() > 0
    one.save(tmp_path / "m.safetensors")
    kept = read_arrays(tmp_path / "m.safetensors")[0]
    np.testing.assert_array_equal(next(a for k, a in kept.items() if k.endswith(name)), weight)
    other = fs.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(other.layer_.state_dict()[name], weight)
    np.testing.assert_array_equal(other.predict_proba(x), one.predict_proba(x))


def test_predictions_do_not_tell_an_image_from_its_mirror_image() -> None:
    x, y = blobs(60)
    model = fs.model("speedrun", move_predictions=False, **SMALL).fit(x, y)
    flipped = model.decision_function(x[:, :, ::-1])
    np.testing.assert_allclose(model.decision_function(x), flipped, atol=1e-5)
    single = fs.model("speedrun", flip_predictions=False, move_predictions=False, **SMALL).fit(x, y)
    one, two = single.decision_function(x), single.decision_function(x[:, :, ::-1])
    assert np.abs(one - two).max() > 1e-3
    np.testing.assert_allclose(model.decision_function(x), (one + two) / 2, atol=1e-5)


def test_predictions_look_at_moved_images_too() -> None:
    """Half the logits of the image; a quarter each of two that are moved by a pixel (Jordan)."""
    x, y = blobs(60)
    options = {**SMALL, "flip_predictions": False}
    moving = fs.model("speedrun", **options).fit(x, y)
    still = fs.model("speedrun", move_predictions=False, **options).fit(x, y)
    wide = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), "reflect")
    views = [x, wide[:, :-2, :-2], wide[:, 2:, 2:]]
    seen = [still.decision_function(view) for view in views]
    expected = 0.5 * seen[0] + 0.25 * seen[1] + 0.25 * seen[2]
    np.testing.assert_allclose(moving.decision_function(x), expected, atol=1e-5)
    assert np.abs(seen[1] - seen[2]).max() > 1e-3
    both = fs.model("speedrun", **SMALL).fit(x, y)
    mirrored = [still.decision_function(view[:, :, ::-1]) for view in views]
    expected = (expected + 0.5 * mirrored[0] + 0.25 * mirrored[1] + 0.25 * mirrored[2]) / 2
    np.testing.assert_allclose(both.decision_function(x), expected, atol=1e-5)


def test_the_published_length() -> None:
    """9.9 epochs of whole batches, of 50 000 images in batches of 1024 476 steps; the rate's course
    and the average's are over just these."""
    watch = Watch()
    model = fs.model("speedrun", widths=(8, 8, 8), batch_size=32)
    assert (model.epochs, model.drop_last) == (9.9, True)
    assert model.augment == "alternating-flip,crop(padding=2)"
    model.fit(*blobs(100), callbacks=[watch])
    total = 9 * 3 + 3  # three whole batches of 100 images, and all three of 0.9 epochs
    assert len(model.history_) == 10
    rates = [epoch["lr"] for epoch in model.history_]  # of an epoch's last step
    points = np.interp([*range(2, 30, 3)], [0, int(0.23 * total), total], [0.2, 1.0, 0.07])
    np.testing.assert_allclose(rates, 1.5 * 32 / 1024 * points, rtol=1e-6)
    assert watch.optimizer._moves.shape == (total,)


class Watch(fs.Callback):
    """The whitening's bias after every epoch."""

    def __init__(self) -> None:
        self.biases: list[np.ndarray] = []

    def on_epoch_end(self, trainer: Any, epoch: int, metrics: Any) -> None:
        self.biases.append(np.array(trainer.layer[1].whiten.bias.numpy()))
        self.optimizer = trainer.optimizer


def test_the_recipes_course() -> None:
    """The whitening's bias is held after three epochs, averages come every five steps."""
    x, y = blobs(64)
    watch = Watch()
    options = {**SMALL, "epochs": 5, "batch_size": 32}
    model = fs.model("speedrun", **options).fit(x, y, callbacks=[watch])
    assert all(not np.array_equal(a, b) for a, b in itertools.pairwise(watch.biases[:3]))
    rates = [epoch["lr"] for epoch in model.history_]  # of the second of two steps
    points = np.interp([1, 3, 5, 7, 9], [0, 2, 10], [0.2, 1.0, 0.07])
    np.testing.assert_allclose(rates, 1.5 * 32 / 1024 * points, rtol=1e-6)
    averaged = watch.optimizer
    assert (averaged.k, set(averaged.states) >= {"slow", "slow_buffers"}) == (5, True)
    names = [name for name, _ in model.layer_.named_parameters()]
    options_of = dict(zip(names, averaged.options, strict=True))
    assert options_of["1.whiten.bias"] == (0.0, 0.0, 3)
    assert options_of["1.blocks.0.norm1.bias"][:2] == (64.0, 2.08e-5)
    assert options_of["1.blocks.0.conv1.weight"][:2] == (1.0, 1.33e-3)
    slow = averaged.states["slow"].numpy()
    np.testing.assert_array_equal(averaged.flat.values.numpy(), slow)


def test_the_first_outputs_of_a_convolution_start_as_its_inputs() -> None:
    layer = network(widths=(64, 32)).initialize(0)
    weight = layer.state_dict()["blocks.0.conv1.weight"]  # (64, 24, 3, 3)
    expected = np.zeros((24, 24, 3, 3))
    expected[np.arange(24), np.arange(24), 1, 1] = 1.0
    np.testing.assert_array_equal(weight[:24], expected)
    bound = 1 / np.sqrt(9 * 24)
    assert 0.9 * bound < np.abs(weight[24:]).max() <= bound
    assert layer.state_dict()["blocks.1.conv1.weight"].shape == (32, 64, 3, 3)


def test_the_recipes_rates() -> None:
    """Biases of normalisations learn 64 times as fast; their weights, not at all."""
    x, y = blobs(64)
    rates: list[float] = []
    model = fs.model("speedrun", **{**SMALL, "epochs": 2, "batch_size": 32})
    model.fit(x, y, callbacks=[])
    rates = [epoch["lr"] for epoch in model.history_]
    assert rates[-1] < rates[0] <= 1.5 * 32 / 1024
    state = model.layer_.state_dict()
    for name, value in state.items():
        if "norm" in name and name.endswith(".weight"):
            np.testing.assert_array_equal(value, 1.0)
    moved = [np.abs(v).max() for k, v in state.items() if "norm" in k and k.endswith(".bias")]
    assert min(moved) > 0


def test_it_learns() -> None:
    options = {**SMALL, "epochs": 6, "batch_size": 32}
    model = fs.model("speedrun", **options).fit(*blobs(300))
    assert model.score(*blobs(90, seed=1)) >= 0.9


def test_it_learns_by_muon() -> None:
    muon = "muon(momentum=0.6, weight_decay=0.0, adamw=('*head.weight',))"
    options = {**SMALL, "epochs": 6, "batch_size": 32, "optimizer": muon, "lr": 0.05}
    model = fs.model("speedrun", **options).fit(*blobs(300))
    assert model.score(*blobs(90, seed=1)) >= 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": ()}, r"speedrun: widths expected positive integers; got \(\)"),
        ({"widths": (8, 0)}, "speedrun: widths expected positive integers"),
        ({"label_smoothing": 1.5}, r"speedrun: label_smoothing expected a number in \[0, 1\]"),
        ({"optimizer": "adam"}, "speedrun: lr expected a number with another optimizer than sgd"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        fs.model("speedrun", **options).fit(*blobs(6))


def test_an_image_too_small_to_whiten_is_refused() -> None:
    with pytest.raises(ShapeError, match="speedrun: X expected images of at least 2 pixels a side"):
        fs.model("speedrun", augment="").fit(np.ones((4, 1, 5)), np.arange(4) % 2)


@pytest.mark.parametrize("shape", [(2, 3, 3), (5, 4), (28, 28)])
def test_images_of_other_sizes(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).random((8, *shape))
    model = fs.model("speedrun", augment="", **SMALL).fit(x, np.arange(8) % 2)
    assert model.predict_proba(x).shape == (8, 2)
