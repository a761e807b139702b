"""Pieces of a work that several threads take in turn, without the interpreter's lock.

The other half of :func:`flagstone_numpy.threads.share_turns`, where what ``turns`` holds is told. A
loop begins with ``i = first(turns)``, does piece ``i`` while that is less than ``count(turns)``,
goes on with ``i = following(turns)``, and ends with ``rest(turns)``.
"""

from __future__ import annotations

from typing import Any

import numba.core.cgutils
import numba.extending
from llvmlite import binding, ir
from numba.core import types

from flagstone_numba.loops.compiling import compiled

cgutils: Any = numba.core.cgutils  # its types are partial
intrinsic: Any = numba.extending.intrinsic
TAKEN, FINISHED, PIECES, NUMBER, LOOKS = 0, 8, 16, 17, 18
_PAUSES: dict[str, tuple[str, list[int]]] = {
    "x86_64": ("llvm.x86.sse2.pause", []),
    "aarch64": ("llvm.aarch64.isb", [15]),
    "arm64": ("llvm.aarch64.isb", [15]),
}


def _at(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    data = context.make_array(signature.args[0])(context, builder, args[0]).data
    return builder.gep(data, [args[1]])


@intrinsic  # type: ignore[untyped-decorator]  # numba has no stubs
def _add_one(_: Any, a: Any, i: Any) -> Any:
    """Add one to ``a[i]``, at once for all threads, and return what it was."""

    def write(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        one = ir.Constant(ir.IntType(64), 1)
        return builder.atomic_rmw("add", _at(context, builder, signature, args), one, "seq_cst")

    return types.int64(a, types.intp), write


@intrinsic  # type: ignore[untyped-decorator]
def _read(_: Any, a: Any, i: Any) -> Any:
    """``a[i]`` as other threads have it now."""

    def write(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(_at(context, builder, signature, args), "seq_cst", 8)

    return types.int64(a, types.intp), write


@intrinsic  # type: ignore[untyped-decorator]
def _write(_: Any, a: Any, i: Any, value: Any) -> Any:
    """Set ``a[i]`` for all threads."""

    def write(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store_atomic(args[2], _at(context, builder, signature, args), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(a, types.intp, types.int64), write


@intrinsic  # type: ignore[untyped-decorator]
def _pause(_: Any) -> Any:
    """Leave the core's units to the other thread for some cycles."""

    def write(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        name, given = _PAUSES.get(binding.get_default_triple().split("-")[0], ("", []))
        if name:
            arguments = [ir.Constant(ir.IntType(32), x) for x in given]
            kind = ir.FunctionType(ir.VoidType(), [x.type for x in arguments])
            pause = cgutils.get_or_insert_function(builder.module, kind, name)
            builder.call(pause, arguments)
        return context.get_dummy_value()

    return types.void(), write


@compiled
def first(turns: Any) -> int:
    """The first piece of this thread; the caller tells workers that look out for work."""
    state, mail, is_caller = turns
    if is_caller and state[NUMBER]:
        _write(mail, 0, state[NUMBER])
    return _add_one(state, TAKEN)


@compiled
def following(turns: Any) -> int:
    """The next piece, now that one is finished."""
    _add_one(turns[0], FINISHED)
    return _add_one(turns[0], TAKEN)


@compiled
def count(turns: Any) -> int:
    """How many pieces there are."""
    return turns[0][PIECES]


@compiled
def wait_for(turns: Any, pieces: int) -> None:
    """Wait until the first ``pieces`` are finished, which threads are about to do."""
    while _read(turns[0], FINISHED) < pieces:
        _pause()


@compiled
def rest(turns: Any) -> None:
    """Wait a little: the caller for the others' pieces, a worker for the next work."""
    state, mail, is_caller = turns
    for _ in range(state[LOOKS]):
        if is_caller:
            if _read(state, FINISHED) >= state[PIECES]:
                return
        elif _read(mail, 0) > state[NUMBER]:
            return
        _pause()
