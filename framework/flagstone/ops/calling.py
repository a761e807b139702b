"""An op's call, written out for its arguments.

Most calls are like one before: their arguments are of the same kinds (backend, shape, dtype), with
the same options. Such a call has passed the op's checks already, and what it gives is of the kinds
that it gave then. So every op has a function that looks its arguments up; where it finds them it
asks the kernel, wraps what that gives, and leaves a node on the tape where a gradient may have to
pass. What is not found, and every call that somebody observes, takes the long way,
:meth:`flagstone.ops.door.Op.call`.

The function is put together as text (:data:`CALL`), because one that took any number of arguments
would take as long for them as the kernels of a small network do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flagstone.ops.checks import number_bits
from flagstone.ops.pullbacks import NAMES
from flagstone.tape import Node, next_number, state
from flagstone.tensors import LEAF, Tensor, kind_of

_new = object.__new__

MISSING = object()
"""Stands for an argument that was not given."""

CALL = """
def call(_op, {parameters}, /, *_more, {by_name}**_unknown):
    try:
        _key = {key}
        _known = _find(_key)
    except (AttributeError, TypeError):  # no tensor, or an option without a hash
        _key = _known = None
    if _known is None or _more or _unknown or _state.observer is not None:
        return _op.call(*_op.given(({xs}, *_more), {{{options}**_unknown}}), _key)
    {edges}
    if {wanted} and _state.grad_enabled:
        {unless_taped}return _op.call(*_op.given(({xs},), {{{options}}}), _key)
        _wanted = True
    else:
        _wanted = False
    _backend, _several = _known.backend, _known.several
    _kernel = _known.kernel if _known.table is _backend.table else _backend.table[_op]
    _result = _kernel({arrays})
    if _wanted:
        _made = _result if _several else (_result,)
        _wants = {wants}
        {leaves}
        _node = _new(_Node)
        _node.op = _op
        _node.edges = {edge_names}
        _node.saved = {kept}
        _node.static = {{{options}}}
        _node.known = _known
        _node.wanted = _wants
        _node.number = _next_number()
        if _state.watcher is not None:
            _state.watcher.taped(_node)
        if _several:
            return _wrapped(_made, _known.kinds, _backend, _node)
        _edge = _node, 0
    elif _several:
        return _wrapped(_result, _known.kinds, _backend, None)
    else:
        _edge = None
    _y = _new(_Tensor)
    _y.array = _result
    _y.backend = _backend
    _y.kind = _known.kinds[0]
    _y.edge = _edge
    _y.grad = None
    return _y
"""
"""The call of an op. Its arrays are ``_0``, ``_1``, ..., their edges ``_e0``, ...; options keep
their names."""


def written_call(op: Any) -> Callable[..., Any]:
    """The function for an op that takes a fixed number of arrays."""
    places = range(len(op.arrays))
    xs, es = [f"_{i}" for i in places], [f"_e{i}" for i in places]

    def each(what: str) -> list[str]:
        return [_of(x, what, name, op) for x, name in zip(xs, op.arrays, strict=True)]

    taped = op.differentiable and op.tape_use is not None
    options = [f"{name}.__class__" for name in op.statics]  # True and 1.0 are equal to 1
    text = CALL.format(
        parameters=", ".join(f"{x}=_default{x}" for x in xs),
        by_name="".join(f"{name}=_default_{name}, " for name in op.statics),
        key=_tuple([*each("kind"), *op.statics, *options]),
        xs=", ".join(xs),
        options="".join(f"{name!r}: {name}, " for name in op.statics),
        edges="; ".join(f"{e} = {of}" for e, of in zip(es, each("edge"), strict=True)),
        wanted=f"({' or '.join(f'{e} is not None' for e in es)})" if op.differentiable else "False",
        unless_taped="# " if taped else "",
        arrays=", ".join([*each("array"), *(f"{name}={name}" for name in op.statics)]),
        wants=_tuple([f"{e} is not None" for e in es]),
        leaves="; ".join(
            f"{e} = {x} if {e} is _LEAF else {e}" for x, e in zip(xs, es, strict=True)
        ),
        edge_names=_tuple(es),
        kept=_tuple(op.tape_use.kept(xs, es, "_made")) if taped else "()",
    )
    defaults = [op.array_defaults.get(name, MISSING) for name in op.arrays]
    names = {
        **NAMES, "_Tensor": Tensor, "_Node": Node, "_LEAF": LEAF, "_state": state,
        "_new": _new, "_next_number": next_number, "_wrapped": wrapped,
        "_find": op.known.get, "_kind_of": kind_of, "_bits_of": number_bits,
        **{f"_default{x}": default for x, default in zip(xs, defaults, strict=True)},
        **{f"_default_{name}": op.defaults.get(name, MISSING) for name in op.statics},
    }  # fmt: skip
    exec(compile(text, f"<the call of {op.name}>", "exec"), names)
    call: Callable[..., Any] = names["call"]
    return call


def _of(x: str, what: str, name: str, op: Any) -> str:
    """The expression for the kind, the edge or the array of an argument, whatever that may be.

    Of a number its class stands for the kind: what is refused, and the result's dtype, depend on
    that alone. Not every dtype can hold an integer beyond 127, so that its sign and its bits count.
    """
    of_tensor = f"({x}.kind or _kind_of({x}))" if what == "kind" else f"{x}.{what}"
    if name in op.numbers:
        large = f"{x}.__class__ is int and not 0 <= {x} < 128"
        number = f"(({x} < 0, _bits_of({x})) if {large} else {x}.__class__)"
        other = {"kind": number, "edge": "None", "array": x}[what]
        return f"({of_tensor} if isinstance({x}, _Tensor) else {other})"
    return f"(None if {x} is None else {of_tensor})" if name in op.optional else of_tensor


def _tuple(parts: list[str]) -> str:
    return f"({', '.join(parts)},)" if parts else "()"


def wrapped(
    arrays: tuple[Any, ...], kinds: tuple[Any, ...], backend: Any, node: Node | None
) -> tuple[Tensor, ...]:
    """The outputs of a call that gives several, as tensors."""
    outputs: list[Tensor] = []
    for array in arrays:
        i = len(outputs)
        y = _new(Tensor)
        y.array, y.backend, y.kind, y.grad = array, backend, kinds[i], None
        y.edge = None if node is None else (node, i)
        outputs.append(y)
    return tuple(outputs)
