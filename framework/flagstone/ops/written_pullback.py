"""The text of a pullback that is written out; see :mod:`flagstone.ops.unrolled`.

The function asks whether it is given what it was written for, calls the kernels, and wraps what
they give. Two things are done for large arrays only. A kernel that can write where it is told to
(its ``into``) writes the first gradient of a parameter to its place among the flat gradients, which
it would be copied to. And an array goes after its last use, so that a backward pass holds few.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from flagstone.backend import EXACT, Backend, settled, takes_precision, traits
from flagstone.tensors import Tensor, kind_of

LARGE = 1 << 12
"""Values from which on this is worth a look; a small gradient is copied in less time."""

Gradients = Sequence[Tensor | None]
Unrolled = Callable[[Any, list[Tensor | None], Any, Sequence[Any] | None], Gradients | None]


class PullbackText:
    """What a pullback was given, called and gave, to be written as a function of its arguments.

    Args:
        calls: ``(op, inputs, static, outputs)`` of each op call.
        saved: what the node kept.
        dys: the gradients of the node's outputs.
        gradients: what the pullback gave.
        backend: whose arrays they are.

    Attributes:
        is_clear: whether no two of its arguments are one array.
    """

    def __init__(
        self, calls: list[Any], saved: Any, dys: Gradients, gradients: Gradients, backend: Backend
    ) -> None:
        self._calls, self._gradients, self._backend = calls, gradients, backend
        self._names: dict[str, Any] = {"Tensor": Tensor, "new": object.__new__, "places": places_of}
        self._saved, self._dys = saved, dys
        given = [*_arrays("saved", saved)]
        given += [(f"d{i}.array", dy.array) for i, dy in enumerate(dys) if dy is not None]
        self._at = {id(array): at for at, array in given}  # how to reach an array
        self._placed: dict[int, str] = {}  # number of a gradient -> says whether it is in place
        self.is_clear = len(self._at) == len(given)

    def function(self) -> Unrolled:
        """The function ``(saved, dys, table, leaves)``, which gives ``None`` for gradients of
        another kind; its other arguments are those of :func:`flagstone.ops.unrolled.pull`.

        Raises:
            KeyError: an array is from elsewhere, or cannot be told from another.
        """
        self._taken = [self._inputs(f"v{i}", call) for i, call in enumerate(self._calls)]
        results = [self._result(g) for g in self._gradients]
        lines, given = self._questions(), {f"d{i}" for i in range(len(self._dys))}
        last = self._last_uses(results)
        for i, call in enumerate(self._calls):
            lines += self._call(i, *call)
            lines += [_let_go(name) for name, at in last.items() if at == i]
        for i, g in enumerate(self._gradients):
            if g is not None and results[i] not in given:
                lines += self._wrap(i, g, results[i])
                results[i] = f"g{i}"
        lines.append(f"return ({', '.join(results)},)")
        text = "\n    ".join(["def unrolled(saved, dys, table, leaves):", *lines])
        exec(text, self._names)
        unrolled: Unrolled = self._names["unrolled"]
        return unrolled

    # Expressions

    def _constant(self, value: Any) -> str:
        name = f"c{len(self._names)}"
        self._names[name] = value
        return name

    def _inputs(self, made: str, call: Any) -> list[str]:
        """Expressions for the inputs of a call, whose outputs are in the variable ``made``."""
        _, inputs, _, outputs = call
        taken = [
            self._at[id(x.array)] if isinstance(x, Tensor) else self._constant(x) for x in inputs
        ]
        arrays = [x.array for x in inputs if isinstance(x, Tensor)]
        for j, y in enumerate(outputs):
            if id(y.array) in self._at and not any(y.array is a for a in arrays):
                raise KeyError  # two of NumPy's scalars may be one object
            self._at[id(y.array)] = f"{made}[{j}]" if len(outputs) > 1 else made
        return taken

    def _result(self, g: Tensor | None) -> str:
        """An expression for a gradient: the tensor, where it was among ``dys``, else the array."""
        if g is None:
            return "None"
        same = [f"d{i}" for i, dy in enumerate(self._dys) if dy is g]
        return same[0] if same else self._at[id(g.array)]

    def _last_uses(self, results: list[str]) -> dict[str, int]:
        """Variable of large arrays -> number of the last call that takes it; not of results."""
        last = {f"d{i}": 0 for i, dy in enumerate(self._dys) if _is_large(dy)}
        for i, (_, _, _, outputs) in enumerate(self._calls):
            if any(map(_is_large, outputs)):
                last[f"v{i}"] = i
            last.update(dict.fromkeys(last.keys() & _variables(self._taken[i]), i))
        return {name: at for name, at in last.items() if name not in _variables(results)}

    # Lines

    def _questions(self) -> list[str]:
        """Lines that return ``None`` unless the arguments are as those that were seen."""
        lines = [f"if table is not {self._constant(self._backend.table)}: return None"]
        for i, kept in enumerate(self._saved):
            if isinstance(kept, (int, float)):  # a number among the call's arguments
                lines.append(f"if saved[{i}] != {self._constant(kept)}: return None")
        for i, dy in enumerate(self._dys):
            lines.append(f"d{i} = dys[{i}]")
            other = f"d{i} is not None"
            if dy is not None:
                kind = self._constant(kind_of(dy))
                other = f"d{i} is None or d{i}.kind is not {kind}"
            lines.append(f"if {other}: return None")
        return lines

    def _call(
        self, i: int, op: Any, inputs: Any, static: dict[str, Any], outputs: Any
    ) -> list[str]:
        """Lines that do call ``i``."""
        arrays = [x.array if isinstance(x, Tensor) else x for x in inputs]
        options = [f"{name}={self._constant(value)}" for name, value in static.items()]
        kernel = self._constant(settled(self._backend.table[op], arrays))
        made = f"v{i} = {kernel}({', '.join([*self._taken[i], *options])})"
        ends = self._ends(outputs)
        into = _into(self._backend, op, arrays, static) if ends else None
        if into is None:
            return [made]
        self._placed.update(dict.fromkeys(ends, f"p{i}"))
        kinds = self._constant(tuple([kind_of(y) for y in outputs]))
        taken = [f"p{i}" if len(ends) > 1 else f"p{i}[0]", *self._taken[i], *options]
        return [
            f"p{i} = leaves and places(leaves, {ends}, {kinds}, ({self._read_from(i)}))",
            f"if p{i}: {self._constant(into)}({', '.join(taken)})",
            f"else: {made}",
        ]

    def _ends(self, outputs: Sequence[Tensor]) -> tuple[int, ...]:
        """Which gradient each output of a call is, if each is one and nothing else, and one of
        them is large; else nothing."""
        if not any(map(_is_large, outputs)):
            return ()
        mentioned = [x for _, inputs, _, made in self._calls for x in (*inputs, *made)]
        ends = []
        for y in outputs:
            flags = getattr(y.array, "flags", None)  # arrays that have them have ``base`` as well
            uses = sum(_is(x, y) for x in mentioned)
            found = [i for i, g in enumerate(self._gradients) if _is(g, y)]
            if flags is None or not flags.c_contiguous or uses > 1 or len(found) != 1:
                return ()
            ends += found
        return tuple(ends)

    def _read_from(self, i: int) -> str:
        """The arrays that call ``i`` and those after it take, as far as they are there by then."""
        later = {f"v{j}" for j in range(i, len(self._calls))}
        arrays = dict.fromkeys(at for taken in self._taken[i:] for at in taken)
        return "".join(
            f"{at}, " for at in arrays if at not in self._names and not _variables([at]) & later
        )

    def _wrap(self, i: int, g: Tensor, result: str) -> list[str]:
        """Lines that make the variable ``g{i}`` of the array of a gradient."""
        lines = [
            f"g{i} = new(Tensor)",
            f"g{i}.array = {result}",
            f"g{i}.kind = kind = {self._constant(kind_of(g))}",
            f"g{i}.backend = kind.backend",
            f"g{i}.edge = g{i}.grad = None",
        ]
        if i not in self._placed:
            return lines
        return [f"if {self._placed[i]}: g{i} = None", "else:", *(f"    {line}" for line in lines)]


def _arrays(at: str, kept: Any) -> Iterator[tuple[str, Any]]:
    """The arrays among what a node keeps, with the expressions to reach them."""
    if isinstance(kept, Tensor):
        yield f"{at}.array", kept.array
    elif isinstance(kept, (tuple, list)):
        for i, part in enumerate(kept):
            yield from _arrays(f"{at}[{i}]", part)
    elif hasattr(kept, "shape"):
        yield at, kept


def _is(x: Any, y: Tensor) -> bool:
    return isinstance(x, Tensor) and x.array is y.array


def _is_large(x: Tensor | None) -> bool:
    return x is not None and x.size >= LARGE


def _variables(expressions: Sequence[str]) -> set[str]:
    """Those that hold arrays, or tensors, that the function was given or made."""
    return {name for x in expressions for name in re.findall(r"\b[dv]\d+\b", x)}


def _let_go(name: str) -> str:
    return f"{name} = None" if name[0] == "v" else f"{name} = dys[{name[1:]}] = None"


def _into(backend: Backend, op: Any, arrays: Sequence[Any], static: dict[str, Any]) -> Any:
    """What writes the outputs of such a call where it is told to, if there is that."""
    kernel = backend.kernels.get(op.name)
    if kernel is None:
        return None
    kernel = settled(kernel, arrays)
    known = traits(kernel)
    if known.serves is not None and not known.serves(*arrays, **static):
        kernel = known.served_by[-1] if known.served_by else None
    into = traits(kernel).into
    if (
        into is not None
        and kernel is not None
        and backend.precision != EXACT
        and takes_precision(kernel)
    ):
        into = functools.partial(into, precision=backend.precision)
    return into


def places_of(
    leaves: Sequence[Any], ends: Sequence[int], kinds: Sequence[Any], read: Sequence[Any]
) -> tuple[Any, ...] | None:
    """The arrays where gradients of these kinds are to be written, each its leaf's ``grad`` then.

    Args:
        leaves: the node's edges.
        ends: which of them the gradients are of.
        kinds: theirs.
        read: what is still to be read.

    Returns:
        ``None`` where one has no place, or holds a gradient already, or where an array that is to
        be read may lie there.
    """
    own: list[Tensor] = []
    for i, kind in zip(ends, kinds, strict=True):
        is_leaf = leaves[i] is not None and type(leaves[i]) is not tuple
        place = leaves[i].place_for(kind) if is_leaf else None
        if place is None or any(place is other for other in own):
            return None
        base = place.array.base
        if base is None or any(a is base or a.base is base for a in read):
            return None
        own.append(place)
    for i, place in zip(ends, own, strict=True):
        leaves[i].grad = place
    return tuple([place.array for place in own])
