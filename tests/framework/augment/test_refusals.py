"""What augmentations refuse, before training starts."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pytest

import flagstone as fs
from flagstone import augment
from flagstone.augment import Augmentation, Chain, CutMix, Cutout, Flip, MixUp, Translate
from flagstone.backend import open_backend
from flagstone.errors import ConfigurationError, PluginError, ShapeError, UnknownNameError
from flagstone.plugins import registry

BAD: list[tuple[str, str]] = [
    ("flip(p=1.5)", "augmentation flip: p expected a probability from 0 to 1; got 1.5"),
    ("flip(p=True)", "augmentation flip: p expected a probability"),
    ("flip(direction='up')", "direction expected 'horizontal' or 'vertical'; got 'up'"),
    ("crop(padding=-1)", "augmentation crop: padding expected an integer >= 0, in pixels; got -1"),
    ("crop(padding=1.5)", "augmentation crop: padding expected an integer >= 0"),
    ("crop(mode='wrap')", "mode expected one of zero, reflect, edge; got 'wrap'"),
    ("translate(pixels='a')", "augmentation translate: pixels expected an integer >= 0"),
    ("cutout(size=0)", "augmentation cutout: size expected an integer >= 1, in pixels; got 0"),
    (
        "mixup(alpha=0)",
        "augmentation mixup: alpha expected a positive number of at most 1000; got 0",
    ),
    (
        "cutmix(alpha='a')",
        "augmentation cutmix: alpha expected a positive number of at most 1000; got 'a'",
    ),
    ("mixup(alpha=1001)", "alpha expected a positive number of at most 1000; got 1001"),
    ("cutmix(p=-0.1)", "augmentation cutmix: p expected a probability"),
    (
        "normalize(mean=0.5)",
        "augment: 'normalize(mean=0.5)' is no augmentation, since predicting must normalise too",
    ),
    ("flip(q=1)", "augmentation 'flip' has no option 'q'; known: p, direction. Did you"),
    ("flip(", "augmentation: expected a name or name(option=value, ...); got 'flip('"),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_a_bad_option_is_named(text: str, message: str) -> None:
    message = message.removesuffix(" Did you")
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        augment.parse(f"flip,{text}")


@pytest.mark.parametrize("text", ["flop", "flip,flop"])
def test_an_unknown_one_is_named(text: str) -> None:
    with pytest.raises(
        UnknownNameError, match=r"unknown augmentation .* known: alternating-flip, cr"
    ):
        augment.parse(text)


@pytest.mark.parametrize("text", ["flip,,crop", "flip,", ",", "()", "(p=1)"])
def test_a_name_that_is_empty(text: str) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"expected .*name.*; got {re.escape(repr(text))}"
    ):
        augment.parse(text)


@pytest.mark.parametrize("text", ["", "  "])
def test_no_text_is_none(text: str) -> None:
    assert augment.parse(text) == []


@pytest.mark.parametrize(
    ("part", "shape", "message"),
    [
        (Flip(), (6,), r"augment: flip expected images \(h, w, channels\); got examples of .*\(6,"),
        (Cutout(), (4, 4), "augment: cutout expected images"),
        (Cutout(5), (4, 9, 1), r"augment: cutout of 5 pixels expected images of at .*\(4, 9, 1\)"),
        (CutMix(), (7,), "augment: cutmix expected images"),
        (CutMix(), (5000, 5000, 1), r"cutmix expected images of less than 2\*\*24 pixels"),
        (Translate(3), (3, 9, 1), r"translate by up to 3 pixels expected images of more pixels"),
    ],
)
def test_examples_that_do_not_fit(part: Augmentation, shape: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        Chain([part], 0, open_backend("cpu")).check(shape)


def test_mixup_takes_examples_of_any_shape() -> None:
    Chain([MixUp()], 0, open_backend("cpu")).check((6,))


def test_what_is_no_augmentation_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"augment: expected augmentations.* got 'flip'"):
        Chain(["flip"], 0, open_backend("cpu"))  # type: ignore[list-item]  # what is tested


def test_a_model_refuses_before_training() -> None:
    x, y = np.ones((4, 3, 3), np.float32), np.array([0, 1, 0, 1])
    for text, error, message in (
        ("flop", UnknownNameError, "augmentation 'flop'.*Did you mean 'flip'"),
        ("crop(padding=3)", ShapeError, "crop by up to 3 pixels"),
        ("crop(padding=a)", ConfigurationError, "augmentation: expected a name"),
    ):
        with pytest.raises(error, match=message):
            fs.model("cnn", augment=text, epochs=1).fit(x, y)


@dataclass(frozen=True)
class Spoil(Augmentation):
    """Gives other images than it got."""

    how: Callable[[fs.Tensor], Any]

    def images(self, x: fs.Tensor, words: Sequence[fs.Tensor]) -> fs.Tensor:
        return cast("fs.Tensor", self.how(x))


@pytest.mark.parametrize(
    ("how", "got"),
    [
        (lambda x: x[:, 1:], r"got float32 \(4, 2, 3, 1\)"),
        (lambda x: x.astype("float64"), r"got float64 \(4, 3, 3, 1\)"),
        (lambda x: None, "got NoneType"),
    ],
)
def test_one_that_gives_other_images_is_named(how: Any, got: str) -> None:
    class Model(cast("type[Any]", registry.load("model", "cnn"))):  # type: ignore[misc]
        def augmentation(self) -> list[Augmentation]:
            return [Flip(), Spoil(how)]

    x, y = np.ones((4, 3, 3), np.float32), np.array([0, 1, 0, 1])
    with pytest.raises(PluginError, match=rf"^augmentation Spoil: expected .*float32.*; {got}$"):
        Model(epochs=1, device="cpu").fit(x, y)
