"""Mistakes that a kernel's author could make, each made on purpose and caught on the CPU.

A bug is a change of a source in memory. The check that must then fail passes on the unchanged
source; it fails by a wrong result or by what the simulation reports.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from flagstone_cupy import launch as launching
from flagstone_cupy.kernel import REGISTRY, Kernel
from flagstone_cupy.kernels import (
    elementwise,
    gather,
    loss,
    loss_scale,
    norm,
    pixels,
    pool,
    reduce,
    stochastic,
    update,
)  # fmt: skip
from flagstone_cupy.signature import local_sources

RNG = np.random.default_rng(37)


def close(given: Any, expected: Any) -> None:
    """Equal but for rounding, and finite; no warning on the way."""
    with np.errstate(all="ignore"):
        assert np.isfinite(given).all(), "a value is not finite"
        assert np.allclose(given, expected, rtol=1e-4, atol=1e-4), "a value is wrong"


def relu() -> None:
    x = RNG.standard_normal(1500).astype("float32")
    close(elementwise.relu(x), np.maximum(x, 0))


def rows() -> None:
    x = RNG.standard_normal((3, 5000)).astype("float32")
    close(reduce.sum(x, axis=1), x.sum(1))


def columns() -> None:
    x = RNG.standard_normal((40, 5)).astype("float32")
    close(reduce.sum(x, axis=0), x.sum(0))


def columns_in_rounds() -> None:
    x = RNG.standard_normal((6, 40, 5)).astype("float32")
    before = reduce.MOST_BLOCKS
    reduce.MOST_BLOCKS = (2**31 - 1, 2, 2)  # type: ignore[misc]  # a small card
    try:
        close(reduce.sum(x, axis=1), x.sum(1))
    finally:
        reduce.MOST_BLOCKS = before  # type: ignore[misc]  # as it was


def half_means() -> None:
    x = RNG.uniform(0, 100, (2, 6, 6, 3)).astype("float16")
    how: Any = {"kernel": (6, 6), "stride": (6, 6), "padding": ((0, 0), (0, 0))}
    y = pool.avg_pool(x, count_include_pad=False, **how)
    assert np.allclose(y, x.astype("f8").mean((1, 2), keepdims=True), rtol=6e-4), "a mean is off"


def not_finite() -> None:
    g, one = np.ones(600_000, "float32"), np.ones((), "float32")
    g[-1] = np.inf
    assert np.isnan(loss_scale.gradient_factor(g, one, one)), "an infinity was not seen"


def loss_scales() -> None:
    scale, steps = np.full((), 8, "float32"), np.zeros((), "float32")
    for _ in range(2):
        factor = np.ones((), "float32")
        loss_scale.adapt_loss_scale(scale, steps, factor, growth=2.0, backoff=0.5, interval=2)
    assert scale == 16, "the scale is another"


def layer_norm() -> None:
    x = RNG.standard_normal((6, 700)).astype("float32")
    y, _, _ = norm.axis_norm(x, None, None, axis=(1,), eps=0.0)
    close(y, (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True))


def short_layer_norm() -> None:
    x = RNG.standard_normal((13, 40)).astype("float32")
    y, _, _ = norm.axis_norm(x, None, None, axis=(1,), eps=0.0)
    close(y, (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True))


def layer_norm_grad() -> None:
    g, x = RNG.standard_normal((2, 131, 140)).astype("float32")
    weight = RNG.standard_normal(140).astype("float32")
    mean, var = x.mean(1, keepdims=True), x.var(1, keepdims=True)
    d_x, d_weight, d_bias = norm.axis_norm_grad(g, x, mean, var, weight, axis=(1,), eps=0.1)
    u, h = (x - mean) / np.sqrt(var + 0.1), g * weight
    d_u = h - h.mean(1, keepdims=True) - u * (h * u).mean(1, keepdims=True)
    close(d_x, d_u / np.sqrt(var + 0.1))
    close(d_weight, (g * u).sum(0))
    close(d_bias, g.sum(0))


def instance_norm_grad() -> None:
    g, x = RNG.standard_normal((2, 3, 37, 5)).astype("float32")
    mean, var = x.mean(1, keepdims=True), x.var(1, keepdims=True)
    weight = RNG.standard_normal(5).astype("float32")
    _, d_weight, _ = norm.axis_norm_grad(g, x, mean, var, weight, axis=(1,), eps=0.1)
    close(d_weight, (g * (x - mean) / np.sqrt(var + 0.1)).sum((0, 1)))


def batch_norm() -> None:
    x = (RNG.standard_normal((700, 9)) + 5).astype("float32")
    y, _, _ = norm.batch_norm(x, np.ones(9, "float32"), np.zeros(9, "float32"), eps=0.0)
    close(y, (x - x.mean(0)) / x.std(0))


def max_pool() -> None:
    x = RNG.standard_normal((2, 7, 8, 5)).astype("float32")
    how = {"kernel": (3, 3), "stride": (2, 2), "padding": ((1, 1), (1, 1))}
    y, index = pool.max_pool(x, **how)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    views = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))[:, ::2, ::2]
    close(y, views.max((-2, -1)))
    dx = pool.max_pool_grad(y, index, size=(7, 8), **how)
    close(dx.sum((1, 2)), y.sum((1, 2)))


def cross_entropy() -> None:
    x = RNG.standard_normal((10, 70)).astype("float32")
    labels = np.arange(10)
    given, p = loss.softmax_cross_entropy(x, labels)
    e = np.exp(x)
    close(p, e / e.sum(1, keepdims=True))
    close(given, np.log(e.sum(1)) - x[labels, labels])


def random_bits() -> None:
    counter = np.array([3, 4], "uint64")
    words = stochastic.random_bits(counter, key=(5, 6), blocks=300)
    state = np.array([0, 3, 4, 0], "uint64")
    generator = np.random.Philox(key=np.array([5, 6], "uint64"), counter=state)
    assert np.array_equal(words, generator.random_raw(1200)), "a word is wrong"


def random_integers() -> None:
    words = RNG.integers(0, 2**64, 1100, "uint64")
    given = stochastic.random_integers(words, high=2**32)
    assert np.array_equal(given, words >> np.uint64(32)), "a number is wrong"


def dropout_mask() -> None:
    words = RNG.integers(0, 2**64, 3 * 8, "uint64")
    mask = stochastic.dropout_mask(words, shape=(3, 20), threshold=30000)
    lanes = words.view("<u2").reshape(3, 32)[:, :20]
    assert np.array_equal(mask, lanes < 30000), "a value is wrong"


def take_rows() -> None:
    x = RNG.standard_normal((4, 3)).astype("float32")
    y = gather.take_rows(x, np.array([3, 0, 9]))
    close(y[:2], x[[3, 0]])


def moved() -> None:
    x = RNG.standard_normal((2, 5, 6, 3)).astype("float32")
    rows, columns = np.add([[2], [-1]], np.arange(5)), np.add([[-3], [1]], np.arange(6))
    y = pixels.pick_pixels(x, rows, columns)
    expected = np.zeros_like(x)
    expected[0, :3, 3:], expected[1, 1:, :5] = x[0, 2:, :3], x[1, :4, 1:]
    close(y, expected)
    back = pixels.place_pixels(x, rows, columns, size=(5, 6))
    close((back * x).sum(), (y * x).sum())  # the transpose


def mirrored() -> None:
    places = pixels.shifted(np.array([-2, 3]), length=4, mode="reflect")
    assert np.array_equal(places, [[2, 1, 0, 1], [3, 2, 1, 0]]), "a place is wrong"


def boxes() -> None:
    mask = pixels.box_mask(np.array([1, 3]), np.array([2, 5]), 3, np.array([1, 2]), size=(4, 6))
    assert np.array_equal(mask.sum((1, 2)), [3, 4]), "a box has another size"


def add_rows() -> None:
    g, index = RNG.standard_normal((45, 40)).astype("float32"), RNG.integers(0, 5, 45)
    expected = np.zeros((5, 40))
    np.add.at(expected, index, g)
    close(gather.add_rows(g, index, rows=5), expected)


def adam() -> None:
    p, g = RNG.standard_normal((2, 1100)).astype("float32")
    m, v, t = np.zeros(1100, "float32"), np.zeros(1100, "float32"), np.zeros((), "float32")
    lr = scale = np.ones((), "float32")
    start = p.copy()
    how = {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8, "weight_decay": 0.0, "decoupled": False}
    update.adam_update(p, g, m, v, t, lr, scale, **how)
    close(p, start - np.sign(g))
    close(m, 0.1 * g)


@dataclasses.dataclass(frozen=True)
class Bug:
    """``old`` in ``file`` becomes ``new``; then ``check`` must fail. ``kernels`` are compiled."""

    what: str
    check: Callable[[], None]
    kernels: tuple[Any, ...]
    file: str
    old: str
    new: str


FLOAT_ROWS = (reduce.SUM_ROWS[np.dtype("float32")],)
FLOAT_COLUMNS = (reduce.SUM_COLUMNS[np.dtype("float32")], *FLOAT_ROWS)
LAYER = (norm.AXIS_NORM["float", True],)
LAYER_GRAD = (norm.AXIS_NORM_GRAD["float", True], norm.AXIS_GRAD_SUMS["float", True])
BATCH = (
    norm.BATCH_MOMENTS["float", "float"], norm.BATCH_MERGE["float"],
    norm.BATCH_APPLY["float", "float"],
)  # fmt: skip
MAX = (pool.MAX_POOL["float", "unsigned char"], pool.MAX_POOL_GRAD["float", "unsigned char"])
ENTROPY = (loss.CROSS_ENTROPY["float", "long long"],)
TAKE, ADD = (gather.TAKE_ROWS["unsigned", "long long"],), (gather.ADD_ROWS["float", "long long"],)
PIXELS = (pixels.PICK["unsigned"], pixels.PLACE["float"])
ADAM = (update.ADAM["float"], update.COUNT_STEP["float"])
MEAN = (pool.AVG_POOL["__half"],)
FACTOR = (loss_scale.UNFINITE["float"], loss_scale.GRADIENT_FACTOR["float"])
RELU = (elementwise.ACTIVATION["float", "Relu"],)

BUGS = [
    Bug("values past the end are written", relu, RELU, "elementwise.cu",
        "if (i < n) y[i] = rounded<T>(F", "y[i] = rounded<T>(F"),
    Bug("a block starts where the last one started", relu, RELU, "common.cuh",
        "(blockIdx.x) * (THREADS * EACH)", "(blockIdx.x) * THREADS"),
    Bug("warps' sums are read before they are written", rows, FLOAT_ROWS, "common.cuh",
        "of_warp[first + threadIdx.x / WARP] = x;\n    __syncthreads();",
        "of_warp[first + threadIdx.x / WARP] = x;"),
    Bug("a second sum overwrites the first while it is read", layer_norm, LAYER, "common.cuh",
        "__syncthreads();  // what an earlier call left was read", ""),
    Bug("a shuffle leaves half of the warp out", rows, FLOAT_ROWS, "common.cuh",
        "int step = WARP / 2; step > 0; step /= 2) x +=",
        "int step = WARP / 4; step > 0; step /= 2) x +="),
    Bug("lanes enter a shuffle by themselves", cross_entropy, ENTROPY, "loss.cu",
        "total = warp_sum(total);", "if (threadIdx.x < 16) total = warp_sum(total);"),
    Bug("half of a block never reaches the barrier", columns, FLOAT_COLUMNS, "reduce.cu",
        "        __syncthreads();\n        if (threadIdx.y == 0",
        "        if (threadIdx.y % 2) __syncthreads();\n        if (threadIdx.y == 0"),
    Bug("partial sums are read before they are written", columns, FLOAT_COLUMNS, "reduce.cu",
        "        __syncthreads();\n        if (threadIdx.y == 0", "        if (threadIdx.y == 0"),
    Bug("the next round overwrites partial sums", columns_in_rounds, FLOAT_COLUMNS, "reduce.cu",
        "__syncthreads();  // before the next round writes", ""),
    Bug("the last split reads past the end", columns, FLOAT_COLUMNS, "reduce.cu",
        "from = blockIdx.y * each, to = min(from + each, n)",
        "from = blockIdx.y * each, to = from + each + 1"),
    Bug("columns past the last are read", columns, FLOAT_COLUMNS, "reduce.cu",
        "        if (i < inner)\n", ""),
    Bug("a window below the image is read", max_pool, MAX, "pool.cu",
        "if (k < 0 || k >= w.size[2]) continue;", "if (k >= w.size[2]) continue;"),
    Bug("a window above the image is read", max_pool, MAX, "pool.cu",
        "if (j < 0 || j >= w.size[1]) continue;", "if (j < 0) continue;"),
    Bug("a window that ends before the input counts", max_pool, MAX, "pool.cu",
        "(from + w.stride[axis] - 1) / w.stride[axis]", "from / w.stride[axis]"),
    Bug("threads past the last output write", max_pool, MAX, "pool.cu",
        "if (i >= per_y) return;\n    const Place p = place(i, w.out, w.channels);\n"
        "    for (long long n = blockIdx.y; n < w.images; n += gridDim.y) {\n"
        "        const T* image = x + n * values(w.size, w.channels);\n"
        "        typename Wide<T>::type best",
        "const Place p = place(i, w.out, w.channels);\n"
        "    for (long long n = blockIdx.y; n < w.images; n += gridDim.y) {\n"
        "        const T* image = x + n * values(w.size, w.channels);\n        T best"),
    Bug("the stream begins a block early", random_bits, (stochastic.RANDOM_BITS,), "stochastic.cu",
        "static_cast<unsigned long long>(i) + 1;", "static_cast<unsigned long long>(i);"),
    Bug("nine rounds of Philox", random_bits, (stochastic.RANDOM_BITS,), "stochastic.cu",
        "round < 10", "round < 9"),
    Bug("a product of 32 bits", random_integers, (stochastic.RANDOM_INTEGERS,), "stochastic.cu",
        "(words[i] >> 32) * high", "static_cast<unsigned>((words[i] >> 32) * high)"),
    Bug("lanes from the highest", dropout_mask, (stochastic.DROPOUT_MASK,), "stochastic.cu",
        "16 * (column % 4)", "48 - 16 * (column % 4)"),
    Bug("a row that is not there is read", take_rows, TAKE, "gather.cu",
        "from >= 0 && from < table_rows ?", "from >= 0 ?"),
    Bug("numbers past the last are looked at", add_rows, ADD, "gather.cu",
        "i < m && index[i] == r", "index[i] == r"),
    Bug("only the first of equal numbers is added", add_rows, ADD, "gather.cu",
        "matches &= matches - 1;", "matches = 0;"),
    Bug("pixels beyond the right border are those of the next row", moved, PIXELS, "pixels.cu",
        "c >= 0 && c < w;", "c >= 0;"),
    Bug("a pixel goes to every row", moved, PIXELS, "pixels.cu",
        "if (of_row[i] != r) continue;", ""),
    Bug("threads beside the picture write", moved, PIXELS, "pixels.cu",
        "    if (place >= width) return;\n    const long long c =", "    const long long c ="),
    Bug("mirrored at one end", mirrored, (pixels.SHIFTED,), "pixels.cu",
        "from = last - (from < 0 ? -from : from);\n            from = last -", "from = last -"),
    Bug("a box with a row too many", boxes, (pixels.BOX_MASK,), "pixels.cu",
        "i < top + tall;", "i <= top + tall;"),
    Bug("splits are merged before they are there", batch_norm, BATCH, "norm.cu",
        "= mine;\n    __syncthreads();", "= mine;"),
    Bug("every row is counted by every thread", batch_norm, BATCH, "norm.cu",
        "r = first; r < to; r += blockDim.y)", "r = first; r < to; r++)"),
    Bug("a row of a ragged last round is normalised", short_layer_norm, LAYER, "norm.cu",
        "const bool mine = group < groups;", "const bool mine = true;"),
    Bug("a group of a ragged last round is pulled back", layer_norm_grad, LAYER_GRAD, "norm.cu",
        "const bool mine = group < all;", "const bool mine = true;"),
    Bug("columns past the last are added up", layer_norm_grad, LAYER_GRAD, "norm.cu",
        "if (threadIdx.y > 0 || column >= columns) return;", "if (threadIdx.y > 0) return;"),
    Bug("every split starts at the first example", layer_norm_grad, LAYER_GRAD, "norm.cu",
        "at = (from + threadIdx.y) * columns + column;", "at = threadIdx.y * columns + column;"),
    Bug("an image's last rows count to the next one", instance_norm_grad, LAYER_GRAD, "norm.cu",
        "if (inside >= image) {", "if (inside > image + columns) {"),
    Bug("the mean's factors exchanged", adam, ADAM, "update.cuh",
        "m[i] * beta1 + gradient * rest1;", "m[i] * rest1 + gradient * beta1;"),
    Bug("16 bits are added up in 16 bits", half_means, MEAN, "pool.cu",
        "total += wide(image[at]); }", "total = wide(rounded<T>(total + wide(image[at]))); }"),
    Bug("the last block's values are not looked at", not_finite, FACTOR, "loss_scale.cu",
        "i < n; i += step", "i + THREADS < n; i += step"),
    Bug("the scale grows a step late", loss_scales, (loss_scale.ADAPT["float"],), "loss_scale.cu",
        "count >= interval", "count > interval"),
    Bug("the bias correction without its step", adam, ADAM, "update.cu",
        "c1 = correction(log_beta1, *t), c2 = correction(log_beta2, *t);\n    each_value(n, [&]("
        "long long i) { adam_value",
        "c1 = T(1), c2 = correction(log_beta2, *t);\n    each_value(n, [&](long long i) { "
        "adam_value"),
]  # fmt: skip


@pytest.mark.parametrize("bug", [pytest.param(bug, id=bug.what) for bug in BUGS])
def test_it_is_caught(bug: Bug, card: Any, simulator: Any) -> None:
    bug.check()
    source = bug.kernels[0].source
    text = local_sources(source)[bug.file]
    assert text.count(bug.old) == 1, "the source changed; plant this bug where it is now"
    changed = {bug.file: text.replace(bug.old, bug.new)}
    card.libraries[source] = simulator.Library(source, changed, bug.kernels)
    with pytest.raises(AssertionError):
        bug.check()


# Asynchronous copies, by the kernels of ptx_check.cu


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("cp_async_wait<1>", "cp_async_wait<2>", id="a wait for too few copies"),
        pytest.param("of_b[0], of_b[1]", "of_b[1], of_b[0]", id="fragments exchanged"),
        pytest.param("rows + lane * 8, a", "rows + lane * 8 + 1, a", id="a misaligned copy"),
        pytest.param("rows + 256 + lane * 8", "rows + 288 + lane * 8", id="a copy past the end"),
        pytest.param("ldmatrix_x4(of_a", "if (lane) ldmatrix_x4(of_a", id="a lane stays away"),
    ],
)
def test_a_wrong_use_of_ptx_is_caught(card: Any, simulator: Any, old: str, new: str) -> None:
    source = simulator.PTX_CHECK
    kernel = REGISTRY.get(f"{source}:product<__half>") or Kernel(source, "product", T="__half")
    a, b = (RNG.integers(1, 8, (n, 16)).astype("float16") for n in (16, 8))
    y = np.zeros((16, 8), "float32")

    def multiply() -> None:
        launching.launch(kernel, (1, 1, 1), (32, 1, 1), 1024, (a, b, y))
        close(y, 1 + a.astype("float32") @ b.astype("float32").T)

    multiply()
    text = local_sources(source)[source]
    assert text.count(old) == 1
    changed = {source: text.replace(old, new)}
    card.libraries[source] = simulator.Library(source, changed, [kernel])
    with pytest.raises(AssertionError):
        multiply()
