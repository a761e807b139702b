"""Layers: ``fs.nn``. Names and constructor arguments are PyTorch's where PyTorch has the layer."""

from flagstone.nn import init
from flagstone.nn.activation import (
    ELU,
    GELU,
    SELU,
    Hardsigmoid,
    Hardswish,
    LeakyReLU,
    LogSoftmax,
    Mish,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from flagstone.nn.attention import MultiheadAttention
from flagstone.nn.axis_norm import GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from flagstone.nn.combine import Add, Concat, Identity, Residual
from flagstone.nn.container import Flatten, Sequential
from flagstone.nn.conv import (
    Conv,
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
)  # fmt: skip
from flagstone.nn.dropout import Dropout, Dropout1d, Dropout2d, Dropout3d, stream_position
from flagstone.nn.embedding import Embedding
from flagstone.nn.folding import fold_batch_norm
from flagstone.nn.freezing import freeze, unfreeze
from flagstone.nn.layer import Layer
from flagstone.nn.linear import Linear, Maxout
from flagstone.nn.mlp import mlp
from flagstone.nn.norm import BatchNorm, BatchNorm1d, BatchNorm2d, BatchNorm3d, Standardize
from flagstone.nn.normalize import Normalize
from flagstone.nn.parameter import Buffer, Parameter
from flagstone.nn.pool import (
    AvgPool,
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
    MaxPool,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
)  # fmt: skip
from flagstone.nn.recurrent import GRU, LSTM, RNN
from flagstone.nn.resize import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AdaptiveMaxPool3d,
    GlobalAvgPool,
    GlobalMaxPool,
    Upsample,
)  # fmt: skip
from flagstone.nn.separable import DepthwiseConv2d, SeparableConv2d
from flagstone.nn.summary import Summary, summary

__all__ = [
    "ELU", "GELU", "GRU", "LSTM", "RNN", "SELU", "AdaptiveAvgPool1d", "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d", "AdaptiveMaxPool1d", "AdaptiveMaxPool2d", "AdaptiveMaxPool3d", "Add",
    "AvgPool", "AvgPool1d", "AvgPool2d", "AvgPool3d", "BatchNorm", "BatchNorm1d", "BatchNorm2d",
    "BatchNorm3d", "Buffer", "Concat", "Conv", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose",
    "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "DepthwiseConv2d", "Dropout",
    "Dropout1d", "Dropout2d", "Dropout3d", "Embedding", "Flatten", "GlobalAvgPool", "GlobalMaxPool",
    "GroupNorm", "Hardsigmoid", "Hardswish", "Identity", "InstanceNorm", "Layer", "LayerNorm",
    "LeakyReLU", "Linear", "LogSoftmax", "MaxPool", "MaxPool1d", "MaxPool2d", "MaxPool3d", "Maxout",
    "Mish", "MultiheadAttention", "Normalize", "Parameter", "RMSNorm", "ReLU", "Residual",
    "SeparableConv2d", "Sequential", "SiLU", "Sigmoid", "Softmax", "Softplus", "Standardize",
    "Summary", "Tanh", "Upsample", "fold_batch_norm", "freeze", "init", "mlp",
    "stream_position", "summary", "unfreeze",
]  # fmt: skip
