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
from flagstone.nn.axis_norm import GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from flagstone.nn.combine import Add, Concat, Identity, Residual
from flagstone.nn.container import Flatten, Sequential
from flagstone.nn.conv import Conv2d
from flagstone.nn.dropout import Dropout, Dropout1d, Dropout2d, Dropout3d, stream_position
from flagstone.nn.embedding import Embedding
from flagstone.nn.layer import Layer
from flagstone.nn.linear import Linear, Maxout
from flagstone.nn.mlp import mlp
from flagstone.nn.norm import BatchNorm, BatchNorm1d, BatchNorm2d, BatchNorm3d, Standardize
from flagstone.nn.parameter import Buffer, Parameter
from flagstone.nn.pool import AvgPool2d, MaxPool2d

__all__ = [
    "ELU", "GELU", "SELU", "Add", "AvgPool2d", "BatchNorm", "BatchNorm1d", "BatchNorm2d",
    "BatchNorm3d", "Buffer", "Concat", "Conv2d", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d",
    "Embedding", "Flatten", "GroupNorm", "Hardsigmoid", "Hardswish", "Identity", "InstanceNorm",
    "Layer", "LayerNorm", "LeakyReLU", "Linear", "LogSoftmax", "MaxPool2d", "Maxout", "Mish",
    "Parameter", "RMSNorm", "ReLU", "Residual", "Sequential", "SiLU", "Sigmoid", "Softmax",
    "Softplus", "Standardize", "Tanh", "init", "mlp", "stream_position",
]  # fmt: skip
