"""Differentiable functions of tensors: ``fs.ops``."""

import sys as _sys

from flagstone import tensors as _tensors
from flagstone.ops.activation import (
    elu, leaky_relu, log_softmax, logsumexp, maxout, relu, relu_grad, sigmoid, softmax, softplus,
    tanh,
)  # fmt: skip
from flagstone.ops.adaptive_updates import (
    adadelta_update, adagrad_update, adamax_update, lion_update, nadam_update, radam_update,
    rmsprop_update,
)  # fmt: skip
from flagstone.ops.conv import conv, conv2d, conv_input_grad, conv_weight_grad
from flagstone.ops.creation import tensor
from flagstone.ops.door import ALL_OPS, Op, op
from flagstone.ops.elementwise import (
    abs, add, astype, clip, divide, equal, exp, expm1, greater, greater_equal, less, less_equal,
    log, log1p, maximum, minimum, multiply, negative, not_equal, power, sign, sqrt, subtract, where,
)  # fmt: skip
from flagstone.ops.layerwise_updates import (
    lamb_direction, momentum_direction, muon_update, trust_update,
)  # fmt: skip
from flagstone.ops.linalg import linear, linear_weight_grad, matmul
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
from flagstone.ops.update_wrappers import average_update, limit, lookahead_update

__all__ = [
    "ALL_OPS", "Op", "abs", "accumulate", "adadelta_update", "adagrad_update", "adam_update",
    "adamax_update", "add", "argmax", "assign", "astype", "average_update", "avg_pool",
    "avg_pool2d", "avg_pool_grad", "batch_norm", "binary_cross_entropy_with_logits", "broadcast_to",
    "clip", "concatenate", "conv", "conv2d", "conv_input_grad", "conv_weight_grad", "divide",
    "dropout", "dropout_mask", "elu", "equal", "exp", "expm1", "flatten", "getitem", "greater",
    "greater_equal", "interpolate", "keep", "lamb_direction", "leaky_relu", "less", "less_equal",
    "limit", "linear", "linear_weight_grad", "lion_update", "log", "log1p", "log_softmax",
    "logsumexp", "lookahead_update", "matmul", "max", "max_pool", "max_pool2d", "max_pool_grad",
    "max_pool_pick", "maximum", "maxout", "mean", "min", "minimum", "momentum_direction",
    "multiply", "muon_update", "nadam_update", "negative", "norm", "not_equal", "op", "power",
    "radam_update", "random_bits", "relu", "relu_grad", "reshape", "rmsprop_update", "sgd_update",
    "sigmoid", "sign", "softmax", "softmax_cross_entropy", "softmax_cross_entropy_grad", "softplus",
    "sqrt", "subtract", "sum", "sum_to", "take", "tanh", "tensor", "transpose", "trust_update",
    "var", "where",
]  # fmt: skip

_tensors.operators = _sys.modules[__name__]  # what +, [] and .sum() of a tensor call
