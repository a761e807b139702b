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
from flagstone.ops.axis_norm import (
    axis_norm, axis_rms_norm, group_norm, instance_norm, layer_norm, rms_norm,
)  # fmt: skip
from flagstone.ops.channel_dropout import channel_dropout
from flagstone.ops.arrange import (
    flip, pad, repeat, split, squeeze, stack, tile, unsqueeze, unstack,
)  # fmt: skip
from flagstone.ops.comparison import (
    equal, greater, greater_equal, less, less_equal, not_equal,
)  # fmt: skip
from flagstone.ops.conv import (
    conv, conv1d, conv2d, conv3d, conv_input_grad, conv_weight_bias_grad, conv_weight_grad,
)  # fmt: skip
from flagstone.ops.conv_transpose import conv_transpose1d, conv_transpose2d, conv_transpose3d
from flagstone.ops.creation import tensor
from flagstone.ops.door import ALL_OPS, Op, op
from flagstone.ops.draws import random_integers, random_partners
from flagstone.ops.einsum import einsum
from flagstone.ops.elementwise import (
    abs, add, astype, clip, divide, exp, expm1, log, log1p, maximum, minimum, multiply, negative,
    power, rsqrt, sign, sqrt, subtract, where,
)  # fmt: skip
from flagstone.ops.embedding import embedding
from flagstone.ops.gates import (
    gelu, gelu_exact, gelu_tanh, hard_sigmoid, hard_swish, mish, selu, silu,
)  # fmt: skip
from flagstone.ops.gathering import gather, scatter_add
from flagstone.ops.layerwise_updates import (
    lamb_direction, momentum_direction, muon_update, trust_update,
)  # fmt: skip
from flagstone.ops.linalg import linear, linear_weight_grad, matmul
from flagstone.ops.loss import (
    binary_cross_entropy_with_logits, logistic_error, scale_by, softmax_cross_entropy,
    softmax_cross_entropy_grad, squared_error,
)  # fmt: skip
from flagstone.ops.loss_scale import adapt_loss_scale, gradient_factor, lower, undo
from flagstone.ops.norm import batch_norm
from flagstone.ops.outer import outer
from flagstone.ops.pixels import box_mask, pick_pixels, place_pixels, shifted
from flagstone.ops.pool import (
    avg_pool, avg_pool_grad, max_pool, max_pool_grad, max_pool_pick,
)  # fmt: skip
from flagstone.ops.pooling import (
    adaptive_avg_pool, adaptive_max_pool, avg_pool1d, avg_pool2d, avg_pool3d, global_avg_pool,
    global_max_pool, max_pool1d, max_pool2d, max_pool3d,
)  # fmt: skip
from flagstone.ops.reduction import (
    argmax, broadcast_to, cumsum, max, mean, min, prod, sum, sum_to, var,
)  # fmt: skip
from flagstone.ops.resize import resample, resample_grad, resize
from flagstone.ops.shape import concatenate, flatten, getitem, reshape, take, transpose
from flagstone.ops.special import erf, normal_cdf
from flagstone.ops.standardized import standardized
from flagstone.ops.stochastic import dropout, dropout_mask, keep, random_bits
from flagstone.ops.update import accumulate, adam_update, assign, interpolate, norm, sgd_update
from flagstone.ops.update_wrappers import average_update, limit, lookahead_update

__all__ = [
    "ALL_OPS", "Op", "abs", "accumulate", "adadelta_update", "adagrad_update", "adam_update",
    "adamax_update", "adapt_loss_scale", "adaptive_avg_pool", "adaptive_max_pool", "add", "argmax",
    "assign", "astype", "average_update", "avg_pool", "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "avg_pool_grad", "axis_norm", "axis_rms_norm", "batch_norm", "binary_cross_entropy_with_logits",
    "box_mask", "broadcast_to", "channel_dropout", "clip", "concatenate", "conv", "conv1d",
    "conv2d", "conv3d", "conv_input_grad", "conv_transpose1d", "conv_transpose2d",
    "conv_transpose3d", "conv_weight_bias_grad", "conv_weight_grad", "cumsum", "divide", "dropout",
    "dropout_mask", "einsum",
    "elu", "embedding", "equal", "erf", "exp", "expm1", "flatten", "flip", "gather", "gelu",
    "gelu_exact", "gelu_tanh", "getitem", "global_avg_pool", "global_max_pool", "gradient_factor",
    "greater", "greater_equal", "group_norm", "hard_sigmoid", "hard_swish", "instance_norm",
    "interpolate", "keep", "lamb_direction", "layer_norm", "leaky_relu", "less", "less_equal",
    "limit", "linear", "linear_weight_grad", "lion_update", "log", "log1p", "log_softmax",
    "logistic_error", "logsumexp", "lookahead_update", "lower", "matmul", "max", "max_pool",
    "max_pool1d", "max_pool2d", "max_pool3d", "max_pool_grad", "max_pool_pick", "maximum", "maxout",
    "mean", "min", "minimum", "mish", "momentum_direction", "multiply", "muon_update",
    "nadam_update", "negative", "norm", "normal_cdf", "not_equal", "op", "outer", "pad",
    "pick_pixels", "place_pixels", "power", "prod", "radam_update", "random_bits",
    "random_integers", "random_partners", "relu", "relu_grad", "repeat", "resample",
    "resample_grad", "reshape", "resize", "rms_norm", "rmsprop_update", "rsqrt", "scale_by",
    "scatter_add", "selu", "sgd_update", "shifted", "sigmoid", "sign", "silu", "softmax",
    "softmax_cross_entropy", "softmax_cross_entropy_grad", "softplus", "split", "sqrt",
    "squared_error", "squeeze", "stack", "standardized", "subtract", "sum", "sum_to", "take",
    "tanh", "tensor", "tile", "transpose", "trust_update", "undo", "unsqueeze", "unstack", "var",
    "where",
]  # fmt: skip

_tensors.operators = _sys.modules[__name__]  # what +, [] and .sum() of a tensor call
