"""Steps that are captured: recorded while they run, then replayed without the tape."""

from __future__ import annotations

import contextlib
import functools
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from flagstone.backend import Backend, open_backend
from flagstone.devices import Device
from flagstone.errors import CaptureError, InputError
from flagstone.recording import Note, Program, Recorder, compare, guard
from flagstone.step_arguments import (
    OtherRepeatsError,
    filled,
    only_for,
    repeats_in,
    signature,
    taken_apart,
    tensors_in,
)
from flagstone.tape import observe, state
from flagstone.tensors import Tensor, host

LIMIT = 8
"""Captures that one function keeps: one for each signature, the least recently used goes."""
ATTEMPTS = 4
"""Runs that are recorded before a step counts as one that cannot be captured; the first may set up
what later ones use, and it takes two that are alike."""

Replay = Callable[..., Sequence[Any]]
"""(arrays of the step's tensor arguments) -> arrays of the tensors that it returns. It may have a
method ``sweep(tables, first, last, rest)``, which :meth:`Captured.sweep` uses, ``None`` if not."""


class UnrepeatableError(CaptureError):
    """What a replay raises that did the step in its first run, and cannot do it again.

    Attributes:
        results: what the replay would have returned.
    """

    def __init__(self, reason: str, results: Sequence[Any]) -> None:
        super().__init__(reason)
        self.results = results


class Captured:
    """A function of tensors that is recorded on its first calls and replayed from then on.

    What a call does, and its numbers, are the same either way. A new signature (shapes, dtypes and
    strides of tensors, other arguments, whether gradients are on) is recorded anew, and so is one
    whose layers or optimizer got another value of any attribute, ``training`` among them, or whose
    parameters were frozen, moved or replaced. docs/capturing.md has a table of it. Of ``LIMIT``
    captures the least recently used goes.

    The function takes tensors, ``None``, numbers, strings, and tuples, lists and dicts of them, and
    returns such. It computes with ops; whatever differs between two calls must be an argument, or
    change in place. A tensor that it returns knows no tape: differentiate inside. Calls from
    several threads wait for each other.

    Attributes:
        reason: why the last signature that could not be captured could not; ``None`` if all could.
    """

    def __init__(
        self, function: Callable[..., Any], *, backend: Backend | None = None, strict: bool = False
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.reason: CaptureError | None = None
        self._backend, self._strict = backend, strict
        self._lock = threading.RLock()
        self._entries: list[tuple[Any, Callable[..., Any]]] = []  # most recently used first

    def __call__(self, *arguments: Any) -> Any:
        if state.observer is not None:  # somebody wants to see the op calls
            return self.function(*arguments)
        with self._lock:
            key = [signature(x) for x in arguments]
            key.append(state.grad_enabled)
            entries = self._entries
            if entries and entries[0][0] == key and _fits(entries[0][1]):
                return entries[0][1](*arguments)
            return self._find(key, arguments)(*arguments)

    def sweep(
        self, tables: Sequence[Tensor | None], first: int, last: int, *rest: Any
    ) -> Iterator[int]:
        """Call with row ``i`` of every table, and ``rest``, for i = first ... last - 1.

        What the function returns is dropped. A device that can reads its rows itself and does
        several steps at once. Nobody may change the tables and ``rest`` meanwhile.

        Args:
            tables: the first arguments; ``None`` stands for itself.
            first, last: the rows, ``last`` left out.
            rest: the other arguments, the same for every step.

        Yields:
            The number of the row that comes next, after each step or after several.
        """
        i = first
        many = self._sweep_of(tables, i, rest) if i < last else None
        while i < last:
            if many is not None:
                for done in many(tables, i, last, rest):
                    i = done
                    yield i
                if i == last:
                    return
            self(*_row(tables, i), *rest)
            i += 1
            yield i
            many = getattr(self._entries[0][1], "sweep", None) if self._entries else None

    def _sweep_of(
        self, tables: Sequence[Tensor | None], i: int, rest: tuple[Any, ...]
    ) -> Callable[..., Iterator[int]] | None:
        """What does several steps at once, if this one was captured and it can."""
        if all(getattr(step, "sweep", None) is None for _, step in self._entries):
            return None
        key = [*map(signature, (*_row(tables, i), *rest)), state.grad_enabled]
        for known, step in self._entries:
            if known == key and state.observer is None and _fits(step):
                return getattr(step, "sweep", None)
        return None

    @property
    def launches(self) -> float | None:
        """Of the step that was used last; see :attr:`Recorded.launches`."""
        return getattr(self._entries[0][1], "launches", None) if self._entries else None

    def forget(self) -> None:
        """Drop all captures, and the memory that they hold."""
        for _, step in self._entries:
            if isinstance(step, Recorded):
                step.fits = lambda: False  # a sweep that is under way ends
        self._entries.clear()

    def _find(self, key: Any, arguments: tuple[Any, ...]) -> Callable[..., Any]:
        """The capture for this signature, moved to the front."""
        for i, (known, step) in enumerate(self._entries):
            if known == key and _fits(step):
                self._entries.insert(0, self._entries.pop(i))
                return step
        backend = self._backend
        if backend is None:
            tensors = tensors_in(arguments)
            backend = tensors[0].backend if tensors else open_backend(None)
        step = backend.capture(self.function, *arguments)
        if isinstance(step, Recorded):
            step.on_failure = self._give_up
        self._entries.insert(0, (key, step))
        del self._entries[LIMIT:]
        return step

    def _give_up(self, reason: CaptureError) -> None:
        told, self.reason = self.reason is not None, reason
        if self._strict:
            raise reason
        if not told:
            warnings.warn(
                f"{reason}. It runs uncaptured, more slowly", RuntimeWarning, stacklevel=4
            )


@contextlib.contextmanager
def forgotten(*steps: Callable[..., Any]) -> Iterator[None]:
    """At its end those that are captured drop their captures and with them the device's memory."""
    try:
        yield
    finally:
        for step in steps:
            if isinstance(step, Captured):
                step.forget()


def sweep(
    step: Callable[..., Any], tables: Sequence[Tensor | None], first: int, last: int, *rest: Any
) -> Iterator[int]:
    """What :meth:`Captured.sweep` does, for any function."""
    if isinstance(step, Captured):
        return step.sweep(tables, first, last, *rest)
    return _one_by_one(step, tables, first, last, *rest)


def _one_by_one(
    step: Callable[..., Any], tables: Sequence[Tensor | None], first: int, last: int, *rest: Any
) -> Iterator[int]:
    for i in range(first, last):
        step(*_row(tables, i), *rest)
        yield i + 1


def _row(tables: Sequence[Tensor | None], i: int) -> list[Tensor | None]:
    return [None if t is None else Tensor(t.array[i, ...], t.backend) for t in tables]


def capture(
    function: Callable[..., Any] | None = None,
    *,
    device: str | Device | Backend | None = None,
    strict: bool = False,
) -> Any:
    """``function`` as a :class:`Captured` one, which is replayed without Python; also a decorator.

    The first calls run it as it is and record its op calls; from then on those are done again and
    its Python lines are not run. So what it prints, counts or appends happens while recording only.
    What differs between two calls must be an argument, or a tensor that changes in place
    (parameters, ``optimizer.lr``, ``load_state_dict``), or an attribute of an optimizer or a layer,
    or what a variable is bound to that the function looks up, which makes it record anew. Capture
    again after anything else has changed.

    Args:
        function: a step: forward, backward and update, or a forward pass for predicting.
        device: where it computes; by default where its first tensor argument lives.
        strict: raise a ``CaptureError`` where the function cannot be captured, instead of a
            ``RuntimeWarning`` and running it as it is.

    Example:
        >>> @fs.capture
        ... def step(x, y):
        ...     optimizer.zero_grad()
        ...     loss = fs.losses.mse(layer(x), y)
        ...     loss.backward()
        ...     optimizer.step()
        ...     return loss
    """
    if function is None:
        return functools.partial(capture, device=device, strict=strict)
    if not callable(function):
        raise InputError(f"capture: expected a function; got {type(function).__name__}")
    backend = None if device is None else open_backend(device)
    return Captured(function, backend=backend, strict=strict)


class Recorded:
    """One step for arguments like an example's, for a backend's ``capture`` to return.

    The first calls run the step as it is, watched; each counts as a step like any other, so there
    is nothing to roll back. When two runs in a row were alike, ``build`` makes the replay.

    Args:
        step: the function.
        backend: whose arrays it uses.
        build: makes the replay of a program; it may raise ``CaptureError``.
        note: see :class:`flagstone.recording.Recorder`.

    Attributes:
        fits: tells whether tensors and layers are as the replay relies on.
        on_failure: called once with the reason if the step cannot be captured.
        program: what is replayed, ``None`` before.
    """

    def __init__(
        self,
        step: Callable[..., Any],
        backend: Backend,
        build: Callable[[Program], Replay] | None = None,
        note: Note | None = None,
    ) -> None:
        self._step, self._backend, self._build, self._note = step, backend, build, note
        self.fits: Callable[[], bool] = lambda: True
        self.on_failure: Callable[[CaptureError], None] | None = None
        self.program: Program | None = None
        self._before: tuple[Program, Any] | None = None
        self._attempts = 0
        self._replay: Replay | None = None
        self._failed = False
        self._form: Any = None

    @property
    def sweep(self) -> Callable[..., Iterator[int]] | None:
        """As :meth:`Captured.sweep`, where the replay can; it may end early."""
        return self._sweep if getattr(self._replay, "sweep", None) is not None else None

    @property
    def launches(self) -> float | None:
        """How many calls or launches a replayed step takes in a sweep, where the replay tells it:
        below 1 where one does several steps, 0 where one does all; ``None`` before."""
        found = getattr(self._replay, "launches", None)
        return None if found is None else float(found)

    def _sweep(self, tables: Any, first: int, last: int, rest: Any) -> Iterator[int]:
        rows = [None if t is None else t.array for t in tables]
        arrays = [x.array for x in tensors_in(rest)]
        sweep: Any = self._replay
        try:
            for i in sweep.sweep([a for a in rows if a is not None], first, last, arrays):
                yield i
                if not self.fits():
                    return
        except CaptureError as error:
            self._give_up(error)

    def __call__(self, *arguments: Any) -> Any:
        replay = self._replay
        if replay is None:
            return self._step(*arguments) if self._failed else self._record(arguments)
        try:
            arrays = replay(*[x.array for x in tensors_in(arguments)])
        except IndexError as error:  # what take and gather make of it outside of a replay
            raise InputError(f"an index does not fit: {error}") from None
        except OtherRepeatsError:
            return self._step(*arguments)
        except UnrepeatableError as error:
            arrays = error.results
            self._give_up(error)
        form = self._form
        if form is None:
            return None
        if form is Tensor:
            return Tensor(arrays[0], self._backend)
        return filled(form, iter([Tensor(a, self._backend) for a in arrays]))

    def _record(self, arguments: tuple[Any, ...]) -> Any:
        tensors = tensors_in(arguments)
        recorder = Recorder(self._backend, tensors, self._note)
        host.watcher = state.watcher = recorder
        try:
            with observe(recorder):
                result = self._step(*arguments)
        finally:
            host.watcher = state.watcher = None
        form, returned = taken_apart(result)
        problem = recorder.problem or _tape_left(returned)
        returned = [x.detach() for x in returned]
        result = filled(form, iter(returned)) if problem is None else result
        if problem is None:
            recorder.finish(returned)
            problem = recorder.problem
        self._learn(recorder.program, form, problem, repeats_in([x.array for x in tensors]))
        return result

    def _learn(self, program: Program, form: Any, problem: str | None, repeats: list[int]) -> None:
        self._attempts += 1
        before, self._before = self._before, None
        try:
            if problem is not None:
                raise CaptureError(problem)
            if before is not None:
                if repr(before[1]) != repr(form):
                    raise CaptureError("it returns another Python value in the next run")
                compare(before[0], program)
                replay = program.run if self._build is None else self._build(program)
                distinct = repeats == [*range(len(repeats))]
                self._replay = replay if distinct else only_for(repeats, replay)
                self.program, self._form, self.fits = program, form, guard(program, self._step)
                return
            self._before = (program, form)
        except CaptureError as error:
            if problem is None:
                self._before = (program, form)
            if self._attempts >= ATTEMPTS:
                self._give_up(error)

    def _give_up(self, error: CaptureError) -> None:
        """From now on the step runs as it is."""
        self._failed, self._before, self._replay, self.program = True, None, None, None
        name = getattr(self._step, "__qualname__", repr(self._step))
        reason = CaptureError(f"{name} cannot be captured: {error}")
        if self.on_failure is not None:
            self.on_failure(reason)


def _fits(step: Any) -> bool:
    fits = getattr(step, "fits", None)
    return True if fits is None else fits()


def _tape_left(returned: Sequence[Tensor]) -> str | None:
    """Why what a step returned is of no use without its tape, if it is."""
    if any(x.node is not None and x.node.saved is not None for x in returned):
        return (
            "it returns a tensor through which gradients could still pass; call backward() inside "
            "of it, return x.detach(), or call it under no_grad()"
        )
    return None
