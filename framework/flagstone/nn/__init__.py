"""Layers: ``fs.nn``. Names and constructor arguments are PyTorch's where PyTorch has the layer."""

from flagstone.nn import init
from flagstone.nn.activation import ELU, LeakyReLU, ReLU, Sigmoid, Softmax, Tanh
from flagstone.nn.container import Flatten, Sequential
from flagstone.nn.conv import Conv2d
from flagstone.nn.dropout import Dropout, stream_position
from flagstone.nn.layer import Layer
from flagstone.nn.linear import Linear, Maxout
from flagstone.nn.mlp import mlp
from flagstone.nn.norm import BatchNorm, Standardize
from flagstone.nn.parameter import Buffer, Parameter
from flagstone.nn.pool import AvgPool2d, MaxPool2d

__all__ = [
    "ELU", "AvgPool2d", "BatchNorm", "Buffer", "Conv2d", "Dropout", "Flatten", "Layer", "LeakyReLU",
    "Linear", "MaxPool2d", "Maxout", "Parameter", "ReLU", "Sequential", "Sigmoid", "Softmax",
    "Standardize", "Tanh", "init", "mlp", "stream_position",
]  # fmt: skip
