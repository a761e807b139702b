"""What an op's pullback asks for, settled once: what a call leaves, and how it is handed over.

:mod:`flagstone.ops.door` lists the names that a pullback's parameters may have. Each name stands
for an expression; a pullback's are put together to functions without loops or look-ups by name,
because they run for every op call that is differentiated.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from flagstone.errors import ConfigurationError, GradientError
from flagstone.tape import Node
from flagstone.tensors import Tensor

PULL = """
def pull(node, dys):
    saved = node.saved
    if saved is None:
        raise used_up(node)
    result = function({given})
    return result if isinstance(result, tuple) else (result,)
"""


class Pullback:
    """An op's pullback.

    Attributes:
        keep: ``keep(inputs, edges, made)``: what of a call the pullback needs.
        pull: ``pull(node, dys)``: the gradient of each array argument of a call, from what was kept
            of it and the gradients of its outputs.
    """

    __slots__ = ("_kept", "keep", "pull")

    def __init__(self, op: Any, function: Callable[..., Any]) -> None:
        self._kept: list[str] = []
        given: list[str] = []
        names: dict[str, Any] = {**NAMES, "function": function, "used_up": _used_up}
        for name, parameter in inspect.signature(function).parameters.items():
            argument = _argument(op, name, self._keep)
            given.append(
                f"{name}={argument}" if parameter.kind is parameter.KEYWORD_ONLY else argument
            )
        every = self.kept(_Items("inputs"), _Items("edges"), "made")
        self.keep: Callable[[Any, Any, Any], tuple[Any, ...]] = eval(
            f"lambda inputs, edges, made: ({''.join(f'{kept}, ' for kept in every)})", names
        )
        exec(PULL.format(given=", ".join(given)), names)
        self.pull: Callable[[Node, list[Tensor | None]], Sequence[Tensor | None]] = names["pull"]

    def _keep(self, expression: str) -> str:
        self._kept.append(expression)
        return f"saved[{len(self._kept) - 1}]"

    def kept(self, inputs: Sequence[str], edges: Sequence[str], made: str) -> list[str]:
        """The expressions of what the pullback needs of a call.

        Args:
            inputs: an expression for each array argument.
            edges: an expression for the edge of each.
            made: an expression for the tuple of arrays that the call made.
        """
        return [e.format(inputs=inputs, edges=edges, made=made) for e in self._kept]


class _Items(str):
    """An expression for a sequence, of which an item is an expression too."""

    __slots__ = ()

    def __getitem__(self, i: Any) -> str:
        return f"{self!s}[{i}]"


def _argument(op: Any, name: str, keep: Callable[[str], str]) -> str:
    """The expression, of ``dys`` and ``node``, for the pullback's parameter ``name``."""
    base, _, part = name.rpartition("_")
    kept, _, wanted = name.partition("_for_")
    if name == "dy":
        return "dys[0]"
    if name == "dys":
        return "dys"
    if name == "need":
        return "node.wanted"
    if name in op.arrays:
        i = op.arrays.index(name)
        return keep(f"{{inputs}}[{i}:]" if op.variadic else f"{{inputs[{i}]}}")
    if name in op.statics:
        return f"node.static[{name!r}]"
    if name == "y":
        return f"_output({keep('{made}[0]')}, node, 0)"
    if name[:1] == "y" and name[1:].isdigit():
        return f"_output({keep(f'{{made}}[{name[1:]}]')}, node, {name[1:]})"
    if name == "ys":
        return f"[_output(array, node, i) for i, array in enumerate({keep('{made}')})]"
    if kept in op.arrays and wanted in op.required:
        i, j = op.arrays.index(kept), op.arrays.index(wanted)
        return keep(f"None if {{edges[{j}]}} is None else {{inputs[{i}]}}")
    if base in op.arrays and part == "shape":
        i = op.arrays.index(base)
        return keep("[_shape(x) for x in {inputs}]" if op.variadic else f"_shape({{inputs[{i}]}})")
    if base in op.arrays and part == "dtype":
        return keep(f"{{inputs[{op.arrays.index(base)}]}}.dtype_name")
    each = [a for x in op.arrays for a in (x, f"{x}_shape", f"{x}_dtype")]
    known = ", ".join(["dy", "dys", "y", "ys", "need", *each, *op.statics])
    raise ConfigurationError(
        f"pullback of {op.name}: nothing is named {name!r}; a parameter's name says what is kept: "
        f"{known}, and the like (see flagstone.ops.door)"
    )


def _used_up(node: Node) -> GradientError:
    return GradientError(
        f"backward: the tape below {node.op.name} was used up by an earlier backward; "
        "pass retain_graph=True to the first one"
    )


def _shape(x: Any) -> tuple[int, ...]:
    return x.shape if isinstance(x, Tensor) else ()


def _output(array: Any, node: Node, i: int) -> Tensor:
    """An output again, as a tensor that knows its node (keeping that one would be a cycle)."""
    y = Tensor(array, node.known.backend)
    y.edge, y.kind = (node, i), node.known.kinds[i]
    return y


NAMES = {"_shape": _shape, "_output": _output}
"""What the expressions mention besides."""
