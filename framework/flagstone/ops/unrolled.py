"""The op calls of a pullback, written out for calls of one kind.

A pullback is written in ops, so that its result can be differentiated again. Where that is not
asked for, and nobody observes, all that it comes to is a list of kernels, and which they are
follows from what a call is looked up by (:mod:`flagstone.ops.calling`) and from which gradients are
wanted: pullbacks read no values. So when the same has been asked for a few times, the pullback's op
calls are written down once more as a function of arrays, which needs no tensor in between.

A pullback that does read values, or takes an array that is neither its own nor made by an op, is
called as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from flagstone import tape
from flagstone.backend import settled
from flagstone.tape import Node, observe
from flagstone.tensors import Tensor, host, kind_of

AFTER = 3
"""So many times a pullback is called before it is written out."""
LATER = 64
"""So many times more where it could not be told apart which array is which."""

Gradients = Sequence[Tensor | None]
Unrolled = Callable[[Any, Gradients, Any], Gradients | None]


def pull(node: Node, dys: list[Tensor | None]) -> Gradients:
    """What ``node.op.pull(node, dys)`` gives, where it is not to be differentiated again."""
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
        gradients = unrolled(saved, dys, known.backend.table)
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
    return gradients, notes.written(saved, dys, gradients, node.known.backend.table)


def _ask(_saved: Any, _dys: Gradients, _table: Any) -> None:
    """Stands for a pullback that cannot be written out."""


class _Notes:
    """Watches a pullback run."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.is_plain = True

    def __call__(self, *call: Any) -> None:
        """The observer of op calls; see :func:`flagstone.tape.observe`."""
        self.calls.append(call)

    def read(self, _x: Tensor) -> None:
        """A tensor's values are read on the host."""
        self.is_plain = False

    def written(
        self, saved: Any, dys: Gradients, gradients: Gradients, table: Any
    ) -> Unrolled | None:
        """The function ``(saved, dys, table)``, which gives ``None`` for gradients of another kind;
        ``None`` where two of the arguments are one array."""
        names: dict[str, Any] = {"Tensor": Tensor, "new": object.__new__}

        def constant(value: Any) -> str:
            name = f"c{len(names)}"
            names[name] = value
            return name

        def expression(x: Any) -> str:
            return places[id(x.array)] if isinstance(x, Tensor) else constant(x)

        given = [*_arrays("saved", saved)]
        given += [(f"d{i}.array", dy.array) for i, dy in enumerate(dys) if dy is not None]
        places = {id(array): at for at, array in given}  # id of an array -> how to reach it
        if len(places) < len(given):
            return None
        lines = [
            "def unrolled(saved, dys, table):",
            f"    if table is not {constant(table)}: return None",
        ]
        for i, kept in enumerate(saved):
            if isinstance(kept, (int, float)):  # a number among the call's arguments
                lines.append(f"    if saved[{i}] != {constant(kept)}: return None")
        for i, dy in enumerate(dys):
            lines.append(f"    d{i} = dys[{i}]")
            other = f"d{i} is not None"
            if dy is not None:
                other = f"d{i} is None or d{i}.kind is not {constant(kind_of(dy))}"
            lines.append(f"    if {other}: return None")
        try:
            for i, (op, inputs, static, outputs) in enumerate(self.calls):
                taken = [expression(x) for x in inputs]
                taken += [f"{name}={constant(value)}" for name, value in static.items()]
                arrays = [x.array if isinstance(x, Tensor) else x for x in inputs]
                kernel = constant(settled(table[op], arrays))
                lines.append(f"    v{i} = {kernel}({', '.join(taken)})")
                several = len(outputs) > 1
                for j, y in enumerate(outputs):
                    if id(y.array) in places and not any(y.array is a for a in arrays):
                        return _ask  # two of NumPy's scalars may be one object
                    places[id(y.array)] = f"v{i}[{j}]" if several else f"v{i}"
                self.is_plain &= bool(outputs)  # else it writes to its arguments
                self.is_plain &= not any(
                    k is not None and k.several == (len(k.kinds) == 1) for k in op.known.values()
                )
            results = []
            for i, g in enumerate(gradients):
                results.append("None" if g is None else f"g{i}")
                same = [f"d{j}" for j, dy in enumerate(dys) if dy is g and g is not None]
                if same:
                    lines.append(f"    g{i} = {same[0]}")
                elif g is not None:
                    lines += [
                        f"    g{i} = new(Tensor)",
                        f"    g{i}.array = {expression(g)}",
                        f"    g{i}.kind = kind = {constant(kind_of(g))}",
                        f"    g{i}.backend = kind.backend",
                        f"    g{i}.edge = g{i}.grad = None",
                    ]
        except KeyError:  # an array from elsewhere
            return _ask
        if not self.is_plain:
            return _ask
        lines.append(f"    return ({', '.join(results)},)")
        exec("\n".join(lines), names)
        unrolled: Unrolled = names["unrolled"]
        return unrolled


def _arrays(at: str, kept: Any) -> Iterator[tuple[str, Any]]:
    """The arrays among what a node keeps, with the expressions to reach them."""
    if isinstance(kept, Tensor):
        yield f"{at}.array", kept.array
    elif isinstance(kept, (tuple, list)):
        for i, part in enumerate(kept):
            yield from _arrays(f"{at}[{i}]", part)
    elif hasattr(kept, "shape"):
        yield at, kept


tape.unroll = pull
