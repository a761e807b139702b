"""Workers, how many there are, and what they do to BLAS, to errors and to forks."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest

from flagstone.errors import ConfigurationError
from flagstone_numpy import threads
from flagstone_numpy.backend import open_numpy
from flagstone_numpy.blas import Hold, find_control
from flagstone_numpy.kernels.conv import conv, conv_input_grad, conv_weight_grad
from flagstone_numpy.kernels.elementwise import relu, relu_grad
from flagstone_numpy.kernels.pool import max_pool, max_pool_grad
from flagstone_numpy.kernels.products import batched_matmul
from flagstone_numpy.kernels.reduction import sum as sum_
from flagstone_numpy.kernels.stochastic import keep
from flagstone_numpy.kernels.update import adam_update

NEEDS_CONTROL = pytest.mark.skipif(
    not threads.blas.works, reason="NumPy's BLAS cannot be held at one thread here"
)


@pytest.fixture
def use(monkeypatch):
    """A function that sets the number of threads for this test."""
    return lambda number: monkeypatch.setattr(threads, "_settings", (number, 1))


def in_new_process(code, **environment):
    """What ``code`` prints in an interpreter of its own."""
    clean = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=clean | environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# ---------------------------------------------------------------------------------- sharing


@pytest.mark.parametrize("number", [1, 2, 3, 8])
@pytest.mark.parametrize("pieces", [0, 1, 2, 50])
def test_every_piece_is_done_once(use, number, pieces):
    use(number)
    done, calls = [], []

    def work(mine):
        calls.append(threading.current_thread())
        done.extend(mine)

    threads.share(work, range(pieces))
    assert sorted(done) == list(range(pieces))
    assert len(calls) <= min(number, pieces)


@NEEDS_CONTROL
def test_workers_and_caller_work_at_once(use):
    use(3)
    meeting = threading.Barrier(3, timeout=30)  # raises unless three threads are in it together
    threads.share(lambda mine: [meeting.wait() for _ in mine], range(3))


@NEEDS_CONTROL
@pytest.mark.parametrize("who", ["caller", "worker"])
def test_an_error_reaches_the_caller_and_blas_is_set_back(use, who):
    use(2)
    before = threads.blas.control.get()
    caller = threading.current_thread()
    meeting = threading.Barrier(2, timeout=30)

    def work(mine):
        for _ in mine:
            meeting.wait()
            if (threading.current_thread() is caller) == (who == "caller"):
                raise ZeroDivisionError(who)

    with pytest.raises(ZeroDivisionError, match=who):
        threads.share(work, range(2))
    assert threads.blas.control.get() == before
    done = []
    threads.share(done.extend, range(5))  # and the workers still work
    assert sorted(done) == list(range(5))


def test_shared_work_inside_shared_work_stays_on_its_thread(use):
    use(2)

    def outer(mine):
        here = threading.current_thread()
        for _ in mine:
            threads.share(lambda inner: [inside.append((here, threading.current_thread()))
                                         for _ in inner], range(3))  # fmt: skip

    inside = []
    threads.share(outer, range(4))
    assert len(inside) == 12
    assert all(here is there for here, there in inside)


def test_two_callers_at_once(use):
    use(2)
    a = np.random.default_rng(0).standard_normal((300, 300)).astype(np.float32)
    want = batched_matmul(a, a)
    got = [None] * 4

    def call(i):
        got[i] = [batched_matmul(a, a) for _ in range(20)]

    callers = [threading.Thread(target=call, args=(i,)) for i in range(4)]
    before = threads.blas.before
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert all((y == want).all() for ys in got for y in ys)
    assert threads.blas.before == before


@NEEDS_CONTROL
def test_workers_heed_the_callers_errstate(use):
    use(2)
    meeting = threading.Barrier(2, timeout=30)

    def work(mine):
        for _ in mine:
            meeting.wait()
            np.float32(3e38) * np.float32(10)

    with warnings.catch_warnings(), np.errstate(over="ignore"):
        warnings.simplefilter("error")
        threads.share(work, range(2))


# -------------------------------------------------------------------------- how many threads


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "²", "1e3"])
def test_a_bad_number_is_refused_when_the_backend_is_opened(monkeypatch, text):
    monkeypatch.setenv("FLAGSTONE_NUM_THREADS", text)
    with pytest.raises(ConfigurationError, match=f"FLAGSTONE_NUM_THREADS.*positive.*{text}"):
        open_numpy(None)


COUNT = """
from flagstone_numpy.backend import open_numpy
from flagstone_numpy import threads
print(threads.count(), open_numpy(None).describe().split(", ")[2])
"""


@NEEDS_CONTROL
@pytest.mark.parametrize(
    ("environment", "number"),
    [
        ({"FLAGSTONE_NUM_THREADS": "3"}, 3),
        ({"FLAGSTONE_NUM_THREADS": "2", "OMP_NUM_THREADS": "1"}, 2),
        ({"OMP_NUM_THREADS": "1"}, 1),
        ({"OPENBLAS_NUM_THREADS": "1"}, 1),
        ({"OMP_NUM_THREADS": "1,4"}, 1),
    ],
)
def test_the_environment_says_how_many(environment, number):
    printed = in_new_process(COUNT, **environment)
    assert printed == f"{number} {number} thread{'s' if number > 1 else ''}"


@NEEDS_CONTROL
def test_a_blank_number_is_none():
    assert in_new_process(COUNT, FLAGSTONE_NUM_THREADS=" ") == in_new_process(COUNT)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="CPUs cannot be chosen here")
def test_one_cpu_means_one_thread():
    pin = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    assert in_new_process(pin + COUNT).startswith("1 ")


@NEEDS_CONTROL
def test_a_limit_set_on_blas_holds_for_the_workers_too(monkeypatch):
    monkeypatch.setattr(threads, "_settings", (None, 4))
    before = threads.blas.control.get()
    try:
        threads.blas.control.set(1)
        assert threads.count() == 1
    finally:
        threads.blas.control.set(before)


# ------------------------------------------------------------------------------ BLAS and forks


@NEEDS_CONTROL
def test_a_hold_is_one_thread_until_the_last_has_left():
    hold = Hold(find_control())
    before = hold.control.get()
    with hold:
        assert hold.control.get() == 1
        with hold:
            pass
        assert hold.control.get() == 1
        assert hold.before == before
    assert hold.control.get() == before


def test_without_a_control_all_runs_on_the_caller(monkeypatch):
    monkeypatch.setattr(threads, "blas", Hold(None))
    monkeypatch.setattr(threads, "_settings", (4, 4))
    seen = []
    threads.share(lambda mine: seen.extend(threading.current_thread() for _ in mine), range(9))
    assert set(seen) == {threading.current_thread()}
    assert threads.count() == 1
    assert "cannot be held" in open_numpy(None).describe()


FORK = """
import multiprocessing, os, warnings
import numpy as np
from flagstone_numpy import threads
from flagstone_numpy.kernels.products import batched_matmul
a = np.ones((300, 300), np.float32)
def child(_):
    return float(batched_matmul(a, a)[0, 0]), threads.count()
if __name__ == "__main__":
    batched_matmul(a, a)  # the workers run before the fork
    warnings.simplefilter("ignore", DeprecationWarning)  # Python's, on a fork beside threads
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(pool.map(child, range(4)))
"""


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system"
)
def test_a_forked_pools_workers_compute_with_one_thread_each():
    printed = in_new_process(FORK, FLAGSTONE_NUM_THREADS="")
    assert printed == str([(300.0, 1)] * 4)


# ------------------------------------------------------ the same bits for any number of threads


def kernels():
    """Every threaded kernel at a size that is cut into pieces, as name -> function of nothing."""
    rng = np.random.default_rng(0)

    def normal(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    same = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1}
    wide = same | {"stride": (2, 2)}
    pooling = {"kernel": (2, 2), "stride": (2, 2), "padding": ((0, 1), (0, 1))}
    x, w, b, g = normal(40, 15, 15, 32), normal(48, 3, 3, 32), normal(48), normal(40, 15, 15, 48)
    half = normal(40, 8, 8, 48)
    image, filters = normal(40, 28, 28, 1), normal(32, 3, 3, 1)
    y, index = max_pool(x, **pooling)
    mask = rng.random(x.shape) < 0.5
    a, c = normal(300, 400), normal(400, 500)

    def adam():
        p, m, v = x.ravel().copy(), np.zeros(x.size, np.float32), np.zeros(x.size, np.float32)
        t, one = np.zeros((), np.float32), np.float32(1)
        adam_update(
            p, x.ravel(), m, v, t, one, one, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.1,
            decoupled=True,
        )  # fmt: skip
        return np.stack([p, m, v])

    return {
        "adam_update": adam,
        "winograd": lambda: conv(x, w, b, **same),
        "winograd, input": lambda: conv_input_grad(g, w, size=(15, 15), **same),
        "winograd, weights": lambda: conv_weight_grad(g, x, kernel=(3, 3), **same),
        "im2col": lambda: conv(x, w, b, **wide),
        "im2col, input": lambda: conv_input_grad(half, w, size=(15, 15), **wide),
        "im2col, weights": lambda: conv_weight_grad(half, x, kernel=(3, 3), **wide),
        "narrow": lambda: conv(image, filters, None, **same),
        "narrow, weights": lambda: conv_weight_grad(
            conv(image, filters, None, **same), image, kernel=(3, 3), **same
        ),
        "max_pool": lambda: max_pool(x, **pooling)[0],
        "max_pool_grad": lambda: max_pool_grad(y, index, size=(15, 15), **pooling),
        "relu": lambda: relu(x),
        "relu_grad": lambda: relu_grad(x, x),
        "keep": lambda: keep(x, mask, scale=1.25),
        "matmul": lambda: batched_matmul(a, c),
        "sum": lambda: sum_(x, axis=(0, 1, 2)),
    }


@pytest.mark.parametrize("name", kernels())
def test_the_same_bits_for_any_number_of_threads(use, name):
    kernel = kernels()[name]
    use(1)
    want = kernel()
    for number in (2, 3):
        use(number)
        for _ in range(3):
            np.testing.assert_array_equal(kernel(), want)
