"""Writing the function that replays a step, call by call."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from flagstone.errors import CaptureError
from flagstone.recording import Call, Program, Value
from flagstone_numpy.replay.form import forms_of
from flagstone_numpy.replay.memory import Buffer, block, place
from flagstone_numpy.replay.passes import constants, roots, simplify
from flagstone_numpy.threads import blas

Array = np.ndarray
END = 1 << 60
LARGE = 4096


class Operand:
    """An array of the replay.

    Attributes:
        name: in the generated function.
        shape, dtype, strides: the array's.
        is_static: whether it is the same array in every step; it is bound to :attr:`name` then.
        is_constant: whether it has the same values in every step.
    """

    __slots__ = ("_array", "_make", "dtype", "is_constant", "is_static", "name", "shape", "strides")

    def __init__(self, name: str, like: Any, make: Callable[[], Array] | None = None) -> None:
        self.name, self.shape, self.dtype = name, tuple(like.shape), like.dtype
        self.strides = tuple(like.strides)
        self.is_static, self.is_constant = make is not None, False
        self._make = make
        self._array: Array | None = None

    @property
    def size(self) -> int:
        """How many values."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def is_dense(self) -> bool:
        """Whether the values lie row by row, or column by column, without gaps."""
        like = _like(self)
        return bool(like.flags.c_contiguous or like.flags.f_contiguous)

    @property
    def is_in_rows(self) -> bool:
        """Whether the values lie row by row without gaps."""
        return bool(_like(self).flags.c_contiguous)

    @property
    def array(self) -> Array:
        """The array of a static operand, when places have been chosen."""
        if self._array is None:
            assert self._make is not None  # asked of static operands only
            self._array = self._make()
        return self._array


class Writer:
    """Writes the function call by call; forms are handed it to write theirs."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._calls, self._results = simplify(program)
        self._lines: list[str] = []
        self._bound: dict[str, Any] = {}
        self._names: dict[int, str] = {}  # id of a bound object -> its name
        self._static: list[Operand] = []
        self._buffers: list[Buffer] = []
        self._operands: dict[Value, Operand] = {}
        self._places: dict[Value, Buffer] = {}  # by root
        self._now = 0
        self._root = roots(program)
        self._constants = constants(program, self._root)
        self._returned = {self._root[value] for value in self._results}
        self._last = self._last_uses()
        self._written = {self._root[v] for call in self._calls for v in call.mutates}
        self._targets = self._find_targets()
        for i, value in enumerate(program.inputs):
            self._operands[value] = Operand(f"i{i}", _of(value))

    # What forms use

    def call(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        """Write a call whose result is not needed."""
        texts = [*map(self._text, arguments), *(f"{k}={self._text(x)}" for k, x in named.items())]
        self._lines.append(f"{self._text(function)}({', '.join(texts)})")

    def increase(self, out: Operand, x: Operand) -> None:
        """Write ``out += x`` for one float, in a fifth of a NumPy function's overhead. The sum of
        two float32 in float64, rounded, is their sum in float32."""
        self._lines.append(f"{out.name}.fill({out.name}.item() + {x.name}.item())")

    def value(self, function: Callable[..., Any], *arguments: Any, like: Any) -> Operand:
        """Write a call that makes an array like ``like`` each time."""
        made = Operand(f"v{len(self._lines)}", like)
        arguments_text = ", ".join(map(self._text, arguments))
        self._lines.append(f"{made.name} = {self._text(function)}({arguments_text})")
        return made

    def scratch(self, shape: Sequence[int], dtype: Any) -> Operand:
        """An array for the present call only."""
        buffer = Buffer(shape, dtype, range(len(shape)), self._now, self._now)
        return self._static_operand(np.empty(shape, dtype), self._planned(buffer))

    def view(self, x: Operand, function: Callable[[Array], Array]) -> Operand:
        """``function(x)``, which must be a view; made once if ``x`` stays where it is."""
        like = function(_like(x))
        if x.is_static:
            return self._static_operand(like, lambda: function(x.array))
        return self.value(function, x, like=like)

    def number(self, x: Any, dtype: Any) -> Any:
        """A Python number as an array of shape (), if a floating ``dtype`` can hold it."""
        if isinstance(x, (int, float)) and not isinstance(x, bool) and np.dtype(dtype).kind == "f":
            return np.asarray(x, dtype)
        return x

    def alone(self, x: Any, out: Operand) -> Any:
        """``x``, or its value as an array of shape () where it is the only one beside many: NumPy
        takes less than half as long for that."""
        if isinstance(x, Operand) and x.shape and x.size == 1 and out.size > 1:
            return self.view(x, lambda a: a.reshape(()))
        return x

    # The calls

    def finish(self) -> tuple[str, int, Callable[..., Any]]:
        """The source, the size of the block, and the function."""
        for number, call in enumerate(self._calls):
            self._now = number
            self._write(call)
        results = ", ".join(self._text(self._operand(value)) for value in self._results)
        arguments = ", ".join(f"i{i}" for i in range(len(self._program.inputs)))
        lines = [*self._lines, f"return [{results}]"]
        if self._may_wake_blas():
            lines = [f"with {self._text(blas)}:", *(f"    {line}" for line in lines)]
        body = "\n    ".join(lines)
        source = f"def replay({arguments}):\n    {body}\n"
        size = place(self._buffers)
        self._block = block(size)
        for operand in self._static:
            self._bound[operand.name] = operand.array
        scope = dict(self._bound)
        exec(compile(source, "<captured step>", "exec"), scope)
        return source, size, scope["replay"]

    def _may_wake_blas(self) -> bool:
        """Whether an array is so large that BLAS would compute with threads of its own.

        It is held once for all calls then; a product of :data:`products.ALONE` multiply-adds has a
        factor or a result of this size at least.
        """
        values = {x for call in self._calls for x in (*call.inputs, *call.outputs)
                  if isinstance(x, Value)}  # fmt: skip
        return any(math.prod(value.shape) >= LARGE for value in values)

    def _write(self, call: Call) -> None:
        if self._now in self._done_already:
            return
        inputs = [self._operand(x) if isinstance(x, Value) else x for x in call.inputs]
        if not call.mutates and all(value.note.alias is not None for value in call.outputs):
            self._write_views(call, inputs)
        else:
            forms = forms_of(call, self._program.backend)
            if not any(self._write_form(form, call, inputs) for form in forms):
                self._write_kernel(call, inputs)
        self._let_go(call)

    def _write_views(self, call: Call, inputs: list[Any]) -> None:
        kernel = self._kernel(call)
        sources = {value.note.alias for value in call.outputs}
        if all(inputs[i].is_static for i in sources):
            made: list[Any] = []

            def make(i: int) -> Array:
                if not made:
                    result = kernel(*[x.array if isinstance(x, Operand) else x for x in inputs])
                    made.extend(result if type(result) is tuple else (result,))
                    for value, array in zip(call.outputs, made, strict=True):
                        if array.shape != value.shape or array.strides != value.note.strides:
                            raise CaptureError(f"{call.op.name} made another view than before")
                return np.asarray(made[i])

            for i, value in enumerate(call.outputs):
                self._operands[value] = self._static_operand(_of(value), functools.partial(make, i))
        else:
            self._write_kernel(call, inputs)

    def _write_form(self, form: Any, call: Call, inputs: list[Any]) -> bool:
        layouts = [value.note for value in call.outputs]
        if any(layout.order is None or layout.alias is not None for layout in layouts):
            return False
        if not form.takes(inputs, call):
            return False
        outputs = [self._output(form, call, value) for value in call.outputs]
        form.write(self, outputs, inputs, **{**call.op.defaults, **call.static})
        self._operands.update(zip(call.outputs, outputs, strict=True))
        return True

    def _output(self, form: Any, call: Call, value: Value) -> Operand:
        """Where a form is to write one of its outputs."""
        if value in self._targets:
            target = self._operand(self._targets[value])
            return self._static_operand(_of(value), lambda: target.array)
        if value in self._returned:
            order = value.note.order
            if order == tuple(range(len(order))):
                return self.value(np.empty, value.shape, value.dtype, like=_of(value))
            shape = tuple(value.shape[axis] for axis in order)
            back = tuple(order.index(axis) for axis in range(len(order)))
            made = self.value(np.empty, shape, value.dtype, like=np.empty(shape, value.dtype))
            return self.value(np.transpose, made, back, like=_of(value))
        buffer = Buffer(value.shape, value.dtype, value.note.order, self._now, self._last[value])
        buffer.host = self._taken_over(form, call, value)
        self._places[value] = buffer
        return self._static_operand(_of(value), self._planned(buffer))

    def _taken_over(self, form: Any, call: Call, value: Value) -> Buffer | None:
        """The place of an input that nobody needs any more, where the form may write over it."""
        for i in form.over:
            x = call.inputs[i] if i < len(call.inputs) else None
            if not isinstance(x, Value) or x not in self._places:
                continue  # no array, or none that fills a place of its own
            others = [y for y in call.inputs if isinstance(y, Value) and y is not x]
            alike = (x.shape, x.dtype) == (value.shape, value.dtype)
            same = alike and x.note.strides == value.note.strides
            if same and self._last[x] == self._now and all(self._root[y] is not x for y in others):
                return self._places[x]
        return None

    def _write_kernel(self, call: Call, inputs: list[Any]) -> None:
        kernel = self._kernel(call)
        names: list[str] = []
        for value in call.outputs:
            made = Operand(f"v{len(self._lines)}_{len(names)}", _of(value))
            self._operands[value] = made
            names.append(made.name)
        text = f"{self._text(kernel)}({', '.join(map(self._text, inputs))})"
        if len(names) == 1:
            text = f"{self._text(_only)}({text})"
        self._lines.append(f"{', '.join(names)} = {text}" if names else text)
        for value in call.outputs:
            if value in self._targets:
                target = self._operand(self._targets[value])
                self.call(np.copyto, target, self._operands[value])

    def _let_go(self, call: Call) -> None:
        """Forget arrays that were made anew and that nobody needs any more."""
        values = [x for x in call.inputs if isinstance(x, Value)]
        gone = []
        for value in {*values, *call.outputs}:
            operand = self._operands.get(value)
            if operand is None or operand.is_static or operand.name[0] != "v":
                continue
            if self._last.get(self._root[value], -1) <= self._now:
                gone.append(operand.name)
        if gone:
            self._lines.append(f"{' = '.join(sorted(gone))} = None")

    # Operands and names

    def _operand(self, value: Value) -> Operand:
        found = self._operands.get(value)
        if found is None:
            array = np.asarray(value.array)  # kept or constant
            found = self._static_operand(array, lambda: array)
            found.is_constant = value in self._constants
            self._operands[value] = found
        return found

    def _static_operand(self, like: Any, make: Callable[[], Array]) -> Operand:
        operand = Operand(f"s{len(self._static)}", like, make)
        self._static.append(operand)
        return operand

    def _planned(self, buffer: Buffer) -> Callable[[], Array]:
        self._buffers.append(buffer)
        return lambda: buffer.array(self._block)

    def _text(self, x: Any) -> str:
        """A name for ``x`` in the function."""
        if isinstance(x, Operand):
            return x.name
        if x is None or isinstance(x, (bool, int, str)):
            return repr(x)
        if isinstance(x, tuple) and any(isinstance(part, Operand) for part in x):
            return f"({', '.join(map(self._text, x))},)"
        if id(x) not in self._names:
            stem = getattr(x, "__name__", "c").strip("_")
            name = f"{stem if stem.isidentifier() else 'c'}_{len(self._names)}"
            self._names[id(x)], self._bound[name] = name, x
        return self._names[id(x)]

    def _kernel(self, call: Call) -> Callable[..., Any]:
        kernel = self._program.backend.table[call.op]
        if not call.static:
            return kernel
        bound = functools.partial(kernel, **call.static)
        bound.__name__ = call.op.name  # type: ignore[attr-defined]  # for the source
        return bound

    # What is known beforehand

    def _last_uses(self) -> dict[Value, int]:
        """Root -> the last call that uses it or a view of it."""
        last: dict[Value, int] = {}
        for i, call in enumerate(self._calls):
            for value in (*call.inputs, *call.outputs):
                if isinstance(value, Value):
                    last[self._root[value]] = i
        last.update(dict.fromkeys(self._returned, END))
        return last

    def _find_targets(self) -> dict[Value, Value]:
        """Made value -> the kept array that it is only made to be assigned to.

        Its call writes there at once if nothing touches that memory in between and nothing needs
        the value later.
        """
        self._done_already: set[int] = set()
        maker = {value: i for i, call in enumerate(self._calls) for value in call.outputs}
        targets: dict[Value, Value] = {}
        for i, call in enumerate(self._calls):
            if call.op.name != "assign" or not isinstance(call.inputs[1], Value):
                continue
            out, x = call.inputs
            made_at = maker.get(x)
            if made_at is None or out.kind != "kept" or self._root[x] is not x:
                continue
            strides = np.asarray(out.array).strides
            plain = x not in self._returned and x not in self._written and x not in targets
            if not plain or self._last[x] != i or x.note.strides != strides:
                continue
            between = self._calls[made_at:i]
            if any(self._touches(between_call, out) for between_call in between):
                continue
            if not forms_of(self._calls[made_at], self._program.backend):
                continue
            targets[x] = out
            self._done_already.add(i)
        return targets

    def _touches(self, call: Call, kept: Value) -> bool:
        own = {self._root[value] for value in call.inputs if isinstance(value, Value)}
        return any(r.kind == "kept" and np.may_share_memory(r.array, kept.array) for r in own)


class _Laid(NamedTuple):
    shape: tuple[int, ...]
    dtype: Any
    strides: tuple[int, ...]


def _of(value: Value) -> _Laid:
    """Shape, dtype and strides of an input or a made array."""
    return _Laid(value.shape, value.dtype, value.note.strides)


def _like(x: Any) -> Array:
    """An array laid out like ``x``, of which only that may be used: it has one value of memory."""
    return np.lib.stride_tricks.as_strided(np.empty(1, x.dtype), x.shape, x.strides)


def _only(result: Any) -> Any:
    """The one output of a kernel, which may come in a tuple."""
    return result[0] if type(result) is tuple else result
