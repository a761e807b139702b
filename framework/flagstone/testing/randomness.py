"""Whether something draws from the process's global random generators, and where."""

from __future__ import annotations

import contextlib
import functools
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

SEEDS = (1, 2)
TOOLS = {"numpy", "scipy", "sklearn", "hypothesis"}  # what they draw is no plugin's doing


@contextlib.contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """Seed ``random`` and ``numpy.random`` for the block, and say if it drew from either.

    Raises:
        AssertionError: the block changed the state of one of them.
    """
    before: Any = (random.getstate(), np.random.get_state())
    try:
        random.seed(seed)
        np.random.seed(seed)
        seeded = (random.getstate(), _words())
        with noted_draws() as draws:
            yield
        for name, one, other in (
            ("random", seeded[0], random.getstate()),
            ("numpy.random", seeded[1], _words()),
        ):
            if one != other:
                where = f", at {draws[name]}" if name in draws else ""
                raise AssertionError(
                    "expected randomness from seeds only (flagstone.random, or a generator made "
                    f"with the seed); got draws from the global generator of {name}{where}"
                )
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])


@contextlib.contextmanager
def noted_draws() -> Iterator[dict[str, str]]:
    """Within it, calls of the functions of ``random`` and ``numpy.random`` that draw from the
    global generators are noted, and so are generators of NumPy's made without a seed: the module's
    name -> the first place that called one, as ``file:line``.

    A function that was taken out of its module before is not noticed.
    """
    places: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        for module, name, function in _drawing():
            noting = _noting(function, module.__name__, places)
            stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, noting)
        yield places


@functools.cache
def _drawing() -> list[tuple[Any, str, Callable[..., Any]]]:
    """The functions of the two modules that draw."""
    found = [
        (module, name, function)
        for module, owner in (
            (random, random._inst),
            (np.random, np.random.mtrand._rand),
        )  # the global generators
        for name, function in vars(module).items()
        if getattr(function, "__self__", None) is owner
        and not name.startswith(("_", "seed", "get", "set"))
    ]
    return [*found, (np.random, "default_rng", np.random.default_rng)]


def _noting(
    function: Callable[..., Any], module: str, places: dict[str, str]
) -> Callable[..., Any]:
    @functools.wraps(function)
    def noting(*arguments: Any, **named: Any) -> Any:
        seeded = function.__name__ == "default_rng" and (arguments or named)
        caller = sys._getframe(1)
        by = str(caller.f_globals.get("__name__")).partition(".")[0]
        if not seeded and by not in TOOLS:
            places.setdefault(module, f"{caller.f_code.co_filename}:{caller.f_lineno}")
        return function(*arguments, **named)

    return noting


def _words() -> tuple[Any, ...]:
    state: Any = np.random.get_state()
    return (state[1].tobytes(), *state[2:])
