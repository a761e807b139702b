"""The network that learns CIFAR-10 in seconds, with its recipe."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

import flagstone as fs
from flagstone import nn, ops
from flagstone.errors import ConfigurationError, ShapeError
from flagstone.training import CrossEntropy, Objective

RATE = 1.5  # for a batch of 1024
MEASURED_ON = 5000  # images, for the whitening
LEAST_VARIANCE = 5e-4  # what is added to a direction's variance, of images of variance 1
HEAD_SCALE = 1 / 9
GROUPS = {"*norm*.bias": {"lr_scale": 64.0, "weight_decay": 2.08e-5}, "*whiten.bias": {"epochs": 3}}
RECIPE = (
    f'lookahead(base="sgd(momentum=0.85, nesterov=True, weight_decay=1.33e-3, groups={GROUPS})", '
    f"k=5, alpha={1 - 0.95**5:.8f}, schedule='polynomial(power=3.0, rising=True)', buffers=True)"
)


@dataclass(kw_only=True, eq=False, repr=False)
class Speedrun(fs.ImageClassifier):
    """A convolutional network made for CIFAR-10 in the least time (Jordan, "94% on CIFAR-10 in 3.29
    seconds on a single GPU", arXiv:2404.00498), in its recipe.

    A 2x2 convolution that whitens patches, measured on the training images and never trained; three
    blocks of two 3x3 convolutions with batch normalisation and GELU, the first of each followed by
    2x2 max pooling; the maximum of each channel; a linear layer without bias, times 1/9. Trained by
    SGD with Nesterov's momentum on smoothed labels and on mirrored and moved images, at a rate that
    rises from a fifth for 23 % of all steps and falls to 7 %, both in straight lines. Biases of
    normalisations learn 64 times as fast, the whitening's for three epochs only. Every five steps
    the network goes on from an average of itself that moves less and less, and ends with it.

    Two things are not the published program's: normalisations add 1e-5 to a variance, not 1e-12,
    and whitening is measured on 5000 images spread evenly, not on the first 5000.

    Half of the images are mirrored in the first, third, ... epoch, the others in between. An
    epoch's last, smaller batch is left out: of CIFAR-10's 50 000 images, 9.9 epochs are 476 steps.

    The weight decay suits ``lr=None`` with batches of any size; for another rate it is 1.33e-3
    times what the rate would be over what it is. Where images may not be mirrored, as digits, say
    ``augment="crop(padding=2)"`` and ``flip_predictions=False``. For Muon in place of SGD:
    ``optimizer="muon(momentum=0.6, weight_decay=0.0, adamw=('*head.weight',))", lr=0.05``.

    Attributes:
        lr: the rate; ``None`` for 1.5 times the batch's size over 1024, with SGD.
        widths: channels of the blocks.
        label_smoothing: the share of each target that is spread over all classes.
        flip_predictions: predict by the mean of the logits of an image and of its mirror image.
        move_predictions: of those, and of the same moved by a pixel to the upper left and to the
            lower right, what comes in mirrored at the border; these count half together.
    """

    epochs: int | float = 9.9
    batch_size: int | None = 1024
    lr: float | None = None
    optimizer: str = RECIPE
    schedule: str = "piecewise(at=(0.0, 0.23, 1.0), factors=(0.2, 1.0, 0.07))"
    augment: str = "alternating-flip,crop(padding=2)"
    drop_last: bool = True
    widths: tuple[int, ...] = (64, 256, 256)
    label_smoothing: float = 0.2
    flip_predictions: bool = True
    move_predictions: bool = True

    def check_hyperparameters(self) -> None:
        super().check_hyperparameters()
        if not self.widths or any(width < 1 for width in self.widths):
            raise ConfigurationError(
                f"speedrun: widths expected positive integers; got {self.widths!r}"
            )
        if not 0 <= self.label_smoothing <= 1:
            raise ConfigurationError(
                f"speedrun: label_smoothing expected a number in [0, 1]; "
                f"got {self.label_smoothing!r}"
            )
        if self.lr is None and not self.optimizer.startswith(("sgd", "lookahead")):
            raise ConfigurationError(
                "speedrun: lr expected a number with another optimizer than sgd, whose rate is "
                f"known; got None with {self.optimizer!r}"
            )

    def learning_rate(self, layer: nn.Layer, X: Any) -> float:
        size = len(X) if self.batch_size is None else min(self.batch_size, len(X))
        return RATE * size / 1024 if self.lr is None else self.lr

    def objective(self, layer: nn.Layer, backend: Any) -> Objective:
        return CrossEntropy(self.label_smoothing)

    def build(self, inputs: fs.Spec, outputs: fs.Spec) -> nn.Layer:
        if min(inputs.shape[:2]) < 2:
            raise ShapeError(
                "speedrun: X expected images of at least 2 pixels a side, which is what it whitens;"
                f" got {inputs.shape}"
            )
        views = Views(self.flip_predictions, self.move_predictions)
        return SpeedrunNet(inputs.shape, self.widths, outputs.size, views)

    def measure(self, layer: nn.Layer, X: Any) -> None:
        images = X[:: -(-len(X) // MEASURED_ON)].astype(np.float64)  # evenly spread
        network = layer
        if isinstance(layer, nn.Sequential):
            standardize, network = layer
            assert isinstance(standardize, nn.Standardize)  # the estimator puts it first
            images = (images - standardize.mean.numpy()) * standardize.inverse_scale.numpy()
        assert isinstance(network, SpeedrunNet)  # what build returned
        network.whiten.measure(images)


class Whiten(nn.Layer):
    """A 2x2 convolution whose outputs are patches' principal components, each of variance 1, and
    the same negated. Its weight is measured, its bias trained.

    Args:
        channels: of the images.
    """

    def __init__(self, channels: int) -> None:
        self.channels = channels
        self.out_channels = 8 * channels
        self.weight = nn.Buffer((self.out_channels, 2, 2, channels))
        self.weight.channels_last = True  # files hold it in PyTorch's order
        self.bias = nn.Parameter((self.out_channels,), nn.init.zeros)

    def forward(self, x: fs.Tensor) -> fs.Tensor:
        return ops.conv2d(x, self.weight, self.bias)

    def measure(self, images: Any) -> None:
        """Set the weight by the covariance of the patches of ``images``, float64 (n, h, w, c)."""
        patches = np.lib.stride_tricks.sliding_window_view(images, (2, 2), axis=(1, 2))
        rows = np.moveaxis(patches, 3, -1).reshape(-1, 4 * self.channels)  # (patch, 2 * 2 * c)
        variances, directions = np.linalg.eigh(rows.T @ rows / len(rows))
        largest = np.abs(directions).argmax(axis=0)
        directions = directions * np.sign(directions[largest, np.arange(len(largest))])
        scaled = directions[:, ::-1] / np.sqrt(np.maximum(variances[::-1], 0) + LEAST_VARIANCE)
        both = np.concatenate([scaled.T, -scaled.T]).reshape(self.weight.shape)
        value = both.astype(self.weight.dtype_name)
        self.weight.array[...] = self.weight.backend.asarray(value)


class Block(nn.Layer):
    """Convolution, pooling, normalisation, GELU, convolution, normalisation, GELU.

    Args:
        channels: of the input.
        width: of the output.
        pool: whether to halve the image; one of a single pixel cannot be.
    """

    def __init__(self, channels: int, width: int, pool: bool) -> None:
        self.pool = nn.MaxPool2d(2) if pool else nn.Identity()
        self.conv1, self.conv2 = _convolution(channels, width), _convolution(width, width)
        self.norm1, self.norm2 = _normalisation(width), _normalisation(width)
        self.activation = nn.GELU()

    def forward(self, x: fs.Tensor) -> fs.Tensor:
        x = self.activation(self.norm1(self.pool(self.conv1(x))))
        return self.activation(self.norm2(self.conv2(x)))


class Views(NamedTuple):
    """As what an image is looked at when predicting."""

    flip: bool
    move: bool

    def __call__(self, x: fs.Tensor) -> Iterator[tuple[fs.Tensor, float]]:
        """Images like ``x`` (n, h, w, c), each with its share in the prediction."""
        seen = [(x, 0.5 if self.move else 1.0)]
        if self.move:
            h, w = x.shape[1:3]
            wide = ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), "reflect")
            seen += [(wide[:, i : i + h, i : i + w], 0.25) for i in (0, 2)]
        for image, share in seen:
            if self.flip:
                yield image, share / 2
                yield ops.flip(image, axis=2), share / 2
            else:
                yield image, share


class SpeedrunNet(nn.Layer):
    """The whole network.

    Args:
        shape: (h, w, channels) of the images.
        widths: channels of the blocks.
        classes: how many.
        views: of which a prediction is the mean.
    """

    def __init__(
        self, shape: tuple[int, ...], widths: tuple[int, ...], classes: int, views: Views
    ) -> None:
        self.views = views
        self.whiten = Whiten(shape[2])
        self.activation = nn.GELU()
        self.blocks = []
        side, channels = min(shape[:2]) - 1, self.whiten.out_channels
        for width in widths:
            self.blocks.append(Block(channels, width, pool=side > 1))
            side, channels = max(side // 2, 1), width
        self.pool = nn.GlobalMaxPool()
        self.head = nn.Linear(channels, classes, bias=False)

    def forward(self, x: fs.Tensor) -> fs.Tensor:
        if self.training:
            return self._logits(x)
        parts = [self._logits(view) * share for view, share in self.views(x)]
        return functools.reduce(operator.add, parts)

    def _logits(self, x: fs.Tensor) -> fs.Tensor:
        x = self.activation(self.whiten(x))
        for block in self.blocks:
            x = block(x)
        return self.head(self.pool(x)) * HEAD_SCALE


def _convolution(channels: int, width: int) -> nn.Layer:
    return nn.Conv2d(channels, width, 3, padding=1, bias=False, init=identity_first)


def _normalisation(width: int) -> nn.Layer:
    norm = nn.BatchNorm2d(width, momentum=0.4)
    norm.weight.requires_grad = False  # only its bias is trained
    return norm


def identity_first(shape: tuple[int, ...], key: Any) -> Any:
    """As many outputs as there are inputs pass them on; the further ones start as PyTorch's do."""
    value = np.array(nn.init.fan_in_uniform(math.prod(shape[1:]))(shape, key))
    same = min(shape[0], shape[-1])
    value[:same] = nn.init.dirac()((same, *shape[1:]), key)
    return value
