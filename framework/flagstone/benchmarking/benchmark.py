"""What a benchmark is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flagstone.backend import Backend

Run = Callable[[], object]


class NotHere(NotImplementedError):  # noqa: N818  # no error: asv skips what raises its base
    """A benchmark cannot be run in this environment; the message says why."""


@dataclass(frozen=True)
class Benchmark:
    """Something to be timed.

    Attributes:
        name: group and what it is, such as ``"step/mlp"`` or ``"kernel/conv3x3/large"``.
        prepare: makes everything that is not to be timed and returns what is; raises
            :class:`NotHere` where that cannot be.
        on_host: it uses no device, so it is run once however many backends there are.
        in_gate: the gate measures it unless others are asked for.
    """

    name: str
    prepare: Callable[[Backend], Run]
    on_host: bool = False
    in_gate: bool = True
