"""Whether something draws from the process's global random generators."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np

SEEDS = (1, 2)


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
        yield
        for name, one, other in (
            ("random", seeded[0], random.getstate()),
            ("numpy.random", seeded[1], _words()),
        ):
            if one != other:
                raise AssertionError(
                    "expected randomness from seeds only (flagstone.random, or a generator made "
                    f"with the seed); got draws from the global generator of {name}"
                )
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])


def _words() -> tuple[Any, ...]:
    state: Any = np.random.get_state()
    return (state[1].tobytes(), *state[2:])
