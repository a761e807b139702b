"""What every layer refuses, in one line that names what was expected and what was given."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn
from flagstone.errors import DTypeError, FlagstoneError, InputError, ShapeError
from flagstone.plugins import LayerSpec, registry

Wrong = tuple[Callable[[], nn.Layer], Any, type[FlagstoneError], str]


def of(*shape: int, dtype: str = "float32") -> np.ndarray:
    return np.ones(shape, dtype)


WRONG: list[Wrong] = [
    (lambda: nn.Linear(3, 2), of(2, 4), ShapeError, "linear: weight expects 3 features.*(2, 4)"),
    (lambda: nn.Linear(3, 2), of(), ShapeError, "linear: weight expects 3 features.*shape ()"),
    (lambda: nn.Linear(3, 2), of(2, 3, dtype="int32"), DTypeError, "linear: x expected.*int32"),
    (lambda: nn.Maxout(3, 2), of(2, 4), ShapeError, "linear: weight expects 3 features.*(2, 4)"),
    (lambda: nn.Conv2d(2, 3, 3), of(2, 4, 4, 3), ShapeError, "conv2d: .*2 input channels.*is 3"),
    (lambda: nn.Conv2d(2, 3, 3), of(2, 4, 4), ShapeError, "conv2d: x expected 4 axes.*(2, 4, 4)"),
    (lambda: nn.Conv2d(2, 3, 3), of(1, 2, 2, 2), ShapeError, "conv2d: .*fits into; got size (2, 2"),
    (lambda: nn.MaxPool2d(2), of(2, 4, 4), ShapeError, "max_pool2d: x expected 4 axes.*(2, 4, 4)"),
    (lambda: nn.MaxPool2d(5), of(2, 4, 4, 1), ShapeError, "max_pool2d: .*fits into; got size (4,"),
    (lambda: nn.AvgPool2d(2), of(2, 4), ShapeError, "avg_pool2d: x expected 4 axes.*(2, 4)"),
    (lambda: nn.AvgPool2d(5), of(2, 4, 4, 1), ShapeError, "avg_pool2d: .*fits into; got size (4,"),
    (lambda: nn.Conv1d(2, 3, 3), of(2, 4, 3), ShapeError, "conv1d: .*2 input channels.*is 3"),
    (lambda: nn.Conv3d(2, 3, 3), of(2, 4, 4, 2), ShapeError, "conv3d: x expected 5 axes.*(2, 4,"),
    (
        lambda: nn.ConvTranspose1d(2, 3, 3), of(2, 4, 3), ShapeError,
        "conv_transpose1d: weight expects 2 input channels.*is 3",
    ),
    (
        lambda: nn.ConvTranspose2d(2, 3, 3), of(2, 4, 3), ShapeError,
        "conv_transpose2d: x expected 4 axes.*(2, 4, 3)",
    ),
    (
        lambda: nn.ConvTranspose3d(1, 1, 1, padding=2), of(1, 2, 2, 2, 1), ShapeError,
        "conv_transpose3d: expected an input of which padding.*leaves something",
    ),
    (lambda: nn.DepthwiseConv2d(2, 3), of(2, 4, 4, 3), ShapeError, "conv2d: .*2 input channels"),
    (lambda: nn.SeparableConv2d(2, 3, 3), of(2, 4, 4, 3), ShapeError, "conv2d: .*2 input channels"),
    (lambda: nn.MaxPool1d(5), of(2, 4, 1), ShapeError, "max_pool1d: .*fits into; got size (4,"),
    (lambda: nn.MaxPool3d(2), of(2, 4, 4, 1), ShapeError, "max_pool3d: x expected 5 axes.*(2, 4"),
    (lambda: nn.AvgPool1d(2), of(2, 4), ShapeError, "avg_pool1d: x expected 3 axes.*(2, 4)"),
    (lambda: nn.AvgPool3d(5), of(1, 4, 4, 4, 1), ShapeError, "avg_pool3d: .*fits into; got size"),
    (nn.GlobalAvgPool, of(2, 4), ShapeError, "global_avg_pool: x expected a batch of images.*(2,"),
    (nn.GlobalMaxPool, of(2, 0, 4), ShapeError, "global_max_pool: x expected.*empty ones.*(2, 0"),
    *(
        (lambda kind=kind: getattr(nn, kind)(1), of(2, 4), ShapeError, f"{kind}: x expected")
        for kind in (
            "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d",
            "AdaptiveMaxPool2d", "AdaptiveMaxPool3d",
        )
    ),
    (lambda: nn.Upsample(2), of(2, 4), ShapeError, "resize: x expected a batch of images.*(2, 4)"),
    (nn.Flatten, of(), ShapeError, "flatten: expected at least 1 ax.*shape ()"),
    (nn.Softmax, of(), InputError, "softmax: axis.*0 axes"),
    (nn.Dropout, of(), ShapeError, "Dropout: x expected at least one axis.*scalar"),
    (nn.Dropout, of(2, 3, dtype="int32"), DTypeError, "dropout: x expected.*int32"),
    (lambda: nn.BatchNorm(3), of(4, 2), ShapeError, "BatchNorm: x expected shape (n, ..., 3).*(4,"),
    (lambda: nn.BatchNorm(3), of(3), ShapeError, "BatchNorm: x expected shape (n, ..., 3).*(3,)"),
    (lambda: nn.BatchNorm(3), of(1, 3), ShapeError, "BatchNorm: training expected more.*(1, 3)"),
    (lambda: nn.Standardize((3,)), of(2, 4), ShapeError, "Standardize: x expected .*3.*(2, 4)"),
    (lambda: nn.Standardize((3,)), of(2, 1), ShapeError, "Standardize: x expected .*3.*(2, 1)"),
    (lambda: nn.Standardize((3,)), of(), ShapeError, "Standardize: x expected .*3.*()"),
    (lambda: nn.Normalize([0.0], [1.0]), of(2, 4), ShapeError, "Normalize: x expected .*1.*(2, 4)"),
    (nn.ReLU, of(2, dtype="int64"), DTypeError, "relu: x expected a floating.*int64"),
    (nn.LeakyReLU, of(2, dtype="int64"), DTypeError, "leaky_relu: x expected a floating.*int64"),
    (nn.ELU, of(2, dtype="int64"), DTypeError, "elu: x expected a floating.*int64"),
    (nn.Sigmoid, of(2, dtype="int64"), DTypeError, "sigmoid: x expected a floating.*int64"),
    (nn.Tanh, of(2, dtype="int64"), DTypeError, "tanh: x expected a floating.*int64"),
    (
        lambda: nn.Sequential(nn.Linear(4, 3), nn.Linear(2, 2)), of(2, 4), ShapeError,
        "linear: weight expects 2 features.*(2, 3)",
    ),
    (nn.LogSoftmax, of(), InputError, "log_softmax: axis.*0 axes"),
    (nn.SELU, of(2, dtype="int64"), DTypeError, "selu: x expected a floating.*int64"),
    (nn.GELU, of(2, dtype="int64"), DTypeError, "gelu: x expected a floating.*int64"),
    (nn.SiLU, of(2, dtype="int64"), DTypeError, "silu: x expected a floating.*int64"),
    (nn.Mish, of(2, dtype="int64"), DTypeError, "mish: x expected a floating.*int64"),
    (nn.Softplus, of(2, dtype="int64"), DTypeError, "softplus: x expected a floating.*int64"),
    (nn.Hardsigmoid, of(2, dtype="int64"), DTypeError, "hard_sigmoid: x expected a float.*int64"),
    (nn.Hardswish, of(2, dtype="int64"), DTypeError, "hard_swish: x expected a floating.*int64"),
    (lambda: nn.LayerNorm(3), of(4, 2), ShapeError, "layer_norm: x expected shape (..., 3).*(4, 2"),
    (lambda: nn.RMSNorm((2, 3)), of(4, 3), ShapeError, "rms_norm: x expected.*(..., 2, 3).*(4, 3)"),
    (lambda: nn.GroupNorm(2, 4), of(2, 5, 2), ShapeError, "GroupNorm: x expected.*4).*(2, 5, 2)"),
    (lambda: nn.GroupNorm(2, 4), of(4), ShapeError, "GroupNorm: x expected shape (n, ..., 4).*(4,"),
    (lambda: nn.GroupNorm(2, 2), of(5, 2), ShapeError, "group_norm: expected more than one.*(5, 2"),
    (lambda: nn.InstanceNorm(4), of(2, 5, 2), ShapeError, "InstanceNorm: x expected.*4).*(2, 5, 2"),
    (lambda: nn.InstanceNorm(4), of(2, 4), ShapeError, "instance_norm: x expected (n, ....*(2, 4)"),
    (lambda: nn.BatchNorm1d(3), of(2, 2, 2, 3), ShapeError, "BatchNorm1d: x expected 2 or 3 axes"),
    (lambda: nn.BatchNorm2d(3), of(4, 3), ShapeError, "BatchNorm2d: x expected 4 axes; got (4, 3)"),
    (lambda: nn.BatchNorm3d(3), of(4, 3), ShapeError, "BatchNorm3d: x expected 5 axes; got (4, 3)"),
    (nn.Dropout1d, of(4, 3), ShapeError, "Dropout1d: x expected 3 axes (n, length, chan.*(4, 3"),
    (nn.Dropout2d, of(4, 3), ShapeError, "Dropout2d: x expected 4 axes (n, h, w, channels).*(4, 3"),
    (nn.Dropout3d, of(4, 3), ShapeError, "Dropout3d: x expected 5 axes (n, d, h, w, ch.*got (4, 3"),
    (lambda: nn.Embedding(3, 2), of(4), DTypeError, "embedding: index expected integers.*float32"),
    (
        lambda: nn.Embedding(3, 2), of(4, dtype="int64") + 2, InputError,
        "embedding: index expected numbers from 0 to 2; got",
    ),
    (
        lambda: nn.Sequential(nn.Identity(), nn.Linear(2, 2)), of(4, 3), ShapeError,
        "linear: weight expects 2 features",
    ),
    (
        lambda: nn.Residual(nn.Linear(3, 1)), of(2, 3), ShapeError,
        "Residual: expected branches that give one shape; got (2, 3) and (2, 1)",
    ),
    (
        lambda: nn.Add(nn.Linear(3, 1), nn.Identity()), of(2, 3), ShapeError,
        "Add: expected branches that give one shape; got (2, 1) and (2, 3)",
    ),
    (
        lambda: nn.Concat(nn.Identity(), nn.Identity(), axis=2), of(2, 3), InputError,
        "concatenate: axis expected integers from -2 to 1",
    ),
    (lambda: nn.RNN(3, 2), of(4, 3), ShapeError, "RNN: x expected shape (n, time, 3).*got (4, 3)"),
    (lambda: nn.LSTM(3, 2), of(4, 0, 3), ShapeError, "LSTM: x expected.*time >= 1; got (4, 0, 3)"),
    (lambda: nn.GRU(3, 2), of(4, 5, 2), ShapeError, "GRU: x expected.*time, 3).*got (4, 5, 2)"),
    (
        lambda: nn.MultiheadAttention(4, 2), of(2, 3), ShapeError,
        "MultiheadAttention: query expected shape (n, time, 4); got (2, 3)",
    ),
]  # fmt: skip
TAKES_ANYTHING = {nn.Identity}


def as_pattern(text: str) -> str:
    """``.*`` is anything; everything else is meant as it stands."""
    return ".*".join(re.escape(part) for part in text.split(".*"))


@pytest.mark.parametrize(("make", "x", "error", "message"), WRONG)
def test_a_wrong_input_is_refused_in_one_line(
    make: Callable[[], nn.Layer], x: Any, error: type[FlagstoneError], message: str
) -> None:
    layer = make()
    with pytest.raises(error, match=as_pattern(message)) as caught:
        layer(fs.tensor(x))
    assert "\n" not in str(caught.value)


# That nothing escapes the table


def missing_rows() -> list[str]:
    """The registered layers of the framework, and of this file, that no row makes."""
    covered = {type(make()) for make, *_ in WRONG} | TAKES_ANYTHING
    loaded = {name: registry.load("layer", name) for name in registry.names("layer")}
    ours = {
        name: c for name, c in loaded.items() if c.__module__.startswith(("flagstone.", "test"))
    }
    return sorted(name for name, c in ours.items() if c not in covered)


def test_every_registered_layer_has_a_row() -> None:
    assert missing_rows() == []


class PlantedLayer(nn.Layer):
    """A layer that no row makes."""


def test_a_layer_without_a_row_is_found(planted: Any) -> None:
    with planted(LayerSpec("planted", f"{__name__}:PlantedLayer")):
        assert missing_rows() == ["planted"]
    assert missing_rows() == []


@pytest.mark.parametrize("given", [np.ones((2, 2), np.float32), [1.0], None])
@pytest.mark.parametrize("called_before", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Linear(2, 2), lambda: nn.BatchNorm(2), lambda: nn.Conv2d(2, 2, 1), nn.ReLU,
        nn.Flatten, nn.Dropout, lambda: nn.MaxPool2d(1), lambda: nn.Standardize((2,)), nn.Softmax,
        lambda: nn.Maxout(2, 2), lambda: nn.AvgPool2d(1), nn.Sigmoid, nn.Tanh, nn.ELU, nn.LeakyReLU,
        lambda: nn.Sequential(nn.Linear(2, 2)), nn.Identity, nn.GELU, nn.SELU, nn.SiLU, nn.Mish,
        nn.Softplus, lambda: nn.Softplus(2.0), nn.Hardsigmoid, nn.Hardswish, nn.LogSoftmax,
        lambda: nn.LayerNorm(2), lambda: nn.RMSNorm(2), lambda: nn.GroupNorm(1, 2),
        lambda: nn.InstanceNorm(2), lambda: nn.BatchNorm2d(2), nn.Dropout1d, nn.Dropout2d,
        nn.Dropout3d, lambda: nn.Embedding(2, 2), lambda: nn.Residual(nn.ReLU()),
        lambda: nn.Add(nn.ReLU()), lambda: nn.Concat(nn.ReLU()),
    ],
)  # fmt: skip
def test_what_is_no_tensor_is_refused(
    make: Callable[[], nn.Layer], called_before: bool, given: Any
) -> None:
    layer = make()
    if called_before:
        layer.initialize()
    with pytest.raises(FlagstoneError, match=r"expected (a|one) Tensor") as caught:
        layer(given)
    assert "flagstone.tensor(...)" in str(caught.value)


BAD_ARGUMENTS: list[tuple[Callable[[], Any], str]] = [
    (lambda: nn.Linear(0, 2), "Linear: in_features expected a positive integer; got 0"),
    (lambda: nn.Linear(2, 2.0), "Linear: out_features expected a positive integer; got 2.0"),
    (lambda: nn.Linear(True, 2), "Linear: in_features expected a positive integer; got True"),
    (lambda: nn.Maxout(2, 2, 0), "Maxout: pieces expected a positive integer; got 0"),
    (lambda: nn.Maxout(2, -1), "Maxout: out_features expected a positive integer; got -1"),
    (lambda: nn.Conv2d(2, 0, 3), "Conv2d: out_channels expected a positive integer; got 0"),
    (lambda: nn.Conv2d(2, 2, 0), "Conv2d: kernel_size expected a positive integer or 2 of them"),
    (lambda: nn.Conv2d(2, 2, (3, 3, 3)), "Conv2d: kernel_size expected a positive integer or 2"),
    (
        lambda: nn.Conv2d(3, 4, 3, groups=2),
        "Conv2d: groups expected a divisor of in_channels=3 and out_channels=4; got 2",
    ),
    (lambda: nn.Conv2d(4, 4, 3, groups=0), "Conv2d: groups expected a positive integer; got 0"),
    (lambda: nn.Conv1d(2, 2, (3, 3)), "Conv1d: kernel_size expected a positive integer or 1 of"),
    (
        lambda: nn.ConvTranspose3d(3, 4, 3, groups=2),
        "ConvTranspose3d: groups expected a divisor of in_channels=3 and out_channels=4; got 2",
    ),
    (lambda: nn.DepthwiseConv2d(2, 3, multiplier=0), "DepthwiseConv2d: multiplier expected a pos"),
    (lambda: nn.SeparableConv2d(2, 0, 3), "SeparableConv2d: out_channels expected a positive int"),
    (lambda: nn.Upsample(), "Upsample: expected either size or scale_factor; got size=None"),
    (lambda: nn.Upsample(2, mode="cubic"), "Upsample: mode expected one of nearest, nearest-exact"),
    (lambda: nn.BatchNorm(0), "BatchNorm: num_features expected a positive integer; got 0"),
    (lambda: nn.BatchNorm(2, momentum=0), "BatchNorm: momentum expected a number in (0, 1]; got 0"),
    (lambda: nn.BatchNorm(2, momentum="a"), "BatchNorm: momentum expected a number in (0, 1]"),
    (lambda: nn.BatchNorm(2, eps=-1), "BatchNorm: eps expected a finite number > 0; got -1"),
    (lambda: nn.Dropout(1.0), "Dropout: p expected a probability in [0, 1); got 1.0"),
    (lambda: nn.Dropout(-0.1), "Dropout: p expected a probability in [0, 1); got -0.1"),
    (lambda: nn.Dropout(float("nan")), "Dropout: p expected a probability in [0, 1); got nan"),
    (lambda: nn.Dropout("half"), "Dropout: p expected a probability in [0, 1); got 'half'"),
    (
        lambda: nn.LeakyReLU("small"),
        "LeakyReLU: negative_slope expected a finite number; got 'small'",
    ),
    (lambda: nn.ELU(None), "ELU: alpha expected a finite number; got None"),
    (lambda: nn.Sequential(nn.ReLU(), 3), "Sequential: argument 1 expected a Layer; got int"),
    (lambda: nn.Sequential([nn.ReLU()]), "Sequential: argument 0 expected a Layer; got list"),
    (lambda: nn.GELU("erf"), "GELU: approximate expected 'none' or 'tanh'; got 'erf'"),
    (lambda: nn.Softplus(0), "Softplus: beta expected a finite number > 0; got 0"),
    (lambda: nn.LayerNorm(0), "LayerNorm: normalized_shape expected a positive integer or a tuple"),
    (lambda: nn.LayerNorm(()), "LayerNorm: normalized_shape expected a positive integer or a"),
    (lambda: nn.LayerNorm((2, 2.0)), "LayerNorm: normalized_shape expected a positive integer"),
    (lambda: nn.LayerNorm(2, eps=-1), "LayerNorm: eps expected a finite number >= 0; got -1"),
    (lambda: nn.RMSNorm(2, eps="a"), "RMSNorm: eps expected a finite number >= 0; got 'a'"),
    (
        lambda: nn.GroupNorm(4, 6),
        "GroupNorm: num_groups expected a divisor of num_channels=6; got 4",
    ),
    (lambda: nn.GroupNorm(0, 6), "GroupNorm: num_groups expected a positive integer; got 0"),
    (lambda: nn.InstanceNorm(-1), "InstanceNorm: num_features expected a positive integer; got -1"),
    (lambda: nn.Dropout2d(1.5), "Dropout2d: p expected a probability in [0, 1); got 1.5"),
    (lambda: nn.Embedding(0, 2), "Embedding: num_embeddings expected a positive integer; got 0"),
    (lambda: nn.Embedding(3, 2, 3), "Embedding: padding_idx expected a row from -3 to 2; got 3"),
    (lambda: nn.Embedding(3, 2, 1.0), "Embedding: padding_idx expected an integer; got 1.0"),
    (lambda: nn.Residual("relu"), "Residual: inner expected a Layer; got str"),
    (lambda: nn.Residual(nn.ReLU(), 1), "Residual: shortcut expected a Layer; got int"),
    (nn.Add, "Add: expected at least one Layer; got none"),
    (lambda: nn.Concat(nn.ReLU(), 3), "Concat: argument 1 expected a Layer; got int"),
]


@pytest.mark.parametrize(("make", "message"), BAD_ARGUMENTS)
def test_a_bad_argument_is_named(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        make()


@pytest.mark.parametrize(
    ("layer", "shape", "out"),
    [
        (nn.Linear(3, 7), (0, 3), (0, 7)),
        (nn.Linear(3, 7), (3,), (7,)),
        (nn.Maxout(3, 5, 4), (2, 3), (2, 5)),
        (nn.Conv2d(1, 2, 3, 2, "same"), (1, 5, 6, 1), (1, 3, 3, 2)),
        (nn.Conv2d(1, 2, 3, padding=((1, 0), (0, 2))), (1, 4, 4, 1), (1, 3, 4, 2)),
        (nn.MaxPool2d(2, padding="same"), (1, 7, 7, 2), (1, 4, 4, 2)),
        (nn.AvgPool2d((1, 2)), (1, 3, 4, 1), (1, 3, 2, 1)),
        (nn.Flatten(), (2, 3, 4, 5), (2, 60)),
        (nn.Flatten(), (2,), (2, 1)),
        (nn.Flatten(), (0, 3, 2), (0, 6)),
        (nn.Standardize((3,)), (2, 5, 5, 3), (2, 5, 5, 3)),
        (nn.BatchNorm(3), (2, 4, 3), (2, 4, 3)),
        (nn.BatchNorm1d(3), (2, 4, 3), (2, 4, 3)),
        (nn.BatchNorm3d(3), (2, 1, 2, 2, 3), (2, 1, 2, 2, 3)),
        (nn.LayerNorm(3), (0, 3), (0, 3)),
        (nn.GroupNorm(1, 2), (0, 2, 2), (0, 2, 2)),
        (nn.Dropout2d(), (0, 2, 2, 3), (0, 2, 2, 3)),
        (nn.Dropout3d(), (1, 2, 2, 2, 3), (1, 2, 2, 2, 3)),
        (nn.Residual(nn.Linear(3, 2), nn.Linear(3, 2)), (4, 3), (4, 2)),
        (nn.Add(nn.Linear(3, 2), nn.Linear(3, 2), nn.Linear(3, 2)), (4, 3), (4, 2)),
        (nn.Concat(nn.Identity(), nn.Linear(3, 2)), (4, 3), (4, 5)),
        (nn.Concat(nn.Identity(), nn.ReLU(), axis=0), (4, 3), (8, 3)),
    ],
)  # fmt: skip
def test_output_shapes(layer: nn.Layer, shape: tuple[int, ...], out: tuple[int, ...]) -> None:
    assert layer(fs.tensor(np.zeros(shape, np.float32))).shape == out
