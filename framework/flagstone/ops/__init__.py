"""Differentiable functions of tensors: ``fs.ops``."""

import sys as _sys

from flagstone import tensors as _tensors
from flagstone.ops.activation import (
    elu, leaky_relu, log_softmax, logsumexp, maxout, relu, relu_grad, sigmoid, softmax, softplus,
    tanh,
)  # fmt: skip
from flagstone.ops.conv import conv, conv2d, conv_input_grad, conv_weight_grad
from flagstone.ops.creation import tensor
from flagstone.ops.door import ALL_OPS, Op, op
from flagstone.ops.elementwise import (
    abs, add, astype, clip, divide, equal, exp, expm1, greater, greater_equal, less, less_equal,
    log, log1p, maximum, minimum, multiply, negative, not_equal, power, sign, sqrt, subtract, where,
)  # fmt: skip
from flagstone.ops.linalg import linear, matmul
from flagstone.ops.loss import (
    binary_cross_entropy_with_logits, softmax_cross_entropy, softmax_cross_entropy_grad,
)  # fmt: skip
from flagstone.ops.norm import batch_norm
from flagstone.ops.pool import (
    avg_pool, avg_pool2d, avg_pool_grad, max_pool, max_pool2d, max_pool_grad, max_pool_pick,
)  # fmt: skip
from flagstone.ops.reduction import argmax, broadcast_to, max, mean, min, sum, sum_to, var
from flagstone.ops.shape import concatenate, flatten, getitem, reshape, take, transpose
from flagstone.ops.stochastic import dropout, dropout_mask, keep, random_bits
from flagstone.ops.update import accumulate, adam_update, assign, interpolate, norm, sgd_update

__all__ = [
    "ALL_OPS", "Op", "abs", "accumulate", "adam_update", "add", "argmax", "assign", "astype",
    "avg_pool", "avg_pool2d", "avg_pool_grad", "batch_norm", "binary_cross_entropy_with_logits",
    "broadcast_to", "clip", "concatenate", "conv", "conv2d", "conv_input_grad", "conv_weight_grad",
    "divide", "dropout", "dropout_mask", "elu", "equal", "exp", "expm1", "flatten", "getitem",
    "greater", "greater_equal", "interpolate", "keep", "leaky_relu", "less", "less_equal", "linear",
    "log", "log1p", "log_softmax", "logsumexp", "matmul", "max", "max_pool", "max_pool2d",
    "max_pool_grad", "max_pool_pick", "maximum", "maxout", "mean", "min", "minimum", "multiply",
    "negative", "norm", "not_equal", "op", "power", "random_bits", "relu", "relu_grad", "reshape",
    "sgd_update", "sigmoid", "sign", "softmax", "softmax_cross_entropy",
    "softmax_cross_entropy_grad", "softplus", "sqrt", "subtract", "sum", "sum_to", "take", "tanh",
    "tensor", "transpose", "var", "where",
]  # fmt: skip

_tensors.operators = _sys.modules[__name__]  # what +, [] and .sum() of a tensor call
