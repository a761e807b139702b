"""What every suite is: the checks of one registered thing, one method each.

A suite is a plain class. pytest collects a subclass of it; :func:`run_suite`, and with it
``flagstone check``, runs it without pytest::

    class TestGated(LayerSuite):
        name = "gated"

A check is a method ``test_<point>`` whose docstring says what it holds a plugin to. Arguments that
it has are cases, from :meth:`Suite.cases`: a test each for pytest, one point for the command. It
fails with an ``AssertionError`` that names the thing, the point, what was expected and what was
seen; anything else that the plugin raises becomes one. It is skipped by :func:`skip`, or where
something that the plugin needs is not here (``UnavailableError``).
"""

from __future__ import annotations

import functools
import inspect
import time
import unittest
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NoReturn

from flagstone.backend import Backend, open_backend
from flagstone.errors import UnavailableError, UnknownNameError
from flagstone.plugins import Spec, registry
from flagstone.plugins.guests import quiet_output
from flagstone.plugins.targets import explain
from flagstone.testing.randomness import noted_draws
from flagstone.training.interrupt import ENDED_BY_SIGTERM

PREFIX = "test_"
Status = Literal["passed", "failed", "skipped", "warned"]


class Skipped(unittest.SkipTest):
    """A point that cannot be checked here; pytest takes it for a skipped test."""


class CheckWarning(UserWarning):
    """Something that is not wrong but that the plugin's author wants to know."""


def skip(reason: str) -> NoReturn:
    """End the check that is running as skipped."""
    raise Skipped(reason)


class Suite:
    """The base of the suites.

    Attributes:
        kind: what is checked: ``"layer"``, ``"model"``, ...
        name: the name that it is registered under.
        device: where it is checked: ``cpu``, ``cuda:1``, a backend's name.
    """

    kind: ClassVar[str] = ""
    name: str = ""
    device: str = "cpu"

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for attribute, value in list(vars(cls).items()):
            if attribute.startswith(PREFIX) and inspect.isfunction(value):
                setattr(cls, attribute, _told(value))

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}"

    @classmethod
    def points(cls) -> dict[str, str]:
        """What is checked: each point's name and what it holds the thing to, in order."""
        found = {}
        for base in reversed(cls.__mro__):
            for attribute in vars(base):
                if attribute.startswith(PREFIX) and callable(getattr(cls, attribute)):
                    text = inspect.getdoc(getattr(cls, attribute)) or ""
                    found[attribute.removeprefix(PREFIX)] = text.partition("\n\n")[0]
        return found

    @classmethod
    def cases(cls, argument: str) -> Mapping[str, Any]:
        """The cases of an argument of the checks: an id and a value each."""
        raise NotImplementedError(f"{cls.__name__}: nothing says what {argument!r} is")

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """For pytest: a test for each case."""
        for argument in _arguments(metafunc.function):
            cases = self.cases(argument)
            metafunc.parametrize(argument, list(cases.values()), ids=list(cases))

    @property
    def spec(self) -> Spec:
        """What the plugin said of it."""
        return registry.find(self.kind, self.name)

    @property
    def target(self) -> Any:
        """The registered object itself."""
        return self.spec.load()

    @property
    def opened(self) -> Backend:
        """The opened backend of :attr:`device`."""
        return open_backend(self.device)


def _arguments(check: Callable[..., None]) -> list[str]:
    """The names of a check's arguments, besides ``self``."""
    return [name for name in inspect.signature(check).parameters if name != "self"]


def _told(check: Callable[..., None]) -> Callable[..., None]:
    """The check, every way in which it can fail told as an AssertionError that names the point."""
    if getattr(check, "names_its_point", False):
        return check
    point = check.__name__.removeprefix(PREFIX)

    @functools.wraps(check)
    def told(self: Suite, *arguments: Any, **named: Any) -> None:
        try:
            with noted_draws() as draws:
                check(self, *arguments, **named)
        except Skipped:
            raise
        except UnavailableError as error:
            raise Skipped(str(error)) from error
        except AssertionError as error:
            text = " ".join(str(error).split()) or "the check's own assertion does not hold"
            text += "".join(
                f"; it may be because {place} draws from {module} without a seed"
                for module, place in draws.items()
                if place not in text
            )
            raise AssertionError(f"{self}, {point}: {text}") from error
        except (Exception, SystemExit) as error:  # a stranger's code, any failure
            if isinstance(error, SystemExit) and error.code == ENDED_BY_SIGTERM:
                raise  # nobody's failure
            raise AssertionError(
                f"{self}, {point}: expected no error; got {explain(error)}"
            ) from error

    told.names_its_point = True  # type: ignore[attr-defined]  # a function takes attributes
    return told


@dataclass(frozen=True)
class Outcome:
    """How the check of one point ended.

    Attributes:
        point: its name.
        status: ``"passed"``, ``"failed"``, ``"skipped"`` or ``"warned"``.
        reason: why, in one line; empty if it passed.
        holds: what the point holds a plugin to.
        seconds: what it took.
    """

    point: str
    status: Status
    reason: str
    holds: str
    seconds: float


def run_suite(suite: type[Suite], only: Collection[str] = ()) -> Iterator[Outcome]:
    """Check every point of ``suite``, each on a new instance; one outcome after another.

    What a plugin prints goes to standard error.

    Args:
        suite: a subclass with a ``name``.
        only: the points to check; all by default.

    Raises:
        UnknownNameError: it has no such point.
    """
    points = suite.points()
    for point in only:
        if point not in points:
            raise UnknownNameError(f"point of {suite.kind}s", point, points)
    return _run(suite, [point for point in points if not only or point in only])


def _run(suite: type[Suite], points: Collection[str]) -> Iterator[Outcome]:
    for point in points:
        started = time.perf_counter()
        status, reason = _outcome(_in_every_case(suite(), getattr(suite, PREFIX + point)))
        holds = suite.points()[point]
        yield Outcome(point, status, reason, holds, time.perf_counter() - started)


def _in_every_case(suite: Suite, check: Callable[..., None]) -> Callable[[], None]:
    """The check as a function without arguments; several cases that fail are told as one."""
    arguments = _arguments(check)
    if not arguments:
        return functools.partial(check, suite)
    (argument,) = arguments

    def every() -> None:
        cases = suite.cases(argument)
        failures = {}
        for name, value in cases.items():
            try:
                check(suite, value)
            except AssertionError as error:
                failures[name] = error
        if failures:
            first = next(iter(failures.values()))
            others = ", ".join(list(failures)[1:])
            more = f" ({len(failures)} of {len(cases)} fail; also {others})" if others else ""
            raise AssertionError(f"{first}{more}") from first

    return every


def _outcome(check: Callable[[], None]) -> tuple[Status, str]:
    with warnings.catch_warnings(record=True) as caught, quiet_output():
        warnings.simplefilter("default")
        warnings.simplefilter("always", CheckWarning)
        try:
            check()
        except Skipped as reason:
            return "skipped", str(reason)
        except AssertionError as error:
            return "failed", str(error)
    told = [str(w.message) for w in caught if issubclass(w.category, CheckWarning)]
    return ("warned", "; ".join(told)) if told else ("passed", "")
