"""How ops write into arrays that are there already: one form an op, for the replay of a step.

A form gives the bits that the op's kernel here, or its generic form where it has no kernel, gives.
It is used for that one only: where a plugin replaced the kernel, the plugin's is called. A kernel,
a plugin's or one here, may bring its form: see ``into`` of :class:`flagstone.backend.Traits`.

Forms are written call by call with a :class:`~flagstone_numpy.replay.writer.Writer`. One that does
not serve what it is given says so in ``takes``, and the kernel is called.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from flagstone.backend import EXACT, takes_precision, traits
from flagstone_numpy.kernels import flat
from flagstone_numpy.table import KERNELS

Write = Callable[..., None]
DOT: Any = np.ndarray.dot
"""``numpy.dot`` without its look for other kinds of arrays."""


def _always(*_: Any, **__: Any) -> bool:
    return True


class Form:
    """How one op writes into its outputs.

    Attributes:
        write: ``write(writer, out, *inputs, **static)``; ``out`` is a tuple of several outputs.
        over: the inputs whose place the output may take over, because each of its values depends
            only on the value at the same place there, read before it is written.
        takes: ``takes(inputs, call)`` tells whether the form serves this call.
    """

    def __init__(self, write: Write, over: tuple[int, ...], takes: Callable[..., bool]) -> None:
        self._write, self.over, self.takes = write, over, takes

    def write(self, writer: Any, outputs: list[Any], inputs: list[Any], **static: Any) -> None:
        """Write the call."""
        out = outputs[0] if len(outputs) == 1 else tuple(outputs)
        self._write(writer, *([out] if outputs else []), *inputs, **static)


FORMS: dict[str, Form] = {}


def form(
    name: str, *, over: tuple[int, ...] = (), takes: Callable[..., bool] = _always
) -> Callable[[Write], Write]:
    """Decorator: the form of the op of that name."""

    def keep(write: Write) -> Write:
        FORMS[name] = Form(write, over, takes)
        return write

    return keep


def forms_of(call: Any, backend: Any) -> list[Form]:
    """The forms that stand for what serves a :class:`flagstone.recording.Call` on ``backend``: the
    first that takes the call is used."""
    name = call.op.name
    kernel = backend.kernels.get(name)
    serves = traits(kernel).serves
    if serves is not None and not serves(*call.inputs, **call.static):
        kernel = KERNELS.get(name)
    found = [FORMS[name]] if kernel is KERNELS.get(name) and name in FORMS else []
    known = traits(kernel)
    into = known.into
    if kernel is None or into is None:
        return found
    if backend.precision != EXACT and takes_precision(kernel):
        into = functools.partial(into, precision=backend.precision)

    def write(w: Any, out: Any, *inputs: Any, **static: Any) -> None:
        w.call(functools.partial(into, **static) if static else into, out, *inputs)

    return [*found, Form(write, known.over, _always)]


def one_thread(inputs: list[Any], call: Any) -> bool:
    """No input has more values than one thread does at once."""
    return all(x.size <= flat.SMALL for x in inputs if hasattr(x, "size"))
