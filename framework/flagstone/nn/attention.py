"""Attention over (n, time, features)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from flagstone import ops
from flagstone.errors import DTypeError, InputError, ShapeError
from flagstone.nn.checks import positive, probability, truth
from flagstone.nn.dropout import Dropout
from flagstone.nn.init import fan_in_uniform, xavier_uniform, zeros
from flagstone.nn.layer import Layer, require_tensor
from flagstone.nn.linear import Linear
from flagstone.nn.parameter import Parameter
from flagstone.tensors import Tensor


class MultiheadAttention(Layer):
    """``softmax(q @ k.T / sqrt(d)) @ v`` in several heads (Vaswani et al., NeurIPS 2017, 3.2).

    Queries, keys and values are projected, cut into heads of d = embed_dim / num_heads features,
    and the heads' outputs are put side by side and projected. Names, shapes and starts of the
    parameters are PyTorch's: ``in_proj_weight`` (3 * embed_dim, embed_dim) for queries, keys and
    values one below the other, ``in_proj_bias``, ``out_proj.weight``, ``out_proj.bias``; so are
    the arguments of a call, with ``batch_first=True``.

    Args:
        embed_dim: length of the last axis of queries, keys and values.
        num_heads: a divisor of ``embed_dim``.
        dropout: the probability of zero of each weight while training.
        bias: whether the projections have one.

    A call takes ``(query, key=None, value=None, key_padding_mask=None, need_weights=True,
    attn_mask=None, average_attn_weights=True, is_causal=False)``:

    * query (n, t, embed_dim); key and value (n, s, embed_dim), by default the query and the key;
    * key_padding_mask (n, s) and attn_mask (t, s) or (n * num_heads, t, s): truth values, true
      where a query must not look, or floating numbers that are added to the scores. A query that
      may look nowhere gives NaN, as in PyTorch;
    * is_causal: whether the i-th query looks at the first i keys only, whatever else is masked
      (PyTorch's is a hint beside an ``attn_mask`` that says so).

    It returns (n, t, embed_dim) and the weights (n, t, s) averaged over the heads (all of them,
    (n, num_heads, t, s), if not ``average_attn_weights``; ``None`` if not ``need_weights``).

    Raises:
        InputError: ``num_heads`` does not divide ``embed_dim``, or an argument is out of range.
        ShapeError, DTypeError: an argument of a call does not fit.
    """

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True
    ) -> None:
        name = "MultiheadAttention"
        positive(name, embed_dim=embed_dim, num_heads=num_heads)
        probability(name, dropout=dropout)
        truth(name, bias=bias)
        if embed_dim % num_heads:
            raise InputError(
                f"{name}: num_heads expected a divisor of embed_dim={embed_dim}; got {num_heads}"
            )
        self.embed_dim, self.num_heads = embed_dim, num_heads
        self.in_proj_weight = Parameter((3 * embed_dim, embed_dim), xavier_uniform())
        self.in_proj_bias = Parameter((3 * embed_dim,), zeros) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias, init=fan_in_uniform(embed_dim))
        self.dropout = Dropout(dropout)

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        key = query if key is None else key
        value = key if value is None else value
        self._check(query, key, value)
        truth(
            "MultiheadAttention", need_weights=need_weights,
            average_attn_weights=average_attn_weights, is_causal=is_causal,
        )  # fmt: skip
        q, k, v = (self._heads(x) for x in self._projected(query, key, value))
        d = self.embed_dim // self.num_heads
        scores = ops.matmul(q * (1.0 / math.sqrt(d)), ops.transpose(k, 0, 1, 3, 2))  # (n, h, t, s)
        n, _, t, s = scores.shape
        shapes: dict[tuple[int, ...], tuple[int, ...]]
        if attn_mask is not None:
            shapes = {(t, s): (1, 1, t, s), (n * self.num_heads, t, s): (n, self.num_heads, t, s)}
            scores = _masked(scores, "attn_mask", attn_mask, shapes)
        if key_padding_mask is not None:
            shapes = {(n, s): (n, 1, 1, s)}
            scores = _masked(scores, "key_padding_mask", key_padding_mask, shapes)
        if is_causal:
            scores = ops.where(_later(scores), -math.inf, scores)
        weights = self.dropout(ops.softmax(scores, axis=-1))
        mixed = ops.transpose(ops.matmul(weights, v), 0, 2, 1, 3)
        y: Tensor = self.out_proj(ops.reshape(mixed, (n, t, self.embed_dim)))
        if not need_weights:
            return y, None
        return y, ops.mean(weights, axis=1) if average_attn_weights else weights

    def _projected(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        w, b = self.in_proj_weight, self.in_proj_bias
        if query is key and key is value:
            return ops.split(ops.linear(query, w, b), 3, axis=2)
        biases = (None,) * 3 if b is None else ops.split(b, 3)
        given = zip((query, key, value), ops.split(w, 3), biases, strict=True)
        return tuple(ops.linear(x, part, bias) for x, part, bias in given)

    def _heads(self, x: Tensor) -> Tensor:
        n, t, e = x.shape
        return ops.transpose(
            ops.reshape(x, (n, t, self.num_heads, e // self.num_heads)), 0, 2, 1, 3
        )

    def _check(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        for name, x in (("query", query), ("key", key), ("value", value)):
            require_tensor("MultiheadAttention", x)
            if x.ndim != 3 or x.shape[2] != self.embed_dim:
                raise ShapeError(
                    f"MultiheadAttention: {name} expected shape (n, time, {self.embed_dim}); "
                    f"got {x.shape}"
                )
        if key.shape != value.shape or query.shape[0] != key.shape[0] or not key.shape[1]:
            raise ShapeError(
                "MultiheadAttention: expected as many queries' sequences as keys' and a value for "
                f"each of at least one key; got query {query.shape}, key {key.shape}, "
                f"value {value.shape}"
            )

    def describe(self) -> str:
        parts = f"{self.embed_dim}, {self.num_heads}"
        if self.dropout.p:
            parts += f", dropout={self.dropout.p}"
        return parts if self.in_proj_bias is not None else f"{parts}, bias=False"

    def __repr__(self) -> str:
        return f"MultiheadAttention({self.describe()})"  # the layers inside are among these


def _later(scores: Tensor) -> Tensor:
    """Whether a key comes after the query: (t, s) bool for scores (..., t, s)."""
    xp = scores.backend.xp
    rows, columns = (
        Tensor(xp.reshape(xp.arange(n, dtype=xp.int64), shape), scores.backend)
        for n, shape in zip(scores.shape[-2:], ((-1, 1), (1, -1)), strict=True)
    )
    out: Tensor = ops.greater(columns, rows)
    return out


def _masked(
    scores: Tensor, name: str, mask: Any, shapes: Mapping[tuple[int, ...], tuple[int, ...]]
) -> Tensor:
    """The scores with a mask, whose shape is a key of ``shapes``, seen in the shape it maps to."""
    require_tensor(f"MultiheadAttention: {name}", mask)
    if mask.shape not in shapes:
        raise ShapeError(
            f"MultiheadAttention: {name} expected shape {' or '.join(map(str, shapes))}; "
            f"got {mask.shape}"
        )
    if mask.dtype_name not in ("bool", scores.dtype_name):
        raise DTypeError(
            f"MultiheadAttention: {name} expected bool or {scores.dtype_name}; "
            f"got {mask.dtype_name}"
        )
    mask = ops.reshape(mask, shapes[mask.shape])
    out: Tensor
    out = ops.where(mask, -math.inf, scores) if mask.dtype_name == "bool" else scores + mask
    return out
