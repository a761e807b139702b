"""What of a recorded step need not be done again: constants, repetitions, what nobody uses."""

from __future__ import annotations

from typing import Any

import numpy as np

from flagstone.recording import CONSTANT, KEPT, Call, Program, Value


class Layout:
    """What is noted of an array that an op made.

    Attributes:
        strides: in bytes.
        alias: which input it shares memory with, ``None`` for memory of its own.
        order: the axes from the outermost to the innermost if the values lie in memory without
            gaps, else ``None``.
    """

    __slots__ = ("alias", "order", "strides")

    def __init__(self, array: Any, inputs: Any) -> None:
        self.strides = array.strides
        self.order = _dense_order(array)
        owner = _owner(array)
        shared = (i for i, x in enumerate(inputs) if x is not None and _owner(x) is owner)
        self.alias = next(shared, None)


def _owner(array: Any) -> Any:
    while (base := getattr(array, "base", None)) is not None:
        array = base
    return array


def _dense_order(array: Any) -> tuple[int, ...] | None:
    order = tuple(sorted(range(array.ndim), key=lambda i: (-array.strides[i], i)))
    expected = array.itemsize
    for axis in reversed(order):
        if array.shape[axis] != 1:
            if array.strides[axis] != expected:
                return None
            expected *= array.shape[axis]
    return order


def roots(program: Program) -> dict[Value, Value]:
    """For every value the one whose memory it shares, which may be itself."""
    root: dict[Value, Value] = {value: value for value in program.inputs}
    for call in program.calls:
        for value in call.inputs:
            if isinstance(value, Value):
                root.setdefault(value, value)
        for value in call.outputs:
            alias = value.note.alias
            root[value] = value if alias is None else root[call.inputs[alias]]
    for value in program.results:
        root.setdefault(value, value)
    return root


def simplify(program: Program) -> tuple[list[Call], list[Value]]:
    """The calls that a replay needs, in order, and the values of the results.

    A call on constants is done now; left out are one that repeats another, one that changes nothing
    and one that nothing depends on. Kept arrays may change between steps, so nothing that reads
    them is a constant, and one that reads what the step writes to is no repetition.
    """
    root = roots(program)
    written = {root[value] for call in program.calls for value in call.mutates}
    written |= _overlapping(root, written)
    fixed = constants(program, root)
    returned = {root[value] for value in program.results}
    instead: dict[Value, Value] = {}
    seen: dict[Any, Call] = {}
    calls: list[Call] = []
    table = program.backend.table
    for call in program.calls:
        inputs = tuple([instead.get(x, x) if isinstance(x, Value) else x for x in call.inputs])
        call = Call(call.op, inputs, call.static, call.outputs)
        pure = not call.mutates and not any(root[value] in written for value in call.outputs)
        values = [x for x in inputs if isinstance(x, Value)]
        if pure and all(value in fixed for value in values):
            result = table[call.op](*[_array(x) for x in inputs], **call.static)
            made = result if type(result) is tuple else (result,)
            for value, array in zip(call.outputs, made, strict=True):
                value.kind, value.array = CONSTANT, array
                fixed.add(value)
            continue
        if pure and not any(root[x] in written for x in values):
            if _is_first_input(call, fixed, returned):
                instead.update(zip(call.outputs, inputs, strict=False))
                continue
            key = _key(call)
            if key is not None and key in seen:
                instead.update(zip(call.outputs, seen[key].outputs, strict=True))
                continue
            if key is not None:
                seen[key] = call
        calls.append(call)
    results = [instead.get(value, value) for value in program.results]
    return _needed(calls, results), results


def _is_first_input(call: Call, fixed: set[Value], returned: set[Value]) -> bool:
    """Whether a call gives its first input unchanged: one that is scaled by 1, or cast to the dtype
    that it has. What is returned is the caller's, and no array that somebody else holds."""
    if call.outputs[0] in returned:
        return False
    x: Any = call.inputs[0]
    if call.op.name == "cast":
        made = call.outputs[0]
        return (x.dtype, x.note and x.note.strides) == (made.dtype, made.note.strides)
    if call.op.name != "scale_by":
        return False
    by: Any = call.inputs[1]
    return by in fixed and float(by.array) * call.static["factor"] == 1


def constants(program: Program, root: dict[Value, Value]) -> set[Value]:
    """The values that are constant and share no memory with a kept array."""
    kept = {id(_owner(value.array)) for value in root if value.kind == KEPT}
    return {v for v in root if v.kind == CONSTANT and id(_owner(v.array)) not in kept}


def _array(x: Any) -> Any:
    return x.array if isinstance(x, Value) else x


def _overlapping(root: dict[Value, Value], written: set[Value]) -> set[Value]:
    """The kept arrays that share memory with one that is written to."""
    targets = [value.array for value in written if value.kind == KEPT]
    kept = {value for value in root.values() if value.kind == KEPT}
    return {v for v in kept if any(np.may_share_memory(v.array, t) for t in targets)}


def _key(call: Call) -> Any:
    inputs = tuple([x if isinstance(x, Value) else (type(x), repr(x)) for x in call.inputs])
    key = (call.op, inputs, tuple(sorted(call.static.items())))
    try:
        hash(key)
    except TypeError:
        return None
    return key


def _needed(calls: list[Call], results: list[Value]) -> list[Call]:
    """The calls that write to an array, and those that they and the results depend on."""
    wanted = set(results)
    kept = []
    for call in reversed(calls):
        if call.mutates or any(value in wanted for value in call.outputs):
            kept.append(call)
            wanted.update(x for x in call.inputs if isinstance(x, Value))
    return kept[::-1]
