"""Workers, how many there are, and what they do to BLAS, to errors and to forks."""

from __future__ import annotations

import functools
import multiprocessing
import os
import subprocess
import sys
import threading
import time
import types
import warnings
import weakref

import numpy as np
import pytest

from flagstone.errors import ConfigurationError
from flagstone_numpy import threads
from flagstone_numpy.backend import open_numpy
from flagstone_numpy.blas import Hold, find_control

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


@NEEDS_CONTROL
@pytest.mark.parametrize("when", ["asking", "waiting"])
def test_an_interrupt_leaves_no_worker_writing(use, monkeypatch, when):
    """The caller's memory is its own again when it is told, wherever the interrupt came."""
    use(2)
    began, ended, interrupts = threading.Event(), threading.Event(), [1, 1, 1]

    def work(turns):
        if turns[2]:
            assert began.wait(10)
        else:
            began.set()
            time.sleep(0.2)  # the interrupts come while this worker could still write
            ended.set()

    def interrupted(plain):
        def call(*given):
            if interrupts:
                interrupts.pop()
                raise KeyboardInterrupt
            return plain(*given)

        return call

    name = {"asking": "end", "waiting": "wait"}[when]
    monkeypatch.setattr(threads._Job, name, interrupted(getattr(threads._Job, name)))
    with pytest.raises(KeyboardInterrupt):
        threads.share_turns(work, 2)
    assert ended.is_set()
    assert not interrupts


@NEEDS_CONTROL
def test_workers_are_not_lost_to_an_interrupt_just_before_they_are_called(use):
    use(2)
    threads._team.lock.acquire()
    meeting = threading.Barrier(2, timeout=30)
    try:
        threads.share(lambda mine: [meeting.wait() for _ in mine], range(2))
    finally:
        threads._team.lock.release()


def test_a_worker_may_be_woken_by_two_threads_at_once():
    """By work and by :func:`~flagstone_numpy.threads.settle`: the other has done it meanwhile."""

    def release():
        raise RuntimeError("release unlocked lock")

    wake = types.SimpleNamespace(locked=lambda: True, release=release)
    worker = types.SimpleNamespace(_jobs=[], _wake=wake)
    threads._Worker.start(worker, "job")
    assert worker._jobs == ["job"]


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


@NEEDS_CONTROL
def test_a_worker_that_looks_out_for_more_holds_no_array_once_settled(use):
    use(2)
    began, leave = threading.Event(), threading.Event()

    def work(array, turns):
        state, _, is_caller = turns
        if is_caller:
            assert began.wait(10)
            state[8] = state[16]  # all pieces are finished
        else:
            began.set()
            leave.wait(10)
            array[0] = 1

    array = np.zeros(1)
    held = weakref.ref(array)
    threads.share_turns(functools.partial(work, array), 2)
    del array
    assert held() is not None
    leave.set()
    threads.settle()
    assert held() is None


def test_two_callers_at_once(use):
    use(2)
    a = np.random.default_rng(0).standard_normal((300, 300)).astype(np.float32)

    def square():
        y = np.empty_like(a)

        def work(mine):
            for row in mine:
                np.matmul(a[row : row + 30], a, out=y[row : row + 30])

        threads.share(work, range(0, 300, 30))
        return y

    want = square()
    got = [None] * 4

    def call(i):
        got[i] = [square() for _ in range(20)]

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
def test_blas_is_set_to_the_number_asked_for():
    code = "from flagstone_numpy.backend import open_numpy\nfrom flagstone_numpy import threads\n"
    code += "open_numpy(None); print(threads.blas.control.get())"
    assert in_new_process(code, FLAGSTONE_NUM_THREADS="1") == "1"


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
from flagstone_numpy.backend import open_numpy
def work(mine):
    done.extend(mine)
def child(_):
    done.clear()
    open_numpy(None)
    threads.share(work, range(9))
    return sorted(done) == list(range(9)), threads.count(), threads.blas.control.get()
done = []
if __name__ == "__main__":
    threads.share(work, range(9))  # the workers run before the fork
    warnings.simplefilter("ignore", DeprecationWarning)  # Python's, on a fork beside threads
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(pool.map(child, range(4)))
"""


@NEEDS_CONTROL
@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system"
)
def test_a_forked_pools_workers_compute_with_one_thread_each():
    printed = in_new_process(FORK, FLAGSTONE_NUM_THREADS="")
    assert printed == str([(True, 1, 1)] * 4)


JOBLIB = """
import os
from joblib import Parallel, delayed
def used(_):
    import threading
    import numpy as np
    from flagstone_numpy import products, threads
    from flagstone_numpy.backend import open_numpy
    open_numpy(None)
    a = np.ones((900, 900), np.float32)
    products.product(a, a)
    ours = sum(t.name.startswith("flagstone-") for t in threading.enumerate())
    return threads.count(), 1 + ours, threads.blas.control.get()
if __name__ == "__main__":
    jobs = max(2, os.cpu_count())
    print(set(Parallel(n_jobs=jobs)(delayed(used)(i) for i in range(2 * jobs))))
"""


@NEEDS_CONTROL
def test_joblibs_workers_compute_with_one_thread_each():
    """As many processes as processors: no more threads than those, ours and BLAS's together."""
    pytest.importorskip("joblib", reason="uses joblib, which is not installed")
    assert in_new_process(JOBLIB) == "{(1, 1, 1)}"
