"""Threads: how many there are, and the workers of our own among which kernels share their work.

:func:`share` cuts a kernel's work among workers while BLAS is held at one thread: two levels of
threads fight over the cores, and a thread of BLAS that has finished its part spins for tens of
milliseconds where a worker is to run next. So kernels never let BLAS start threads; what they ask
of it is cut for workers too (:mod:`flagstone_numpy.products`). Work is cut by shape alone, never by
the number of threads, and each piece's results have a place of their own, so results are the same
bits for any number of threads. The caller works too; a worker is a thread that waits on a lock.

Between two NumPy calls a thread wants the interpreter's lock back, and where it must sleep for it,
waking takes longer than a short call. So NumPy's kernels hand out long calls, of 50 us and more,
and keep work below some 300 us on the caller (``python asv_bench/blas_paths.py``).

Waking a worker takes 10 to 60 us, and each piece that is handed out in Python asks for the
interpreter's lock, which another thread may hold. So loops that are compiled take their pieces from
:func:`share_turns` by themselves, and a worker that has none left looks out for the next work a
little while, in compiled code, before it sleeps.

How many threads, in this order: ``FLAGSTONE_NUM_THREADS``, to which BLAS is set as well; one in a
daemonic process, such as a worker of ``multiprocessing.Pool``, whose siblings have the other cores;
as many as BLAS is set to at the moment (``threadpool_limits`` and joblib's workers lower that), at
most ``OMP_NUM_THREADS`` and the like, and at most the CPUs that this process may run on. Where BLAS
cannot be held at one thread, it keeps its own and all pieces run on the caller.
"""

from __future__ import annotations

import contextvars
import itertools
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from flagstone.errors import ConfigurationError
from flagstone_numpy.blas import Hold, find_control

Piece = TypeVar("Piece")
Turns: TypeAlias = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], bool]
"""What compiled loops take pieces by: the state of the work, :data:`mail`, whether this thread is
the caller. The state's numbers, each written by others on a line of its own: how many pieces are
taken (at 0), how many finished (8), and, as they stay, how many there are (16), the number of this
work (17), and how often a thread that waits may look before it sleeps (18)."""
mail = np.zeros(8, np.int64)
"""At 0 the number of the work that was last begun."""
LOOKS = 16000
"""Some 200 us, each with a pause of the processor's."""

VARIABLE = "FLAGSTONE_NUM_THREADS"
_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")


class _Job:
    """What one worker is to do for one call, unless the caller is done before it starts."""

    __slots__ = ("_context", "_done", "_error", "_is_finished", "_taken", "_work")

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        self._context = contextvars.copy_context()  # np.errstate lives there
        self._taken: dict[str, str] = {}  # "by" whom; the first to say so decides if it is run
        self._done = threading.Lock()
        self._done.acquire()
        self._is_finished = False
        self._error: BaseException | None = None

    def run(self) -> None:
        if self._taken.setdefault("by", "worker") == "caller":
            return
        try:
            self._context.run(self._work)
        except BaseException as error:  # noqa: BLE001  # the caller raises it
            self._error = error
        self._work = _nothing  # and the arrays that it held are the caller's alone
        self._is_finished = True
        self._done.release()

    def end(self, is_done: Callable[[], bool]) -> BaseException | None:
        """Call the job off, or wait until it has ended and return its error; may be called again.

        Waking a thread can take 100 us; work that is done by then waits for nobody, nor does work
        of which ``is_done`` says so.
        """
        if self._taken.setdefault("by", "caller") == "caller":
            self._work = _nothing  # the worker may wake much later
            return None
        return None if is_done() else self.wait()

    def wait(self) -> BaseException | None:
        """Wait until the job, which nobody calls off, has ended, and return its error."""
        while not self._is_finished:
            self._done.acquire()
        return self._error


def _nothing() -> None: ...


class _Worker:
    """A thread that runs jobs in turn."""

    def __init__(self, number: int) -> None:
        self._jobs: deque[_Job] = deque()
        self._wake = threading.Lock()
        self._wake.acquire()
        threading.Thread(target=self._loop, name=f"flagstone-{number}", daemon=True).start()

    def start(self, job: _Job) -> None:
        self._jobs.append(job)
        try:
            self._wake.release()
        except RuntimeError:  # it was woken for another job, and will see this one
            return

    def _loop(self) -> None:
        _here.is_inside = True
        while True:
            self._wake.acquire()
            while self._jobs:
                self._jobs.popleft().run()


class _Here(threading.local):
    is_inside = False  # whether this thread runs a piece of some shared work


class _Team:
    """The workers of this process; started when first wanted."""

    def __init__(self) -> None:
        # Held while the workers are at work. An interrupt may leave it held, by a thread that then
        # may hold it again.
        self.lock = threading.RLock()
        self.workers: list[_Worker] = []

    def upto(self, wanted: int) -> list[_Worker]:
        """Return ``wanted`` workers, or fewer where the system gives no more threads."""
        while len(self.workers) < wanted:
            try:
                self.workers.append(_Worker(len(self.workers) + 1))
            except RuntimeError:  # "can't start new thread": a limit, or the interpreter is ending
                break
        return self.workers[:wanted]


_here = _Here()
_team = _Team()
_numbers = itertools.count(1)
blas = Hold(find_control())


def requested() -> int | None:
    """Return ``FLAGSTONE_NUM_THREADS``, or None where it is not set.

    Raises:
        ConfigurationError: it is not a positive integer.
    """
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text)):
        raise ConfigurationError(f"{VARIABLE}: expected a positive integer; got {text!r}")
    return int(text)


def allowed() -> int:
    """Return how many threads the environment and the process's CPUs allow."""
    if _is_pool_worker():
        return 1
    affinity = getattr(os, "sched_getaffinity", None)
    cpus = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    limits = [os.environ.get(name, "").split(",")[0].strip() for name in _LIMITS]
    return min([cpus, *(int(text) for text in limits if text.isdigit() and int(text))])


def _is_pool_worker() -> bool:
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.current_process().daemon


_settings: tuple[int | None, int] | None = None


def configure() -> None:
    """Read the environment again and tell BLAS; a backend does so when it is opened.

    BLAS keeps the number that it has unless ``FLAGSTONE_NUM_THREADS`` says another, or the process
    is one of a pool.

    Raises:
        ConfigurationError: ``FLAGSTONE_NUM_THREADS`` is not a positive integer.
    """
    global _settings
    _settings = requested(), allowed()
    wanted = _settings[0] or (1 if _is_pool_worker() else None)
    if wanted is not None and blas.control is not None:
        blas.control.set(wanted)


def count() -> int:
    """Return how many threads a kernel would use now, the caller included."""
    if _settings is None:
        configure()
    asked, limit = _settings or (None, 1)
    if not blas.works:
        return 1
    return asked or min(limit, blas.before)


def share(work: Callable[[Iterator[Piece]], None], pieces: Iterable[Piece]) -> None:
    """Call ``work`` on several threads at once, each time with an iterator over its own pieces.

    Every piece goes to exactly one call, to whichever asks first; without pieces there is no call,
    and no more calls than pieces. A call keeps what it reuses between pieces, such as scratch
    memory, in its own variables. Inside a call another ``share`` runs on the thread that it is
    called from. An exception in any call is raised here, when all calls have ended.
    """
    queue = deque(pieces)
    if not queue:
        return
    if _here.is_inside or not blas.works:
        work(_take(queue))
        return
    with blas:
        wanted = min(count(), len(queue))
        if wanted > 1 and _team.lock.acquire(blocking=False):
            try:
                workers = _team.upto(wanted - 1)
                _run_with(workers, lambda _: work(_take(queue)), _never, next(_numbers))
            finally:
                _team.lock.release()
        else:
            _run_with([], lambda _: work(_take(queue)))


def share_turns(work: Callable[[Turns], None], pieces: int, most: int = 1 << 30) -> None:
    """Call ``work`` on several threads at once with what its compiled loops take pieces by.

    The rules are those of :func:`share`; there are ``most`` threads at most. The compiled part is
    :mod:`flagstone_numba.loops.turns`.
    """
    if not pieces:
        return
    state = np.zeros(24, np.int64)
    state[16] = pieces

    def run(is_caller: bool) -> None:
        work((state, mail, is_caller))

    if _here.is_inside or not blas.works:
        run(True)
        return
    wanted = min(count(), pieces, most)
    if wanted > 1 and _team.lock.acquire(blocking=False):
        try:
            state[17] = next(_numbers)
            state[18] = LOOKS if _settings is not None and wanted <= _settings[1] else 0
            workers = _team.upto(wanted - 1)
            _run_with(workers, run, lambda: bool(state[8] >= pieces))
        finally:
            _team.lock.release()
    else:
        _run_with([], run)


def settle() -> None:
    """Wait until no worker holds on to arrays of work that is done: it may still look out for more,
    within the call that had them."""
    jobs = [_Job(_nothing) for _ in _team.workers]
    for worker, job in zip(_team.workers, jobs, strict=True):
        worker.start(job)
    for job in jobs:
        job.wait()


def _never() -> bool:
    return False


def _run_with(
    workers: list[_Worker], work: Callable[[bool], None], is_done: Callable[[], bool] = _never,
    number: int | None = None,
) -> None:  # fmt: skip
    """Run ``work`` on the caller and on each of ``workers``, until all have ended or it is done.

    It is told whether it runs on the caller. With a ``number``, workers are told it at once.
    """
    jobs: list[_Job] = []
    _here.is_inside = True
    try:
        for worker in workers:
            jobs.append(_Job(lambda: work(False)))
            worker.start(jobs[-1])
        if number is not None:
            mail[0] = number
        work(True)
    finally:
        _here.is_inside = False
        error = _end(jobs, is_done)
    if error is not None:
        raise error


def _end(jobs: list[_Job], is_done: Callable[[], bool]) -> BaseException | None:
    """Return an error of the jobs when all have ended. An interrupt counts as one, and must not
    leave a job running, which would write to memory that is the caller's again."""
    interrupt: BaseException | None = None
    while True:
        try:
            errors = [job.end(is_done) for job in jobs]
            return next((e for e in errors if e is not None), interrupt)
        except KeyboardInterrupt as error:
            interrupt = error


def _take(queue: deque[Piece]) -> Iterator[Piece]:
    """Yield pieces until none is left; taking one is atomic."""
    while True:
        try:
            piece = queue.popleft()
        except IndexError:
            return
        yield piece


def _after_fork_in_child() -> None:
    """Forget the parent's threads, of which a child has none."""
    global _team, _settings
    _team = _Team()
    _settings = None
    _here.is_inside = False
    blas.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
