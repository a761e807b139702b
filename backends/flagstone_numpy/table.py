"""Which ops have a NumPy kernel; every other op runs in its generic form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flagstone_numpy.kernels import (
    conv,
    elementwise,
    linear,
    pool,
    products,
    reduction,
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
    elementwise.add_rows,
    elementwise.relu,
    elementwise.relu_grad,
    elementwise.sigmoid,
    elementwise.softmax_cross_entropy,
    elementwise.softmax_cross_entropy_grad,
    products.batched_matmul,
    products.linear,
    linear.linear_weight_grad,
    reduction.sum,
    stochastic.dropout_mask,
    stochastic.keep,
    stochastic.random_bits,
    update.accumulate,
    update.adam_update,
    update.norm,
    update.sgd_update,
)

KERNELS: Mapping[str, Callable[..., Any]] = {f.__name__: f for f in _FUNCTIONS}
