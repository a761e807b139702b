"""Which ops have a CUDA kernel; every other op runs in its generic form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flagstone_cupy.kernels import (
    adaptive_update,
    conv,
    elementwise,
    gather,
    gemm,
    loss,
    norm,
    persistent,  # noqa: F401  # whole steps, for no op: declared all the same
    pool,
    reduce,
    stochastic,
    update,
)

_FUNCTIONS: tuple[Callable[..., Any], ...] = (
    adaptive_update.accumulate,
    adaptive_update.adadelta_update,
    adaptive_update.adagrad_update,
    adaptive_update.adamax_update,
    adaptive_update.average_update,
    adaptive_update.interpolate,
    adaptive_update.limit,
    adaptive_update.lion_update,
    adaptive_update.lookahead_update,
    adaptive_update.momentum_direction,
    adaptive_update.rmsprop_update,
    adaptive_update.trust_update,
    conv.conv,
    conv.conv_input_grad,
    conv.conv_weight_grad,
    elementwise.elu,
    elementwise.gelu_exact,
    elementwise.gelu_tanh,
    elementwise.hard_swish,
    elementwise.leaky_relu,
    elementwise.mish,
    elementwise.relu,
    elementwise.relu_grad,
    elementwise.sigmoid,
    elementwise.silu,
    elementwise.softplus,
    gather.add_rows,
    gather.scatter_add,
    gather.take_rows,
    gemm.batched_matmul,
    gemm.linear,
    gemm.linear_weight_grad,
    loss.softmax_cross_entropy,
    loss.softmax_cross_entropy_grad,
    norm.axis_norm,
    norm.axis_rms_norm,
    norm.batch_norm,
    norm.batch_norm_grad,
    pool.avg_pool,
    pool.avg_pool_grad,
    pool.max_pool,
    pool.max_pool_grad,
    pool.max_pool_pick,
    reduce.norm,
    reduce.sum,
    stochastic.dropout_mask,
    stochastic.keep,
    stochastic.random_bits,
    update.adam_update,
    update.lamb_direction,
    update.nadam_update,
    update.radam_update,
    update.sgd_update,
)

KERNELS: Mapping[str, Callable[..., Any]] = {f.__name__: f for f in _FUNCTIONS}
