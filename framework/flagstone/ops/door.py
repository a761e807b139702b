"""The one door: how an op is defined, and how every op call happens.

::

    @op
    def relu(xp, x):
        return xp.maximum(x, 0)

    @relu.pullback
    def _(dy, y):
        return relu_grad(dy, y)

The generic form takes the array namespace, then its array arguments, then keyword-only static
arguments. The pullback, written in ops, says by its parameters' names what the tape must keep:

==============================  ==========================================================
``dy`` (``dys``)                the gradient of the output (of each output, ``None`` if unused)
``y`` (``ys``)                  the output (all outputs)
``y0``, ``y1``, ...             the output of that number
an array argument's name        that tensor
the same with ``_shape``        only its shape
the same with ``_dtype``        only the name of its dtype
the same, ``_for_`` another     that tensor, but ``None`` unless the other's gradient is wanted
``need``                        for each array argument, whether its gradient is wanted
a static argument's name        its value
==============================  ==========================================================

It returns the gradient of each array argument (a tuple; alone if there is one), or ``None``.

What a check refuses, and of which shapes and dtypes a result is, follows from the kinds of the
arguments and from the options, never from values: a call like one before is not looked at again
(``calling.py``), nor is its pullback, if it comes to the same op calls (``unrolled.py``).
"""

from __future__ import annotations

import inspect
import numbers as numbers_
from collections.abc import Callable, Sequence
from typing import Any, overload

from flagstone.backend import mismatch, settled
from flagstone.errors import GradientError, InputError
from flagstone.ops import unrolled as _unrolled  # noqa: F401  # the tape asks it
from flagstone.ops.autocast import autocast
from flagstone.ops.calling import MISSING, written_call
from flagstone.ops.checks import not_a_tensor
from flagstone.ops.pullbacks import Pullback
from flagstone.tape import Known, Node, state
from flagstone.tensors import LEAF, Tensor, kind_of

ALL_OPS: dict[str, Op] = {}  # name -> op, in order of definition
MOST_KNOWN = 512
"""Of how many kinds of calls an op remembers what they give."""
OFTEN = 4
"""So often it begins anew when there are more; then it remembers none."""
LOST = 256
"""So many calls that cannot be remembered (slices have no hash) do the same."""


class Op:
    """A differentiable function of tensors; calling it is the one door.

    Attributes:
        name: what kernels and ``doctor --ops`` call it.
        generic: the implementation in array-API terms, ``generic(xp, *arrays, **static)``.
        arrays: names of the array arguments.
        defaults: the static arguments that have defaults.
        differentiable: whether its outputs can carry gradients.
        mutates: names of the array arguments that it writes to.
        numbers: names of the array arguments for which a Python number will do.
        optional: names of the array arguments that may be ``None``.
        array_defaults: of the array arguments that may be left out.
        known: what is known of calls like those before, ``None`` after one; see
            :mod:`flagstone.ops.calling`.
        forgotten: how often there was too much of that, from which follows whether to go on.

    Raises:
        InputError: another module defined an op of this name, or an argument has a name that means
            something else in a pullback.
    """

    def __init__(
        self,
        generic: Callable[..., Any],
        differentiable: bool = True,
        mutates: tuple[str, ...] = (),
        numbers: tuple[str, ...] = (),
        optional: tuple[str, ...] = (),
    ) -> None:
        self.name = self.__name__ = generic.__name__
        self.__doc__ = generic.__doc__
        self.__wrapped__ = generic
        self.generic = generic
        self.differentiable = differentiable
        self.mutates = mutates
        parameters = list(inspect.signature(generic).parameters.values())[1:]
        keyword_only = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
        self.arrays = tuple(p.name for p in parameters if p.kind is not p.KEYWORD_ONLY)
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        self.required = tuple(
            p.name for p in parameters
            if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty
        )  # fmt: skip
        self.statics = tuple(p.name for p in keyword_only)
        self.defaults = {p.name: p.default for p in keyword_only if p.default is not p.empty}
        given = [p for p in parameters if p.name in self.arrays and p.default is not p.empty]
        self.array_defaults = {p.name: p.default for p in given}
        may_be_none = [name for name, default in self.array_defaults.items() if default is None]
        self.numbers, self.optional = numbers, (*optional, *may_be_none)
        self._may_be_none = frozenset(map(self.arrays.index, self.optional))
        self._may_be_numbers = frozenset(map(self.arrays.index, numbers))
        self._pullback: Callable[..., Any] | None = None
        self.tape_use: Pullback | None = None
        self.pull: Callable[
            [Node, list[Tensor | None]], Sequence[Tensor | None]
        ]  # given by the tape a node of this op, once there is a pullback
        self.known: dict[Any, Known | None] = {}
        self.forgotten = 0.0
        self._check: Callable[..., None] | None = None
        taken = {"y", "ys", "dy", "dys", "need"} & {*self.arrays, *self.statics}
        if taken:
            raise InputError(
                f"op {self.name}: an argument is named {', '.join(sorted(taken))}, which means "
                "something else in a pullback; rename it"
            )
        namesake = ALL_OPS.get(self.name)
        if namesake is not None and namesake.generic.__module__ != generic.__module__:
            raise InputError(
                f"op {self.name}: {namesake.generic.__module__} defines an op of this name; "
                f"rename the one in {generic.__module__}"
            )
        ALL_OPS[self.name] = self

    def __repr__(self) -> str:
        return f"<op {self.name}({', '.join([*self.arrays, *self.statics])})>"

    def check(self, function: Callable[..., None]) -> Callable[..., None]:
        """Decorator: run ``function(*inputs, **static)`` before every call; it raises.

        By then the inputs are tensors of one backend, or numbers or ``None`` where the op takes
        them.
        """
        self._check = function
        self.known.clear()
        return function

    def pullback(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Decorator: the op's pullback; see the module's docstring."""
        self._pullback, self.tape_use = function, Pullback(self, function)
        self.pull = self.tape_use.pull
        self.known.clear()
        self.__class__ = Op  # a call that was written before knows no pullback
        return function

    def __call__(self, *inputs: Any, **static: Any) -> Any:
        """The first call; Python looks ``__call__`` up on the class, so from then on the op is the
        one object of a class of its own, which has the call written for it. It is every call of an
        op that takes any number of arrays, or whose calls are too various to be remembered."""
        if self.variadic or self.forgotten >= OFTEN:
            return self.call(inputs, static, None)
        self.__class__ = type("Op", (Op,), {"__call__": written_call(self)})
        return self(*inputs, **static)

    def call(self, inputs: tuple[Any, ...], static: dict[str, Any], key: Any) -> Any:
        """A call that is looked at in full.

        Args:
            inputs: the array arguments.
            static: the other arguments.
            key: under what it is remembered; ``None`` for not at all.
        """
        if key is None and self.__class__ is not Op:
            self._forget(OFTEN / LOST)
        backend = None
        wanted = False  # a gradient with respect to one of the inputs
        arrays = []
        for x in inputs:
            if isinstance(x, Tensor):
                if x.backend is not backend:
                    if backend is not None:
                        raise mismatch(self.name, backend, x.backend)
                    backend = x.backend
                    if backend.low is not None:
                        cast = autocast(self, inputs, backend.low)
                        if cast is not inputs:
                            return self(*cast, **static)
                if x.edge is not None:
                    wanted = True
                arrays.append(x.array)
            elif (type(x) is float and len(arrays) in self._may_be_numbers) or (
                x is None and len(arrays) in self._may_be_none
            ):
                arrays.append(x)
            else:
                number = self._plain(x, len(arrays))
                if number is not x:
                    inputs, key = (*inputs[: len(arrays)], number, *inputs[len(arrays) + 1 :]), None
                arrays.append(number)
        if backend is None:
            self._require_arguments(inputs, static)
            raise not_a_tensor(self.name, self._argument(0), inputs[0] if inputs else None)
        kernel = backend.table[self]
        try:
            if self._check is not None:
                self._check(*inputs, **static)
            result = kernel(*arrays, **static)
        except TypeError:
            self._require_arguments(inputs, static)
            raise
        several = type(result) is tuple
        made = result if several else (result,)
        outputs: tuple[Tensor, ...]
        if several:
            outputs = tuple([Tensor(array, backend) for array in made])
        else:
            outputs = (Tensor(result, backend),)
        if state.observer is not None:
            state.observer(self, inputs, static, outputs)
        known: Any = MISSING if key is None else self.known.get(key, MISSING)
        wanted = wanted and self.differentiable and state.grad_enabled
        comes_again = known is None
        if comes_again:
            kinds = tuple([kind_of(y) for y in outputs])
            known = Known(backend, kinds, several, settled(kernel, arrays))
        if wanted:
            about = known
            if about is MISSING:
                about = Known(backend, (None,) * len(made), several)
            node = self._tape(inputs, static, made, about)
            for i, y in enumerate(outputs):
                y.edge = node, i
        if comes_again:
            self.known[key] = known
        elif known is MISSING and key is not None and backend.low is None:
            if len(self.known) >= MOST_KNOWN:
                self.known.clear()
                self._forget(1)
            self.known[key] = None
        return outputs if several else outputs[0]

    def _forget(self, weight: float) -> None:
        """Note that a call could not be remembered, or that others had to be forgotten for it."""
        self.forgotten += weight
        if self.forgotten >= OFTEN:
            self.__class__ = Op  # to look for what is seldom found would take longer

    def given(
        self, inputs: tuple[Any, ...], static: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments, ``MISSING`` or a default where one was left out, without those."""
        last = len(inputs)
        if last != len(self.arrays) or self.array_defaults or inputs[-1] is MISSING:
            defaults = self.array_defaults
            while last and (
                inputs[last - 1] is MISSING
                or (
                    last <= len(self.arrays)
                    and inputs[last - 1] is defaults.get(self.arrays[last - 1], MISSING)
                )
            ):
                last -= 1
            inputs = inputs[:last]
        if static:
            defaults = self.defaults
            static = {n: v for n, v in static.items() if v is not defaults.get(n, MISSING)}
        return inputs, static

    def _tape(
        self, inputs: tuple[Any, ...], static: dict[str, Any], made: tuple[Any, ...], known: Known
    ) -> Node:
        use = self.tape_use
        if use is None:
            raise GradientError(
                f"{self.name}: has no pullback, so a gradient cannot pass through it; "
                "call it under no_grad() or on x.detach()"
            )
        if len(inputs) < len(self.arrays):
            inputs = (*inputs, *[None for _ in self.arrays[len(inputs) :]])
        edges = []
        for x in inputs:
            if isinstance(x, Tensor):
                edge = x.edge
                edges.append(x if edge is LEAF else edge)
            else:
                edges.append(None)
        if self.defaults:
            static = {**self.defaults, **static}
        node = Node(self, edges, use.keep(inputs, edges, made), static, known)
        if state.watcher is not None:
            state.watcher.taped(node)
        return node

    def _argument(self, i: int) -> str:
        return self.arrays[min(i, len(self.arrays) - 1)]

    def _require_arguments(self, inputs: tuple[Any, ...], static: dict[str, Any]) -> None:
        """Raise TypeError, as Python does for any function, unless a call can be like this."""
        problem = ""
        unknown = [name for name in static if name not in self.statics]
        needed = [name for name in self.statics if name not in self.defaults]
        missing = [*self.required[len(inputs) :], *(name for name in needed if name not in static)]
        if len(inputs) > len(self.arrays) and not self.variadic:
            problem = f"got {len(inputs)} positional arguments"
        elif unknown:
            problem = f"got an unexpected argument {unknown[0]!r}"
        elif missing:
            problem = f"is missing {' and '.join(map(repr, missing))}"
        if problem:
            star = "*" if self.variadic else ""
            takes = star + ", ".join(self.arrays)
            by_name = f" and by name {', '.join(self.statics)}" if self.statics else ""
            raise TypeError(f"{self.name}() {problem}; it takes {takes}{by_name}") from None

    def _plain(self, x: Any, i: int) -> int | float | None:
        """The input ``x`` that is no tensor, if the op takes it.

        A NumPy scalar becomes a Python number: it would decide the result's dtype, that does not.
        """
        if i >= len(self.arrays) and not self.variadic:
            self._require_arguments((None,) * (i + 1), {})
        name = self._argument(i)
        if name in self.numbers:
            if type(x) in (int, float, bool):
                return x
            if isinstance(x, numbers_.Real):
                return int(x) if isinstance(x, numbers_.Integral) else float(x)
        if x is None and name in self.optional:
            return None
        raise not_a_tensor(self.name, name, x)


@overload
def op(generic: Callable[..., Any], /) -> Op: ...
@overload
def op(
    *,
    differentiable: bool = True,
    mutates: tuple[str, ...] = (),
    numbers: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
) -> Callable[[Callable[..., Any]], Op]: ...
def op(
    generic: Callable[..., Any] | None = None,
    /,
    *,
    differentiable: bool = True,
    mutates: tuple[str, ...] = (),
    numbers: tuple[str, ...] = (),
    optional: tuple[str, ...] = (),
) -> Any:
    """Decorator: make an op of its generic form; see the module's docstring.

    Args:
        generic: ``generic(xp, *arrays, **static)``.
        differentiable: ``False`` for ops whose outputs carry no gradient (comparisons, indices).
        mutates: array arguments that the op writes to; such an op is never taped.
        numbers: array arguments for which a Python number will do.
        optional: array arguments that may be ``None``; those with that default may be anyway.
    """
    if generic is None:
        return lambda g: Op(g, differentiable and not mutates, mutates, numbers, optional)
    return Op(generic)
