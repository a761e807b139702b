"""Which op is to blame for a wrong gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flagstone.errors import FlagstoneError
from flagstone.ops import Op
from flagstone.tape import enable_grad, observe
from flagstone.tensors import Tensor

Call = tuple[Op, Sequence[Any], dict[str, Any]]


def blame(function: Callable[[], Any], check: Callable[..., None]) -> str:
    """What to add to the message about a wrong gradient: the first op that ``function`` calls whose
    own gradient is wrong, or that there is none.

    Args:
        function: what was differentiated.
        check: called as ``check(function, inputs, names)``; raises ``AssertionError`` for a wrong
            gradient of ``function(*inputs)``.
    """
    for op, inputs, static in _calls(function):
        given = [x for x in inputs if isinstance(x, Tensor)]
        floating = {x.dtype_name for x in given if x.dtype_name.startswith("float")}
        if not op.differentiable or op.mutates or floating != {"float64"}:
            continue
        named = () if op.variadic else zip(op.arrays, inputs, strict=False)
        names = tuple(name for name, x in named if isinstance(x, Tensor))
        try:
            check(_of_tensors(op, inputs, static), [x.numpy() for x in given], names)
        except AssertionError as error:
            wrong = str(error).partition(" (shape")[0]
            return f"; the op {op.name!r} has a wrong {wrong} by itself: correct its pullback"
        except FlagstoneError:
            continue  # what it was given is gone or reused; another op may tell
    return (
        "; every op that it calls is right by itself: look for detach(), no_grad(), a value read "
        "by numpy() or item(), or a result that depends on earlier calls"
    )


def _calls(function: Callable[[], Any]) -> list[Call]:
    """The op calls that ``function`` makes, the first of each op and kind of arguments."""
    calls: dict[Any, Call] = {}

    def note(op: Op, inputs: Any, static: dict[str, Any], outputs: Any) -> None:
        shapes = tuple(x.shape if isinstance(x, Tensor) else x for x in inputs)
        calls.setdefault((op.name, shapes, repr(static)), (op, tuple(inputs), dict(static)))

    with enable_grad(), observe(note):
        function()
    return list(calls.values())


def _of_tensors(op: Op, inputs: Sequence[Any], static: dict[str, Any]) -> Callable[..., Any]:
    """``op`` as a function of those inputs that are tensors."""

    def call(*given: Any) -> Any:
        left = iter(given)
        return op(*[next(left) if isinstance(x, Tensor) else x for x in inputs], **static)

    return call
