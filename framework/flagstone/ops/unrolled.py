"""The op calls of a pullback, written out for calls of one kind.

A pullback is written in ops, so that its result can be differentiated again. Where that is not
asked for, and nobody observes, all that it comes to is a list of kernels, and which they are
follows from what a call is looked up by (:mod:`flagstone.ops.calling`) and from which gradients are
wanted: pullbacks read no values. So when the same has been asked for a few times, the pullback's op
calls are written down once more as a function of arrays, which needs no tensor in between.

A pullback that does read values, or takes an array that is neither its own nor made by an op, is
called as ever.

How it is written, and that it puts large gradients of parameters in their place at once, is in
:mod:`flagstone.ops.written_pullback`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flagstone import tape
from flagstone.backend import Backend
from flagstone.ops.written_pullback import Gradients, PullbackText, Unrolled
from flagstone.tape import Node, observe
from flagstone.tensors import Tensor, host

AFTER = 3
"""So many times a pullback is called before it is written out."""
LATER = 64
"""So many times more where it could not be told apart which array is which."""


def pull(node: Node, dys: list[Tensor | None], leaves: Sequence[Any] | None = None) -> Gradients:
    """What ``node.op.pull(node, dys)`` gives, where it is not to be differentiated again.

    Args:
        node: of the tape.
        dys: the gradients of its outputs.
        leaves: its edges, where what is given is to be added to the ``grad`` of those that are
            leaves. For one whose ``grad`` is set already, ``None`` is given.
    """
    known, saved = node.known, node.saved
    unrolled = known.pulls.get(node.wanted, 0)
    if unrolled.__class__ is int:
        if unrolled < AFTER or known.backend.low is not None:
            known.pulls[node.wanted] = unrolled + 1
        elif saved is not None:
            gradients, written = _written(node, dys)
            known.pulls[node.wanted] = written or -LATER
            return gradients
    elif saved is not None:
        gradients = unrolled(saved, dys, known.backend.table, leaves)
        if gradients is not None:
            return gradients
    return node.op.pull(node, dys)


def _written(node: Node, dys: list[Tensor | None]) -> tuple[Gradients, Unrolled | None]:
    """The pullback's result, and the function that gives it from now on."""
    notes = _Notes()
    before, host.watcher = host.watcher, notes
    try:
        with observe(notes):
            saved = node.saved
            gradients = node.op.pull(node, dys)
    finally:
        host.watcher = before
    return gradients, notes.written(saved, dys, gradients, node.known.backend)


def _ask(_saved: Any, _dys: Gradients, _table: Any, _leaves: Any) -> None:
    """Stands for a pullback that cannot be written out."""


class _Notes:
    """Watches a pullback run."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.reads_values = False

    def __call__(self, *call: Any) -> None:
        """The observer of op calls; see :func:`flagstone.tape.observe`."""
        self.calls.append(call)

    def read(self, _x: Tensor) -> None:
        """A tensor's values are read on the host."""
        self.reads_values = True

    def written(
        self, saved: Any, dys: Gradients, gradients: Gradients, backend: Backend
    ) -> Unrolled | None:
        """The pullback as a function; ``None`` where two of the arguments are one array."""
        text = PullbackText(self.calls, saved, dys, gradients, backend)
        if not text.is_clear:
            return None
        try:
            function = text.function()
        except KeyError:
            return _ask
        is_plain = not self.reads_values and all(
            outputs and all(k is None or k.several == (len(k.kinds) > 1) for k in op.known.values())
            for op, _, _, outputs in self.calls
        )  # one without outputs writes to its arguments
        return function if is_plain else _ask


tape.unroll = pull
