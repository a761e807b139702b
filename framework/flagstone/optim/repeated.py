"""An op call that is made again and again on the same tensors, as an optimizer's update is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import is_
from typing import Any

from flagstone.backend import settled
from flagstone.ops.door import Op
from flagstone.tape import state
from flagstone.tensors import Tensor

Inputs = tuple[Tensor | None, ...]


class RepeatedCall:
    """Calls an op that only writes to its inputs.

    A call like the last one, which passed the op's checks, goes to the kernel at once.
    """

    __slots__ = ("_arrays", "_inputs", "_kernel", "_op", "_settings", "_static", "_table")

    def __init__(self) -> None:
        self._op: Op | None = None
        self._inputs: Inputs = ()
        self._arrays: list[Any] = []
        self._static: dict[str, Any] = {}
        self._settings: int | None = None
        self._table: Any = None
        self._kernel: Callable[[], Any]

    def again(self, settings: int, p: Tensor, g: Tensor) -> bool:
        """Make the last call again, if it was for these parameters and gradients, and with these
        settings: the number that an optimizer counts up when something else of it changes.

        Returns:
            Whether it was.
        """
        inputs = self._inputs
        if (
            settings != self._settings or p is not inputs[0] or g is not inputs[1]
            or p.backend.table is not self._table or state.observer is not None
        ):  # fmt: skip
            return False
        self._kernel()
        return True

    def __call__(
        self, op: Op, inputs: Inputs, static: dict[str, Any], settings: int | None
    ) -> None:
        """``op(*inputs, **static)``.

        Args:
            op, inputs, static: the call; the parameters and their gradients come first.
            settings: see :meth:`again`; ``None`` if some inputs do not live on.
        """
        if settings is None or state.observer is not None:
            op(*inputs, **static)
            return
        arrays = [None if x is None else x.array for x in inputs]
        is_known = (
            op is self._op and static == self._static
            and all(map(is_, inputs, self._inputs)) and all(map(is_, arrays, self._arrays))
        )  # fmt: skip
        self._settings = None
        if not is_known or inputs[0] is None:
            op(*inputs, **static)
            self._op, self._inputs, self._arrays, self._static = op, inputs, arrays, static
            return
        self._table = inputs[0].backend.table
        self._kernel = partial(settled(self._table[op], arrays), *arrays, **static)
        self._kernel()
        self._settings = settings
