"""Wrong calls of convolutions, pools and layers: what PyTorch refuses, ours refuse and say why."""

# Wrong types are what is tested
# mypy: disable-error-code="arg-type, list-item, call-overload, func-returns-value, call-arg"

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn, ops
from flagstone.errors import InputError

torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
F, tn = torch.nn.functional, torch.nn


def o(*shape: int, d: str = "float32") -> fs.Tensor:
    return fs.tensor(np.ones(shape, d))


def p(*shape: int, d: str = "float32") -> Any:
    return torch.ones(shape, dtype=getattr(torch, d))


def oi(*values: int) -> fs.Tensor:
    return fs.tensor(np.array(values, np.int64))


def pi(*values: int) -> Any:
    return torch.tensor(values, dtype=torch.int64)


def ol() -> nn.Layer:
    return nn.Linear(2, 2).initialize(0)


# What is refused: words of our message before "got", our call, PyTorch's
WRONG: dict[str, Any] = {
    "conv2d channels": (
        "weight expect", lambda: ops.conv2d(o(1, 4, 4, 3), o(2, 3, 3, 2)),
        lambda: F.conv2d(p(1, 3, 4, 4), p(2, 2, 3, 3)),
    ),
    "conv2d groups": (
        "groups expect", lambda: ops.conv2d(o(1, 4, 4, 4), o(3, 3, 3, 2), groups=2),
        lambda: F.conv2d(p(1, 4, 4, 4), p(3, 2, 3, 3), groups=2),
    ),
    "conv2d groups 0": (
        "groups expect", lambda: ops.conv2d(o(1, 4, 4, 4), o(3, 3, 3, 4), groups=0),
        lambda: F.conv2d(p(1, 4, 4, 4), p(3, 4, 3, 3), groups=0),
    ),
    "conv2d kernel": (
        "an input that the window fits", lambda: ops.conv2d(o(1, 4, 4, 1), o(1, 5, 5, 1)),
        lambda: F.conv2d(p(1, 1, 4, 4), p(1, 1, 5, 5)),
    ),
    "conv2d stride": (
        "stride expect", lambda: ops.conv2d(o(1, 4, 4, 1), o(1, 3, 3, 1), stride=0),
        lambda: F.conv2d(p(1, 1, 4, 4), p(1, 1, 3, 3), stride=0),
    ),
    "conv2d strides": (
        "stride expect", lambda: ops.conv2d(o(1, 4, 4, 1), o(1, 3, 3, 1), stride=(1, 1, 1)),
        lambda: F.conv2d(p(1, 1, 4, 4), p(1, 1, 3, 3), stride=(1, 1, 1)),
    ),
    "conv2d stride float": (
        "stride expect", lambda: ops.conv2d(o(1, 4, 4, 1), o(1, 3, 3, 1), stride=1.5),
        lambda: F.conv2d(p(1, 1, 4, 4), p(1, 1, 3, 3), stride=1.5),
    ),
    "conv2d padding": (
        "padding expect", lambda: ops.conv2d(o(1, 4, 4, 1), o(1, 3, 3, 1), padding=-1),
        lambda: F.conv2d(p(1, 1, 4, 4), p(1, 1, 3, 3), padding=-1),
    ),
    "conv2d padding word": (
        "padding expect", lambda: ops.conv2d(o(1, 4, 4, 1), o(1, 3, 3, 1), padding="full"),
        lambda: F.conv2d(p(1, 1, 4, 4), p(1, 1, 3, 3), padding="full"),
    ),
    "conv2d dilation": (
        "dilation expect", lambda: ops.conv2d(o(1, 4, 4, 1), o(1, 3, 3, 1), dilation=0),
        lambda: F.conv2d(p(1, 1, 4, 4), p(1, 1, 3, 3), dilation=0),
    ),
    "conv2d bias": (
        "bias expect", lambda: ops.conv2d(o(1, 4, 4, 1), o(2, 3, 3, 1), o(3)),
        lambda: F.conv2d(p(1, 1, 4, 4), p(2, 1, 3, 3), p(3)),
    ),
    "conv2d dtypes": (
        "one dtype", lambda: ops.conv2d(o(1, 4, 4, 1), o(2, 3, 3, 1, d="float64")),
        lambda: F.conv2d(p(1, 1, 4, 4), p(2, 1, 3, 3, d="float64")),
    ),
    "conv2d axes": (
        "x expect", lambda: ops.conv2d(o(4, 1), o(2, 3, 3, 1)),
        lambda: F.conv2d(p(4, 1), p(2, 1, 3, 3)),
    ),
    "conv2d no channels out": (
        "weight expect", lambda: ops.conv2d(o(1, 4, 4, 1), o(2, 3, 1)),
        lambda: F.conv2d(p(1, 1, 4, 4), p(2, 3, 1)),
    ),
    "transposed output_padding": (
        "output_padding expect",
        lambda: ops.conv_transpose2d(o(1, 4, 4, 1), o(1, 3, 3, 1), stride=2, output_padding=2),
        lambda: F.conv_transpose2d(p(1, 1, 4, 4), p(1, 1, 3, 3), stride=2, output_padding=2),
    ),
    "transposed channels": (
        "weight expect", lambda: ops.conv_transpose2d(o(1, 4, 4, 3), o(2, 3, 3, 2)),
        lambda: F.conv_transpose2d(p(1, 3, 4, 4), p(2, 2, 3, 3)),
    ),
    "transposed groups": (
        "groups expect", lambda: ops.conv_transpose2d(o(1, 4, 4, 3), o(3, 3, 3, 2), groups=2),
        lambda: F.conv_transpose2d(p(1, 3, 4, 4), p(3, 2, 3, 3), groups=2),
    ),
    "max pool kernel": (
        "an input that the window fits", lambda: ops.max_pool2d(o(1, 4, 4, 1), 5),
        lambda: F.max_pool2d(p(1, 1, 4, 4), 5),
    ),
    "max pool padding": (
        "padding expect", lambda: ops.max_pool2d(o(1, 4, 4, 1), 2, padding=2),
        lambda: F.max_pool2d(p(1, 1, 4, 4), 2, padding=2),
    ),
    "max pool stride": (
        "stride expect", lambda: ops.max_pool2d(o(1, 4, 4, 1), 2, stride=0),
        lambda: F.max_pool2d(p(1, 1, 4, 4), 2, stride=0),
    ),
    "max pool kernel 0": (
        "kernel expect", lambda: ops.max_pool2d(o(1, 4, 4, 1), 0),
        lambda: F.max_pool2d(p(1, 1, 4, 4), 0),
    ),
    "max pool axes": (
        "x expect", lambda: ops.max_pool2d(o(4, 4), 2), lambda: F.max_pool2d(p(4, 4), 2),
    ),
    "avg pool kernel": (
        "an input that the window fits", lambda: ops.avg_pool2d(o(1, 4, 4, 1), 5),
        lambda: F.avg_pool2d(p(1, 1, 4, 4), 5),
    ),
    "avg pool padding": (
        "padding expect", lambda: ops.avg_pool2d(o(1, 4, 4, 1), 2, padding=2),
        lambda: F.avg_pool2d(p(1, 1, 4, 4), 2, padding=2),
    ),
    "avg pool of integers": (
        "x expect", lambda: ops.avg_pool2d(fs.tensor(np.ones((1, 4, 4, 1), bool)), 2),
        lambda: F.avg_pool2d(torch.ones((1, 1, 4, 4), dtype=torch.bool), 2),
    ),
    "adaptive pool size": (
        "size expect", lambda: ops.adaptive_avg_pool(o(1, 4, 4, 1), (2, 2, 2)),
        lambda: F.adaptive_avg_pool2d(p(1, 1, 4, 4), (2, 2, 2)),
    ),
    "adaptive pool negative": (
        "size expect", lambda: ops.adaptive_avg_pool(o(1, 4, 4, 1), -1),
        lambda: F.adaptive_avg_pool2d(p(1, 1, 4, 4), -1),
    ),
    "resize nothing": (
        "either size or scale_factor", lambda: ops.resize(o(1, 4, 4, 1)),
        lambda: F.interpolate(p(1, 1, 4, 4)),
    ),
    "resize mode": (
        "mode expect", lambda: ops.resize(o(1, 4, 4, 1), 2, mode="cubic"),
        lambda: F.interpolate(p(1, 1, 4, 4), 2, mode="cubic"),
    ),
    "resize size 0": (
        "size expect", lambda: ops.resize(o(1, 4, 4, 1), 0),
        lambda: F.interpolate(p(1, 1, 4, 4), 0),
    ),
    "batch norm weight": (
        "with weight and bias", lambda: ops.batch_norm(o(4, 3), o(2), o(2), eps=1e-05),
        lambda: F.batch_norm(p(4, 3), None, None, p(2), p(2), training=True),
    ),
    "batch norm one value": (
        "training expect", lambda: nn.BatchNorm1d(3).initialize(0)(o(1, 3)),
        lambda: tn.BatchNorm1d(3)(p(1, 3)),
    ),
    "batch norm features": (
        "x expect", lambda: nn.BatchNorm1d(3).initialize(0)(o(4, 2)),
        lambda: tn.BatchNorm1d(3)(p(4, 2)),
    ),
    "batch norm axes": (
        "x expect", lambda: nn.BatchNorm2d(3).initialize(0)(o(4, 3)),
        lambda: tn.BatchNorm2d(3)(p(4, 3)),
    ),
    "layer norm shape": (
        "x expect", lambda: ops.layer_norm(o(4, 3), 1, o(2), o(2)),
        lambda: F.layer_norm(p(4, 3), (2,), p(2), p(2)),
    ),
    "layer norm layer": (
        "x expect", lambda: nn.LayerNorm(2).initialize(0)(o(4, 3)),
        lambda: tn.LayerNorm(2)(p(4, 3)),
    ),
    "rms norm layer": (
        "x expect", lambda: nn.RMSNorm(2).initialize(0)(o(4, 3)), lambda: tn.RMSNorm(2)(p(4, 3)),
    ),
    "group norm groups": (
        "num_groups expect", lambda: nn.GroupNorm(2, 3), lambda: tn.GroupNorm(2, 3),
    ),
    "group norm channels": (
        "x expect", lambda: nn.GroupNorm(2, 4).initialize(0)(o(2, 5, 6)),
        lambda: tn.GroupNorm(2, 4)(p(2, 6, 5)),
    ),
    "instance norm one value": (
        "x expect", lambda: nn.InstanceNorm(3).initialize(0)(o(2, 1, 3)),
        lambda: tn.InstanceNorm1d(3)(p(2, 3, 1)),
    ),
    "instance norm axes": (
        "x expect", lambda: nn.InstanceNorm(3).initialize(0)(o(3)),
        lambda: tn.InstanceNorm2d(3)(p(3)),
    ),
    "embedding floats": (
        "index expect", lambda: ops.embedding(o(2), o(4, 3)), lambda: F.embedding(p(2), p(4, 3)),
    ),
    "embedding table": (
        "weight expect", lambda: ops.embedding(oi(0), o(4)), lambda: F.embedding(pi(0), p(4)),
    ),
    "embedding layer floats": (
        "index expect", lambda: nn.Embedding(4, 3).initialize(0)(o(2)),
        lambda: tn.Embedding(4, 3)(p(2)),
    ),
    "dropout p": ("p expect", lambda: nn.Dropout(1.5), lambda: tn.Dropout(1.5)),
    "dropout negative": ("p expect", lambda: nn.Dropout(-0.1), lambda: tn.Dropout(-0.1)),
    "dropout2d p": ("p expect", lambda: nn.Dropout2d(2.0), lambda: tn.Dropout2d(2.0)),
    "linear features": (
        "weight expect", lambda: ops.linear(o(2, 3), o(4, 2)), lambda: F.linear(p(2, 3), p(4, 2)),
    ),
    "linear bias": (
        "bias expect", lambda: ops.linear(o(2, 3), o(4, 3), o(3)),
        lambda: F.linear(p(2, 3), p(4, 3), p(3)),
    ),
    "linear dtypes": (
        "one dtype", lambda: ops.linear(o(2, 3), o(4, 3, d="float64")),
        lambda: F.linear(p(2, 3), p(4, 3, d="float64")),
    ),
    "linear layer features": (
        "weight expect", lambda: nn.Linear(3, 2).initialize(0)(o(2, 4)),
        lambda: tn.Linear(3, 2)(p(2, 4)),
    ),
    "linear layer negative": (
        "in_features expect", lambda: nn.Linear(-1, 2), lambda: tn.Linear(-1, 2),
    ),
    "linear layer integers": (
        "x expect", lambda: nn.Linear(3, 2).initialize(0)(fs.tensor(np.ones((2, 3), np.int64))),
        lambda: tn.Linear(3, 2)(torch.ones(2, 3, dtype=torch.int64)),
    ),
    "conv layer groups": (
        "groups expect", lambda: nn.Conv2d(3, 4, 3, groups=2), lambda: tn.Conv2d(3, 4, 3, groups=2),
    ),
    "conv layer out groups": (
        "groups expect", lambda: nn.Conv2d(4, 3, 3, groups=2), lambda: tn.Conv2d(4, 3, 3, groups=2),
    ),
    "conv layer groups 0": (
        "groups expect", lambda: nn.Conv2d(4, 4, 3, groups=0), lambda: tn.Conv2d(4, 4, 3, groups=0),
    ),
    "conv layer padding word": (
        "padding expect", lambda: nn.Conv2d(3, 4, 3, padding="full"),
        lambda: tn.Conv2d(3, 4, 3, padding="full"),
    ),
    "conv layer channels": (
        "weight expect", lambda: nn.Conv2d(3, 4, 3).initialize(0)(o(1, 5, 5, 2)),
        lambda: tn.Conv2d(3, 4, 3)(p(1, 2, 5, 5)),
    ),
    "conv layer axes": (
        "x expect", lambda: nn.Conv2d(3, 4, 3).initialize(0)(o(3, 5)),
        lambda: tn.Conv2d(3, 4, 3)(p(3, 5)),
    ),
    "max pool layer kernel": (
        "an input that the window fits", lambda: nn.MaxPool2d(5).initialize(0)(o(1, 4, 4, 1)),
        lambda: tn.MaxPool2d(5)(p(1, 1, 4, 4)),
    ),
    "lstm features": (
        "x expect", lambda: nn.LSTM(3, 4).initialize(0)(o(2, 5, 2)),
        lambda: tn.LSTM(3, 4, batch_first=True)(p(2, 5, 2)),
    ),
    "lstm hidden 0": ("hidden_size expect", lambda: nn.LSTM(3, 0), lambda: tn.LSTM(3, 0)),
    "rnn nonlinearity": (
        "nonlinearity expect", lambda: nn.RNN(3, 4, nonlinearity="gelu"),
        lambda: tn.RNN(3, 4, nonlinearity="gelu"),
    ),
    "gru axes": ("x expect", lambda: nn.GRU(3, 4).initialize(0)(o(5)), lambda: tn.GRU(3, 4)(p(5))),
    "attention heads": (
        "num_heads expect", lambda: nn.MultiheadAttention(5, 2),
        lambda: tn.MultiheadAttention(5, 2),
    ),
    "attention features": (
        "query expect",
        lambda: nn.MultiheadAttention(4, 2).initialize(0)(o(2, 3, 5), o(2, 3, 5), o(2, 3, 5)),
        lambda: tn.MultiheadAttention(4, 2, batch_first=True)(p(2, 3, 5), p(2, 3, 5), p(2, 3, 5)),
    ),
    "sequential of text": (
        "argument 0", lambda: nn.Sequential("relu"), lambda: tn.Sequential("relu"),
    ),
    "softmax layer dim": (
        "axis expect", lambda: nn.Softmax(2).initialize(0)(o(2, 3)), lambda: tn.Softmax(2)(p(2, 3)),
    ),
    "embedding negative": (
        "num_embeddings expect", lambda: nn.Embedding(-1, 3), lambda: tn.Embedding(-1, 3),
    ),
    "embedding padding_idx": (
        "padding_idx expect", lambda: nn.Embedding(4, 3, padding_idx=5),
        lambda: tn.Embedding(4, 3, padding_idx=5),
    ),
    "upsample mode": (
        "mode expect", lambda: nn.Upsample(2, mode="cubic").initialize(0)(o(1, 4, 4, 1)),
        lambda: tn.Upsample(2, mode="cubic")(p(1, 1, 4, 4)),
    ),
    "gelu approximate": (
        "approximate expect", lambda: nn.GELU("fast"), lambda: tn.GELU("fast")(p(2)),
    ),
    "load shape": (
        "weight expect",
        lambda: ol().load_state_dict({"weight": np.ones((3, 2)), "bias": np.ones(2)}),
        lambda: tn.Linear(2, 2).load_state_dict({"weight": p(3, 2), "bias": p(2)}),
    ),
}  # fmt: skip


@pytest.mark.parametrize("call", WRONG)
def test_what_pytorch_refuses_we_refuse_and_say_why(call: str, refused: Any) -> None:
    refused(*WRONG[call])


# What PyTorch refuses and we take, on purpose: our call, PyTorch's, what ours gives, why
TAKEN: dict[str, Any] = {
    "padding='same' with a stride": (
        lambda: ops.conv2d(o(1, 5, 5, 1), o(1, 3, 3, 1), padding="same", stride=2),
        lambda: F.conv2d(p(1, 1, 5, 5), p(1, 1, 3, 3), padding="same", stride=2),
        (1, 3, 3, 1), "as in TensorFlow and ONNX, n / stride outputs, rounded up",
    ),
    "its layer": (
        lambda: nn.Conv2d(1, 1, 3, padding="same", stride=2).initialize(0)(o(1, 5, 5, 1)),
        lambda: tn.Conv2d(1, 1, 3, padding="same", stride=2), (1, 3, 3, 1), "the same",
    ),
    "flattening a batch of numbers": (
        lambda: ops.flatten(o(4)), lambda: torch.flatten(p(4), 1), (4, 1),
        "each example becomes a vector of one value, so one code does for every shape",
    ),
}  # fmt: skip


@pytest.mark.parametrize("call", TAKEN)
def test_what_only_we_take(call: str) -> None:
    ours, theirs, shape, why = TAKEN[call]
    with pytest.raises((ValueError, RuntimeError, IndexError)):
        theirs()
    assert ours().shape == shape, why


def test_names_that_a_state_lacks_or_has_too_many() -> None:
    whole = ol().state_dict()
    for state, words in (
        ({}, "missing: bias, weight"),
        ({**whole, "more": o(1)}, "unexpected: more"),
    ):
        with pytest.raises(InputError, match=f"load_state_dict: .*{words}"):
            ol().load_state_dict(state)
        with pytest.raises(RuntimeError):
            tn.Linear(2, 2).load_state_dict({k: p(*np.shape(v)) for k, v in state.items()})
