"""Layers: ``fs.nn``. Names and constructor arguments are PyTorch's where PyTorch has the layer.

Images are (n, *spatial, channels); parameters are float32 or float64, and inputs of the same.

All raise ``InputError`` for an argument that is out of range, when they are made; when called,
``ShapeError`` and ``DTypeError`` for a tensor that does not fit, ``DeviceMismatchError`` for one on
another device, ``InputError`` for what is no tensor; each names the layer it happened in.
"""

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

REGISTERED = (
    ("linear", "Linear", "x @ weight.T + bias"),
    ("conv1d", "Conv1d", "convolution of signals, channels last"),
    ("conv2d", "Conv2d", "2-d convolution, channels last"),
    ("conv3d", "Conv3d", "convolution of volumes, channels last"),
    ("conv-transpose1d", "ConvTranspose1d", "transposed convolution of signals"),
    ("conv-transpose2d", "ConvTranspose2d", "transposed 2-d convolution"),
    ("conv-transpose3d", "ConvTranspose3d", "transposed convolution of volumes"),
    ("depthwise-conv2d", "DepthwiseConv2d", "2-d convolution of each channel by itself"),
    ("separable-conv2d", "SeparableConv2d", "depthwise, then pointwise convolution"),
    ("max-pool1d", "MaxPool1d", "the maximum of every window of signals"),
    ("max-pool2d", "MaxPool2d", "the maximum of every window"),
    ("max-pool3d", "MaxPool3d", "the maximum of every window of volumes"),
    ("avg-pool1d", "AvgPool1d", "the mean of every window of signals"),
    ("avg-pool2d", "AvgPool2d", "the mean of every window"),
    ("avg-pool3d", "AvgPool3d", "the mean of every window of volumes"),
    ("global-avg-pool", "GlobalAvgPool", "the mean of each channel"),
    ("global-max-pool", "GlobalMaxPool", "the maximum of each channel"),
    ("adaptive-avg-pool1d", "AdaptiveAvgPool1d", "the mean of so many bins of signals"),
    ("adaptive-avg-pool2d", "AdaptiveAvgPool2d", "the mean of so many bins"),
    ("adaptive-avg-pool3d", "AdaptiveAvgPool3d", "the mean of so many bins of volumes"),
    ("adaptive-max-pool1d", "AdaptiveMaxPool1d", "the maximum of so many bins of signals"),
    ("adaptive-max-pool2d", "AdaptiveMaxPool2d", "the maximum of so many bins"),
    ("adaptive-max-pool3d", "AdaptiveMaxPool3d", "the maximum of so many bins of volumes"),
    ("upsample", "Upsample", "images of another size, nearest or linear"),
    ("flatten", "Flatten", "merge all axes but the first"),
    ("dropout", "Dropout", "zero random elements while training"),
    ("batch-norm", "BatchNorm", "normalise each channel by the batch"),
    ("standardize", "Standardize", "subtract a mean and divide by a scale measured once"),
    ("normalize", "Normalize", "subtract a given mean and divide by a given deviation"),
    ("maxout-linear", "Maxout", "the largest of several linear functions"),
    ("sequential", "Sequential", "layers one after another"),
    ("sigmoid", "Sigmoid", "1 / (1 + exp(-x))"),
    ("tanh", "Tanh", "the hyperbolic tangent"),
    ("relu", "ReLU", "max(x, 0)"),
    ("leaky-relu", "LeakyReLU", "x where positive, else a small multiple of it"),
    ("elu", "ELU", "x where positive, else exp(x) - 1"),
    ("softmax", "Softmax", "exp(x) / sum(exp(x))"),
    ("log-softmax", "LogSoftmax", "the logarithm of softmax"),
    ("selu", "SELU", "elu scaled so that mean 0 and variance 1 stay"),
    ("gelu", "GELU", "x times the normal probability below it"),
    ("silu", "SiLU", "x * sigmoid(x)"),
    ("mish", "Mish", "x * tanh(softplus(x))"),
    ("softplus", "Softplus", "log(1 + exp(x))"),
    ("hard-sigmoid", "Hardsigmoid", "x / 6 + 1 / 2 limited to [0, 1]"),
    ("hard-swish", "Hardswish", "x times the hard sigmoid"),
    ("layer-norm", "LayerNorm", "normalise each example over its last axes"),
    ("rms-norm", "RMSNorm", "divide each example by its root mean square"),
    ("group-norm", "GroupNorm", "normalise each group of channels of each example"),
    ("instance-norm", "InstanceNorm", "normalise each channel of each example"),
    ("batch-norm1d", "BatchNorm1d", "batch-norm of tables and signals"),
    ("batch-norm2d", "BatchNorm2d", "batch-norm of images"),
    ("batch-norm3d", "BatchNorm3d", "batch-norm of volumes"),
    ("dropout1d", "Dropout1d", "zero random channels of signals while training"),
    ("dropout2d", "Dropout2d", "zero random channels of images while training"),
    ("dropout3d", "Dropout3d", "zero random channels of volumes while training"),
    ("embedding", "Embedding", "a learned vector for each number"),
    ("identity", "Identity", "the input, as it is"),
    ("residual", "Residual", "the input plus what a layer makes of it"),
    ("add", "Add", "the sum of several layers' outputs"),
    ("concat", "Concat", "several layers' outputs one after another"),
    ("rnn", "RNN", "a state that follows a sequence"),
    ("lstm", "LSTM", "a sequence's state behind gates, with a memory"),
    ("gru", "GRU", "a sequence's state behind two gates"),
    ("multihead-attention", "MultiheadAttention", "averages of values by how keys fit"),
)
"""What the core registers of these: the name in text, the attribute, a line about it."""
