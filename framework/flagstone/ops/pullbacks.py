"""What an op's pullback asks for, settled once: what a call leaves, and how it is handed over.

:mod:`flagstone.ops.door` lists the names that a pullback's parameters may have. Each name stands
for an expression; a pullback's are put together to two functions without loops or look-ups by name,
because both run for every op call that is differentiated.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from flagstone.tape import Node
from flagstone.tensors import Tensor


class Pullback:
    """An op's pullback.

    Attributes:
        keep: ``keep(inputs, edges, outputs)``: what of a call the pullback needs.
        pull: ``pull(dys, node)``: the pullback's result for a call, from what was kept of it.
    """

    __slots__ = ("keep", "pull")

    def __init__(self, op: Any, function: Callable[..., Any]) -> None:
        kept: list[str] = []
        given: list[str] = []
        names: dict[str, Any] = {
            "function": function, "shape": _shape, "output": _output, "defaults": op.defaults
        }  # fmt: skip

        def keep(expression: str) -> str:
            kept.append(expression)
            return f"node.saved[{len(kept) - 1}]"

        for name, parameter in inspect.signature(function).parameters.items():
            argument = _argument(op, name, keep)
            given.append(
                f"{name}={argument}" if parameter.kind is parameter.KEYWORD_ONLY else argument
            )
        keeping = "".join(f"{expression}, " for expression in kept)
        self.keep: Callable[[Any, Any, Any], tuple[Any, ...]] = eval(
            f"lambda inputs, edges, outputs: ({keeping})", names
        )
        self.pull: Callable[[list[Tensor | None], Node], Any] = eval(
            f"lambda dys, node: function({', '.join(given)})", names
        )


def _argument(op: Any, name: str, keep: Callable[[str], str]) -> str:
    """The expression, of ``dys`` and ``node``, for the pullback's parameter ``name``."""
    base, _, part = name.rpartition("_")
    kept, _, wanted = name.partition("_for_")
    if name == "dy":
        return "dys[0]"
    if name == "dys":
        return "dys"
    if name == "need":
        return "tuple([edge is not None for edge in node.edges])"
    if name in op.arrays:
        i = op.arrays.index(name)
        return keep(f"inputs[{i}:]" if op.variadic else f"inputs[{i}]")
    if name in op.statics:
        default = f", defaults[{name!r}]" if name in op.defaults else ""
        return f"node.static.get({name!r}{default})"
    if name == "y":
        return f"output({keep('outputs[0].array')}, node, 0)"
    if name[:1] == "y" and name[1:].isdigit():
        return f"output({keep(f'outputs[{name[1:]}].array')}, node, {name[1:]})"
    if name == "ys":
        saved = keep("[out.array for out in outputs]")
        return f"[output(array, node, i) for i, array in enumerate({saved})]"
    if kept in op.arrays and wanted in op.required:
        i, j = op.arrays.index(kept), op.arrays.index(wanted)
        return keep(f"None if edges[{j}] is None else inputs[{i}]")
    if base in op.arrays and part == "shape":
        i = op.arrays.index(base)
        return keep("[shape(x) for x in inputs]" if op.variadic else f"shape(inputs[{i}])")
    if base in op.arrays and part == "dtype":
        return keep(f"inputs[{op.arrays.index(base)}].dtype_name")
    raise TypeError(f"pullback of {op.name}: nothing is named {name!r}")


def _shape(x: Any) -> tuple[int, ...]:
    return x.shape if isinstance(x, Tensor) else ()


def _output(array: Any, node: Node, i: int) -> Tensor:
    """An output again, as a tensor that knows its node (keeping that one would be a cycle)."""
    y = Tensor(array, node.backend)
    y.edge = node, i
    return y
