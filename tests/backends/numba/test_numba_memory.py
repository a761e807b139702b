"""Compiled kernels: no result depends on what memory held before, nor on other threads' calls."""

from __future__ import annotations

import itertools
import threading
import time

import numpy as np
import pytest

pytest.importorskip("numba", reason="numba is not installed: pip install flagstone[fast]")

from flagstone_numba.kernels import (
    batch_norm,
    conv,
    conv_pool,
    elementwise,
    fused,
    norm,
    pool,
    reduction,
    update,
)
from flagstone_numpy import threads


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def conv_passes(n, side, c, k, kernel, groups=1, stride=1, dilation=1):
    """The three passes, and what prediction makes of them, by name."""
    low = (kernel - 1) * dilation // 2
    how = {"stride": (stride,) * 2, "padding": ((low, low),) * 2, "dilation": (dilation,) * 2}
    how["groups"] = groups
    x, w, b = normal(n, side, side, c), normal(k, kernel, kernel, c // groups), normal(k)
    g = conv.conv(x, w, b, **how)
    halves = {"pool_kernel": (2, 2), "pool_stride": (2, 2), "pool_padding": ((0, 1),) * 2}
    return {
        "conv": lambda: conv.conv(x, w, b, **how),
        "conv without bias": lambda: fused.conv_relu(x, w, **how),
        "input": lambda: conv.conv_input_grad(g, w, size=(side, side), **how),
        "weight": lambda: conv.conv_weight_grad(g, x, kernel=(kernel,) * 2, **how),
        "weight and bias": lambda: conv.conv_weight_bias_grad(g, x, kernel=(kernel,) * 2, **how),
        "pooled": lambda: conv_pool.conv_max_pool_relu(x, w, b, **how, **halves),
    }


def adam():
    p, g, m, v = (normal(100_001, seed=i) for i in range(4))
    one = np.array(1, np.float32)
    update.adam_update(
        p, g, m, np.abs(v), np.zeros((), np.float32), one, one, beta1=0.9, beta2=0.99, eps=1e-8,
        weight_decay=0.1, decoupled=False,
    )  # fmt: skip
    return p, m


ROWS, TALL = normal(31, 14, 14, 33), normal(4000, 64)
ONE, FEW = normal(33) + 2, normal(64)
POOL = {"kernel": (3, 3), "stride": (2, 2), "padding": ((1, 1), (1, 0))}
BOXES = {"kernel": (2, 2), "stride": (2, 2), "padding": ((0, 0), (0, 0))}
CALLS = {
    f"{name} {passed}": call
    for name, arguments in {
        "tiles": (20, 12, 32, 48, 3),
        "one channel": (20, 12, 1, 32, 3),
        "products": (20, 12, 12, 20, 2),
        "steps": (9, 13, 17, 24, 3, 1, 2),
        "one tap": (20, 12, 64, 64, 1),
        "depthwise": (9, 13, 8, 8, 3, 8),
        "groups": (9, 13, 16, 8, 3, 4),
    }.items()
    for passed, call in conv_passes(*arguments).items()
    if passed != "pooled" or name in ("tiles", "one channel")  # each is compiled
} | {
    "relu": lambda: elementwise.relu(TALL),
    "relu's gradient": lambda: elementwise.relu_grad(TALL, TALL - 0.5),
    "keep": lambda: elementwise.keep(TALL, TALL > 0, scale=1.25),
    "sum": lambda: reduction.sum(TALL, axis=0),
    "adam": adam,
    "maxima": lambda: pool.max_pool(ROWS, **POOL),
    "maxima of boxes": lambda: fused.max_pool_relu(ROWS, **BOXES),
    "maxima's gradient": lambda: pool.max_pool_grad(
        *pool.max_pool(ROWS, **POOL), size=(14, 14), **POOL
    ),
    "boxes' gradient": lambda: pool.max_pool_grad(
        *pool.max_pool(ROWS, **BOXES), size=(14, 14), **BOXES
    ),
    "batch norm": lambda: batch_norm.batch_norm_relu(ROWS, ONE, ONE, eps=1e-5),
    "batch norm's gradient": lambda: batch_norm.batch_norm_grad(
        ROWS, ROWS[::-1], ONE, ONE**2, ONE, eps=1e-5
    ),
    "layer norm": lambda: norm.axis_norm(TALL, FEW, FEW, axis=(1,), eps=1e-5),
    "group norm": lambda: norm.axis_norm(ROWS, None, None, axis=(1, 2), eps=1e-5),
    "layer norm's gradient": lambda: norm.axis_norm_grad(
        TALL[::-1], TALL, TALL.mean(1, keepdims=True), TALL.var(1, keepdims=True), FEW,
        axis=(1,), eps=1e-5,
    ),
    "mean squares": lambda: norm.axis_rms_norm(TALL, FEW, axis=(1,), eps=1e-5),
    "mean squares' gradient": lambda: norm.axis_rms_norm_grad(
        TALL[::-1], TALL, (TALL**2).mean(1, keepdims=True), FEW, axis=(1,), eps=1e-5
    ),
    "one example": lambda: fused.linear_relu(normal(1, 601), normal(500, 601), normal(500)),
}  # fmt: skip


def agree(found, expected):
    several = expected if type(expected) is tuple else (expected,)
    for a, b in zip(found if type(found) is tuple else (found,), several, strict=True):
        assert isinstance(a, np.ndarray)
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", CALLS)
def test_nothing_is_read_that_was_not_written(monkeypatch, poisoned, name):
    monkeypatch.setattr(threads, "_settings", (1, 1))
    expected = CALLS[name]()
    for number in (1, 3):
        monkeypatch.setattr(threads, "_settings", (number, 1))
        poisoned()
        found = CALLS[name]()
        poisoned(False)
        agree(found, expected)


def test_threads_that_call_kernels_at_once_get_what_one_gets(monkeypatch):
    monkeypatch.setattr(threads, "_settings", (2, 1))
    names = [name for name in CALLS if "without" not in name]
    expected = {name: CALLS[name]() for name in names}
    failed = []

    def call(first):
        order = itertools.islice(itertools.cycle(names), first, first + len(names))
        for name in order:
            try:
                agree(CALLS[name](), expected[name])
            except AssertionError as error:
                failed.append((name, error))

    callers = [threading.Thread(target=call, args=(17 * i,)) for i in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not failed


def test_workers_that_come_late_write_nothing(monkeypatch):
    """Pieces are all done by then, and the caller's memory serves other kernels."""
    monkeypatch.setattr(threads, "_settings", (3, 4))
    names = list(CALLS)
    expected = {name: CALLS[name]() for name in names}
    late = np.random.default_rng(0)
    run = threads._Job.run

    def later(job):
        work = job._work  # begins when others may have done all pieces
        job._work = lambda: (time.sleep(late.choice([0, 0.0005, 0.003])), work())[1]
        run(job)

    monkeypatch.setattr(threads._Job, "run", later)
    for name in (*names, *reversed(names)):
        agree(CALLS[name](), expected[name])
    threads.settle()
