"""Kernels for the few ops that PyTorch cannot run in their generic form.

PyTorch has the dtype ``uint64`` but hardly any arithmetic in it. The bits of a sum, a difference
and a product are the same in two's complement, so words are computed with as ``int64`` and handed
back as ``uint64``; only shifts to the right have to clear what the sign drags in.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from array_api_compat import torch as compat
from flagstone import ops
from flagstone.ops.stochastic import blocks_per_example

Array = torch.Tensor

MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)  # Salmon et al., SC 2011
WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
LOW = 0xFFFFFFFF
UNSIGNED = (torch.uint8, torch.uint16, torch.uint32, torch.uint64)


def random_bits(counter: Array, *, key: tuple[int, int], blocks: int, start: int = 0) -> Array:
    """Philox4x64-10 where the counter lies: uint64 (4 * blocks,)."""
    step, epoch = counter.view(torch.int64)
    place = torch.arange(blocks, dtype=torch.int64, device=counter.device)
    c0, c1, c2 = place + _signed(start + 1), step.expand(blocks), epoch.expand(blocks)
    c3 = torch.zeros_like(place)
    k0, k1 = key
    for _ in range(10):
        high0, low0 = _product(c0, MULTIPLIERS[0])
        high1, low1 = _product(c2, MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ _signed(k0), low1, high0 ^ c3 ^ _signed(k1), low0
        k0, k1 = k0 + WEYL[0], k1 + WEYL[1]
    return torch.stack([c0, c1, c2, c3], dim=1).reshape(4 * blocks).view(torch.uint64)


def dropout_mask(words: Array, *, shape: tuple[int, ...], threshold: int) -> Array:
    """Which elements stay: the 16-bit lanes of an example's words that are below ``threshold``."""
    bits = words.view(torch.int64)
    lanes = torch.stack([(bits >> 16 * i) & 0xFFFF for i in range(4)], dim=1)
    per_example = lanes.reshape(shape[0], 16 * blocks_per_example(shape))
    return (per_example[:, : math.prod(shape[1:])] < threshold).reshape(shape)


def random_integers(words: Array, *, high: int) -> Array:
    """The upper halves of the words scaled to integers below ``high``."""
    top = (words.view(torch.int64) >> 32) & LOW
    return ((top * high) >> 32) & LOW


def random_partners(words: Array) -> Array:
    """Every example's number, turned by one distance."""
    numbers = torch.arange(len(words), dtype=torch.int64, device=words.device)
    turn = random_integers(words[:1], high=len(words) - 1) + 1 if len(words) > 1 else 0
    return (numbers + turn) % max(len(words), 1)


def sum(x: Array, *, axis: Any = None, keepdims: bool = False) -> Array:
    """The generic form, which adds unsigned integers as ``uint64``."""
    total: Array = compat.sum(x, axis=axis, keepdims=keepdims)
    return total.view(torch.uint64) if x.dtype in UNSIGNED else total


def cumsum(x: Array, *, axis: int, reverse: bool = False) -> Array:
    """The generic form, which adds unsigned integers as ``uint64``."""
    if x.dtype not in UNSIGNED:
        return ops.cumsum.generic(compat, x, axis=axis, reverse=reverse)
    wide = x.to(torch.int64)
    return ops.cumsum.generic(compat, wide, axis=axis, reverse=reverse).view(torch.uint64)


def basic_index(x: Array, *, index: tuple[Any, ...]) -> Array:
    """``x[index]``; PyTorch has no negative steps."""
    forward, turned = _forward(tuple(x.shape), index)
    return x[forward].flip(turned) if turned else x[forward]


def scatter_index(g: Array, *, shape: tuple[int, ...], index: tuple[Any, ...]) -> Array:
    """Zeros of ``shape`` with ``g`` at ``index``."""
    out = g.new_zeros(shape)
    forward, turned = _forward(shape, tuple(part for part in index if part is not None))
    part = out[forward]
    values = g.reshape(part.shape)
    part[...] = values.flip(turned) if turned else values
    return out


def _forward(shape: tuple[int, ...], index: tuple[Any, ...]) -> tuple[tuple[Any, ...], list[int]]:
    """``index`` with positive steps, and the axes of the result that are then to be reversed."""
    parts: list[Any] = []
    turned: list[int] = []
    axis = axis_of_result = 0
    for part in index:
        if isinstance(part, slice) and (part.step or 1) < 0:
            places = range(*part.indices(shape[axis]))
            part = slice(places[-1], places[0] + 1, -places.step) if places else slice(0, 0)
            turned.append(axis_of_result)
        parts.append(part)
        axis += part is not None
        axis_of_result += part is None or isinstance(part, slice)
    return tuple(parts), turned


def _product(a: Array, b: int) -> tuple[Array, Array]:
    """The high and the low 64 bits of ``a * b`` as unsigned numbers, from 32-bit halves."""
    a_low, a_high, b_low, b_high = a & LOW, (a >> 32) & LOW, b & LOW, b >> 32
    middle = a_high * b_low + (((a_low * b_low) >> 32) & LOW)
    other = a_low * b_high + (middle & LOW)
    return a_high * b_high + ((middle >> 32) & LOW) + ((other >> 32) & LOW), a * _signed(b)


def _signed(word: int) -> int:
    """The number whose 64 bits in two's complement are the low ones of ``word``."""
    word &= 2**64 - 1
    return word - 2**64 if word >= 2**63 else word


KERNELS = {
    kernel.__name__: kernel
    for kernel in (
        random_bits, dropout_mask, random_integers, random_partners, sum, cumsum, basic_index,
        scatter_index,
    )
}  # fmt: skip
