"""What the built-in layers are checked with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flagstone import nn
from flagstone.testing.layer_samples import LayerSample

TABLE, SIGNAL, IMAGE, VOLUME = (5, 4), (3, 8, 4), (3, 8, 7, 4), (2, 5, 6, 5, 4)


def _some(make: Callable[[], nn.Layer], *shapes: tuple[int, ...]) -> list[LayerSample]:
    return [LayerSample(make, shape) for shape in shapes]


def _in_axes(
    layers: Sequence[Callable[[], nn.Layer]],
) -> list[list[LayerSample]]:
    """One layer for signals, one for images, one for volumes."""
    return [_some(make, shape) for make, shape in zip(layers, (SIGNAL, IMAGE, VOLUME), strict=True)]


_CONV = _in_axes(
    [
        lambda: nn.Conv1d(4, 3, 3, stride=2, padding=1),
        lambda: nn.Conv2d(4, 6, 3, padding="same", groups=2),
        lambda: nn.Conv3d(4, 2, 2, dilation=2),
    ]
)
_CONV[1] += _some(lambda: nn.Conv2d(4, 2, 3, padding=1, padding_mode="reflect"), IMAGE)
_TRANSPOSED = _in_axes(
    [
        lambda: nn.ConvTranspose1d(4, 3, 3, stride=2),
        lambda: nn.ConvTranspose2d(4, 3, 2, stride=2),
        lambda: nn.ConvTranspose3d(4, 2, 2),
    ]
)
_MAX = _in_axes([lambda: nn.MaxPool1d(2), lambda: nn.MaxPool2d(2), lambda: nn.MaxPool3d(2)])
_MEAN = _in_axes([lambda: nn.AvgPool1d(2), lambda: nn.AvgPool2d(3, 2), lambda: nn.AvgPool3d(2)])
_BINS = _in_axes(
    [
        lambda: nn.AdaptiveAvgPool1d(3),
        lambda: nn.AdaptiveAvgPool2d(3),
        lambda: nn.AdaptiveAvgPool3d(2),
    ]
)
_MAX_BINS = _in_axes(
    [
        lambda: nn.AdaptiveMaxPool1d(3),
        lambda: nn.AdaptiveMaxPool2d(3),
        lambda: nn.AdaptiveMaxPool3d(2),
    ]
)

_ACTIVATIONS: dict[str, Callable[[], nn.Layer]] = {
    "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU, "leaky-relu": nn.LeakyReLU,
    "elu": nn.ELU, "softmax": nn.Softmax, "log-softmax": nn.LogSoftmax, "selu": nn.SELU,
    "gelu": nn.GELU, "silu": nn.SiLU, "mish": nn.Mish, "softplus": nn.Softplus,
    "hard-sigmoid": nn.Hardsigmoid, "hard-swish": nn.Hardswish, "identity": nn.Identity,
    "dropout": nn.Dropout,
}  # fmt: skip

LAYER_SAMPLES: dict[str, Sequence[LayerSample]] = {
    **{name: _some(make, TABLE, IMAGE) for name, make in _ACTIVATIONS.items()},
    **{f"conv{i}d": samples for i, samples in enumerate(_CONV, 1)},
    **{f"conv-transpose{i}d": samples for i, samples in enumerate(_TRANSPOSED, 1)},
    **{f"max-pool{i}d": samples for i, samples in enumerate(_MAX, 1)},
    **{f"avg-pool{i}d": samples for i, samples in enumerate(_MEAN, 1)},
    **{f"adaptive-avg-pool{i}d": samples for i, samples in enumerate(_BINS, 1)},
    **{f"adaptive-max-pool{i}d": samples for i, samples in enumerate(_MAX_BINS, 1)},
    "linear": [LayerSample(lambda: nn.Linear(4, 3), TABLE, output=(5, 3))],
    "depthwise-conv2d": _some(lambda: nn.DepthwiseConv2d(4, 3, multiplier=2), IMAGE),
    "separable-conv2d": _some(lambda: nn.SeparableConv2d(4, 3, 3), IMAGE),
    "global-avg-pool": [LayerSample(nn.GlobalAvgPool, IMAGE, output=(3, 4))],
    "global-max-pool": [LayerSample(nn.GlobalMaxPool, IMAGE, output=(3, 4))],
    "upsample": _some(lambda: nn.Upsample(scale_factor=2), IMAGE)
    + _some(lambda: nn.Upsample((3, 9), mode="bilinear"), IMAGE),
    "flatten": [LayerSample(nn.Flatten, IMAGE, output=(3, 224))],
    "batch-norm": _some(lambda: nn.BatchNorm(4), TABLE, IMAGE),
    "batch-norm1d": _some(lambda: nn.BatchNorm1d(4), TABLE, SIGNAL),
    "batch-norm2d": _some(lambda: nn.BatchNorm2d(4), IMAGE),
    "batch-norm3d": _some(lambda: nn.BatchNorm3d(4), VOLUME),
    "layer-norm": _some(lambda: nn.LayerNorm(4), TABLE, IMAGE),
    "rms-norm": _some(lambda: nn.RMSNorm(4), TABLE, IMAGE),
    "group-norm": _some(lambda: nn.GroupNorm(2, 4), IMAGE),
    "instance-norm": _some(lambda: nn.InstanceNorm(4, affine=True), IMAGE),
    "dropout1d": _some(nn.Dropout1d, SIGNAL),
    "dropout2d": _some(nn.Dropout2d, IMAGE),
    "dropout3d": _some(nn.Dropout3d, VOLUME),
    "standardize": _some(lambda: nn.Standardize((4,)), TABLE, IMAGE),
    "normalize": _some(lambda: nn.Normalize([1.0, 0.5, -1.0, 0.0], [2.0, 1.0, 0.5, 1.0]), TABLE),
    "maxout-linear": [LayerSample(lambda: nn.Maxout(4, 3), TABLE, output=(5, 3))],
    "embedding": [LayerSample(lambda: nn.Embedding(7, 3), (5, 2), output=(5, 2, 3), below=7)],
    "sequential": _some(lambda: nn.Sequential(nn.Linear(4, 3), nn.Tanh()), TABLE),
    "residual": _some(lambda: nn.Residual(nn.Linear(4, 4)), TABLE),
    "add": _some(lambda: nn.Add(nn.Linear(4, 3), nn.Linear(4, 3)), TABLE),
    "concat": [
        LayerSample(lambda: nn.Concat(nn.Linear(4, 3), nn.Linear(4, 2)), TABLE, output=(5, 5))
    ],
    "rnn": _some(lambda: nn.RNN(4, 3), SIGNAL),
    "lstm": _some(lambda: nn.LSTM(4, 3), SIGNAL),
    "gru": _some(lambda: nn.GRU(4, 3, num_layers=2), SIGNAL),
    "multihead-attention": _some(lambda: nn.MultiheadAttention(4, 2), SIGNAL),
}
