"""Which ops have a NumPy kernel; every other op runs in its generic form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flagstone_numpy.kernels import (
    activation,
    adaptive,
    conv,
    elementwise,
    layerwise,
    linear,
    pool,
    reduction,
    scatter,
    stochastic,
    update,
)

_FUNCTIONS: tuple[Callable[..., Any], ...] = (
    conv.conv,
    conv.conv_input_grad,
    conv.conv_weight_grad,
    pool.avg_pool,
    pool.avg_pool_grad,
    pool.max_pool,
    pool.max_pool_grad,
    pool.max_pool_pick,
    activation.gelu_exact,
    activation.gelu_exact_grad,
    activation.gelu_tanh,
    activation.gelu_tanh_grad,
    activation.mish,
    activation.mish_grad,
    activation.sigmoid,
    activation.silu,
    activation.silu_grad,
    activation.softplus,
    activation.where,
    elementwise.relu,
    elementwise.relu_grad,
    elementwise.softmax_cross_entropy,
    elementwise.softmax_cross_entropy_grad,
    linear.linear,
    linear.linear_weight_grad,
    reduction.sum,
    scatter.add_rows,
    scatter.scatter_add,
    stochastic.dropout_mask,
    stochastic.keep,
    stochastic.random_bits,
    adaptive.adadelta_update,
    adaptive.adagrad_update,
    adaptive.adamax_update,
    adaptive.lion_update,
    adaptive.nadam_update,
    adaptive.radam_update,
    adaptive.rmsprop_update,
    layerwise.lamb_direction,
    layerwise.momentum_direction,
    layerwise.trust_update,
    update.accumulate,
    update.adam_update,
    update.average_update,
    update.limit,
    update.lookahead_update,
    update.norm,
    update.sgd_update,
)

KERNELS: Mapping[str, Callable[..., Any]] = {f.__name__: f for f in _FUNCTIONS}
