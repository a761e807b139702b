"""What people expect of such a framework is there, by the names they expect, and documented."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from flagstone import nn, ops, optim
from flagstone.plugins import registry
from flagstone.testing import OP_TABLE

OPS = """
    add subtract multiply divide negative equal not_equal less less_equal greater greater_equal
    power exp log log1p expm1 sqrt rsqrt abs clip maximum minimum where
    sum mean var max min prod logsumexp argmax cumsum matmul einsum outer
    reshape transpose concatenate stack split pad broadcast_to flip getitem take gather scatter_add
    sigmoid tanh relu leaky_relu elu selu gelu gelu_exact gelu_tanh silu softplus hard_sigmoid
    hard_swish maxout softmax log_softmax
    conv conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d
    max_pool max_pool1d max_pool2d max_pool3d avg_pool avg_pool1d avg_pool2d avg_pool3d
    global_avg_pool global_max_pool adaptive_avg_pool adaptive_max_pool
    batch_norm layer_norm group_norm instance_norm rms_norm
    dropout channel_dropout embedding resize
"""

LAYERS = """
    Linear Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d DepthwiseConv2d
    SeparableConv2d MaxPool1d MaxPool2d MaxPool3d AvgPool1d AvgPool2d AvgPool3d GlobalAvgPool
    GlobalMaxPool AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d
    BatchNorm1d BatchNorm2d BatchNorm3d LayerNorm GroupNorm InstanceNorm RMSNorm Normalize
    Sigmoid Tanh ReLU LeakyReLU ELU SELU GELU SiLU Softplus Hardsigmoid Hardswish Maxout Softmax
    LogSoftmax Dropout Dropout1d Dropout2d Dropout3d Embedding Flatten Residual Add Concat
    Sequential RNN LSTM GRU MultiheadAttention Upsample
"""

INITIALISERS = """
    zeros ones constant normal truncated_normal uniform xavier_uniform xavier_normal kaiming_uniform
    kaiming_normal orthogonal dirac
"""

REGISTERED = {
    "loss": """mse mae huber smooth-l1 log-cosh quantile poisson-nll binary-cross-entropy
        cross-entropy focal binary-focal hinge kl-divergence cosine-similarity cosine-embedding
        triplet-margin""",
    "optimizer": """sgd adam adamw nadam radam adamax rmsprop adagrad adadelta lion lamb muon lbfgs
        lookahead""",
    "schedule": """step multi-step exponential polynomial cosine cosine-restarts one-cycle
        triangular linear reduce-on-plateau sequential product""",
    "augmentation": "flip crop translate cutout mixup cutmix",
    "model": """linear logistic softmax mlp mlp-regressor cnn lenet resnet speedrun ensemble kmeans
        pca""",
}

OPTIONS: dict[str, tuple[Any, str]] = {
    "convolution": (ops.conv2d, "stride padding dilation groups"),
    "max pooling": (ops.max_pool2d, "stride padding dilation ceil_mode"),
    "average pooling": (ops.avg_pool2d, "stride padding ceil_mode count_include_pad"),
    "SGD": (optim.SGD, "momentum nesterov dampening weight_decay groups clip_norm clip_value"),
    "binary cross-entropy": (registry.load("loss", "binary-cross-entropy"), "pos_weight"),
    "cross-entropy": (
        registry.load("loss", "cross-entropy"), "label_smoothing weight ignore_index",
    ),
    "Kaiming's": (nn.init.kaiming_uniform, "gain mode"),
    "Xavier's": (nn.init.xavier_normal, "gain"),
}  # fmt: skip


def test_ops() -> None:
    """Each with its row in the table."""
    for name in OPS.split():
        assert getattr(ops, name).__doc__, name
        assert name in OP_TABLE


def test_layers() -> None:
    """Each registered, so that the suite of layers holds it to its contract."""
    registered = {registry.load("layer", name) for name in registry.names("layer")}
    for name in LAYERS.split():
        assert getattr(nn, name).__doc__, name
        assert getattr(nn, name) in registered
    assert issubclass(nn.Residual, nn.Layer)  # a container is any subclass


def test_initialisers() -> None:
    for name in INITIALISERS.split():
        assert getattr(nn.init, name).__doc__, name


@pytest.mark.parametrize("kind", REGISTERED)
def test_what_goes_by_name(kind: str) -> None:
    for name in REGISTERED[kind].split():
        thing = registry.load(kind, name)
        assert thing.__doc__, name
        if kind == "loss":
            assert "reduction" in inspect.signature(thing).parameters
            assert "sample_weight" in inspect.signature(thing.__call__).parameters


@pytest.mark.parametrize("what", OPTIONS)
def test_options(what: str) -> None:
    thing, names = OPTIONS[what]
    assert {*names.split()} <= {*inspect.signature(thing).parameters}


def test_wrappers_and_tools() -> None:
    for owner, names in ((optim, "EMA Lookahead"), (nn, "freeze unfreeze summary stream_position")):
        for name in names.split():
            assert getattr(owner, name).__doc__, name
