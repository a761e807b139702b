"""What one run of a step did: its op calls in order, and where their arrays came from.

A step is a Python function made of ops. A :class:`Recorder` watches the one door while it runs and
leaves a :class:`Program`, which a backend can do again without the tape: NumPy as a list of bound
calls, CuPy as a graph of launches. Two runs are recorded and compared, because one cannot tell what
will differ in the next: an array that both used is *kept* (parameters, states, data), one made anew
with equal values is a *constant*, and anything else that differs is the reason why the step cannot
be captured.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

from flagstone.backend import Backend
from flagstone.errors import CaptureError
from flagstone.tensors import Tensor
from flagstone.watching import ATOMS, Changes, Watched, frozen, variables

INPUT, KEPT, CONSTANT, MADE, OUTSIDE = "input", "kept", "constant", "made", "outside"

Note = Callable[[Any, Sequence[Any]], Any]
"""(array, arrays it was made from) -> what a backend wants to remember of it."""


class Value:
    """One array of a step.

    Attributes:
        kind: ``"input"``, an argument of the step; ``"kept"``, an array that lives on from step to
            step; ``"constant"``, one that every step makes anew with equal values; ``"made"``, by
            an op call of the step.
        array: the array itself if it is kept or constant, else ``None``.
        shape, dtype: the array's.
        note: what the backend noted of an input or a made array, such as its strides.
    """

    __slots__ = ("array", "dtype", "kind", "note", "shape")

    def __init__(self, kind: str, array: Any, note: Any = None) -> None:
        self.kind = kind
        self.array = array if kind == OUTSIDE else None
        self.shape, self.dtype, self.note = tuple(array.shape), array.dtype, note

    def __repr__(self) -> str:
        return f"<{self.kind} {self.dtype}{list(self.shape)}>"


class Call:
    """One op call.

    Attributes:
        op: what was called.
        inputs: a :class:`Value` for each array argument; a number, or ``None``, stands for itself.
        static: the other arguments.
        outputs: the values it made.
        mutates: the values among the inputs that it writes to.
    """

    __slots__ = ("inputs", "mutates", "op", "outputs", "static")

    def __init__(
        self, op: Any, inputs: tuple[Any, ...], static: dict[str, Any], outputs: tuple[Value, ...]
    ) -> None:
        self.op, self.inputs, self.static, self.outputs = op, inputs, static, outputs
        places = [op.arrays.index(name) for name in op.mutates]
        self.mutates = [inputs[i] for i in places if i < len(inputs) and inputs[i] is not None]

    def __repr__(self) -> str:
        return f"{self.op.name}{self.inputs} -> {self.outputs}"


class Program:
    """The op calls of a step.

    Attributes:
        backend: whose arrays they take.
        inputs: the step's tensor arguments, in order.
        calls: in the order in which they were made.
        results: the tensors that the step returned, in order.
        tensors: the tensors that hold kept arrays, with what the program relies on:
            ``(tensor, array, requires_grad)``.
        layers: those that were called.
        optimizers: those that stepped, with their ``settings``.
    """

    def __init__(self, backend: Backend, inputs: Sequence[Value]) -> None:
        self.backend = backend
        self.inputs = list(inputs)
        self.calls: list[Call] = []
        self.results: list[Value] = []
        self.tensors: list[tuple[Tensor, Any, bool]] = []
        self.layers: list[Any] = []
        self.optimizers: list[tuple[Any, Any]] = []

    def run(
        self, *arrays: Any, watch: Callable[[Call, list[Any]], None] | None = None
    ) -> list[Any]:
        """Do the calls with the backend's kernels; right on any backend.

        Every array is made anew, and let go of after its last use.

        Args:
            arrays: one for each of :attr:`inputs`.
            watch: called before each call is made, with it and its arrays.

        Returns:
            One for each of :attr:`results`.
        """
        held: dict[Value, Any] = dict(zip(self.inputs, arrays, strict=True))
        table = self.backend.table

        def of(x: Any) -> Any:
            return (held[x] if x.array is None else x.array) if isinstance(x, Value) else x

        for call, dead in zip(self.calls, self.last_uses(), strict=True):
            taken = [of(x) for x in call.inputs]
            if watch is not None:
                watch(call, taken)
            result = table[call.op](*taken, **call.static)
            made = result if type(result) is tuple else (result,)
            held.update(zip(call.outputs, made, strict=True))
            del taken, result, made
            for value in dead:
                del held[value]
        return [of(value) for value in self.results]

    def last_uses(self) -> list[list[Value]]:
        """For each call, the arrays made in the step that nothing after it takes."""
        last: dict[Value, int] = {}
        for i, call in enumerate(self.calls):
            last.update((x, i) for x in (*call.inputs, *call.outputs) if isinstance(x, Value))
        kept = set(self.results)
        dead: list[list[Value]] = [[] for _ in self.calls]
        for value, i in last.items():
            if value.kind == MADE and value not in kept:
                dead[i].append(value)
        return dead


class Recorder:
    """Watches one run of a step.

    Args:
        backend: whose arrays the step may use.
        inputs: its tensor arguments.
        note: called with every input and every array that an op made.

    Attributes:
        program: what was seen so far.
        problem: why this run cannot be done again, ``None`` as long as it can.
    """

    def __init__(self, backend: Backend, inputs: Sequence[Tensor], note: Note | None) -> None:
        self.problem: str | None = None
        self._note = note
        self._known: dict[int, tuple[_Reach, Value, str]] = {}  # by the array's id
        self._owners: dict[int, _Reach] = {}  # of memory that differs from step to step
        self._tensors: dict[int, tuple[Tensor, Any, bool]] = {}
        self._layers: dict[int, Any] = {}
        self._optimizers: dict[int, Any] = {}
        values = [Value(INPUT, x.array, note and note(x.array, ())) for x in inputs]
        for x, value in zip(inputs, values, strict=True):
            self._known[id(x.array)] = (_Strong(x.array), value, "")
        self.program = Program(backend, values)

    def __call__(
        self, op: Any, inputs: Sequence[Any], static: dict[str, Any], outputs: Sequence[Tensor]
    ) -> None:
        """The observer of op calls; see :func:`flagstone.tape.observe`."""
        taken = [self._value(op.name, x) if isinstance(x, Tensor) else x for x in inputs]
        arrays = [x.array if isinstance(x, Tensor) else None for x in inputs]
        sources = {id(owner(a)) for a in arrays if a is not None}
        made = []
        for out in outputs:
            if out.backend is not self.program.backend:
                self._fail(f"{op.name} works on {out.device}, not on {self.program.backend.device}")
            reach = _reach(out.array)
            if isinstance(reach, _Strong):  # NumPy's scalars, of which equal ones may be one object
                out.array = out.backend.xp.asarray(out.array)
                reach = _reach(out.array)
            array = out.array
            value = Value(MADE, array, self._note(array, arrays) if self._note else None)
            is_input = any(array is a for a in arrays)  # of an op that had nothing to do
            self._known[id(array)] = (reach, value, "" if is_input else op.name)
            base = owner(array)
            if id(base) not in sources:  # memory of its own
                self._owners[id(base)] = reach if base is array else _reach(base)
            made.append(value)
        self.program.calls.append(Call(op, tuple(taken), static, tuple(made)))

    def call(self, layer: Any, inputs: tuple[Any, ...]) -> Any:
        """A layer is called; see :class:`flagstone.tape.Watcher`."""
        self._layers.setdefault(id(layer), layer)
        return layer.forward(*inputs)

    def stepping(self, optimizer: Any) -> None:
        """An optimizer takes a step; see :class:`flagstone.tape.Watcher`."""
        self._optimizers.setdefault(id(optimizer), optimizer)

    def taped(self, node: Any) -> None:
        """Of no interest here."""

    def pulling(self, node: Any) -> None:
        """Of no interest here."""

    def read(self, x: Tensor) -> None:
        """A tensor's values are being read on the host."""
        self._fail(
            f"it reads a tensor of shape {x.shape} on the host, by item(), numpy(), bool() or "
            "float(); return the tensor and read it after the step"
        )

    def finish(self, results: Sequence[Tensor]) -> None:
        """The step has ended and nothing of it is left but ``results``, which it returned."""
        self.program.results = [self._value("its result", x) for x in results]
        self.program.tensors = list(self._tensors.values())
        self.program.layers = list(self._layers.values())
        self.program.optimizers = [(o, o.settings) for o in self._optimizers.values()]
        returned = {id(owner(x.array)) for x in results}
        self.program.backend.settle()
        for reach, value, name in self._known.values():
            array = reach() if name and isinstance(reach, weakref.ref) else None
            if array is not None and id(owner(array)) not in returned:
                self._fail(
                    f"a tensor of shape {value.shape} that {name} made lives on after it, as the "
                    "grad of a leaf or in an attribute or a list; return it instead"
                )
        self._known.clear()
        self._owners.clear()

    def _value(self, user: str, x: Tensor) -> Value:
        array = x.array
        known = self._known.get(id(array))
        if known is not None and known[0]() is array:
            value = known[1]
        else:
            known_base = self._owners.get(id(owner(array)))
            if known_base is not None and known_base() is owner(array):
                self._fail(f"{user} takes a view that was made without an op")
            value = Value(OUTSIDE, array)
            self._known[id(array)] = (_Strong(array), value, "")
        if value.kind == OUTSIDE:
            self._tensors.setdefault(id(x), (x, array, x.requires_grad))
        return value

    def _fail(self, problem: str) -> None:
        if self.problem is None:
            self.problem = problem


class _Strong:
    """Holds what shall live on, and what cannot be referred to weakly."""

    __slots__ = ("_object",)

    def __init__(self, held: Any) -> None:
        self._object = held

    def __call__(self) -> Any:
        return self._object


_Reach = Callable[[], Any]


def _reach(array: Any) -> _Reach:
    """A function that gives the array as long as somebody else holds it."""
    try:
        return weakref.ref(array)
    except TypeError:
        return _Strong(array)


def owner(array: Any) -> Any:
    """The array that owns the memory, where the backend's arrays say it (``base``)."""
    while (base := getattr(array, "base", None)) is not None:
        array = base
    return array


def compare(first: Program, second: Program) -> None:
    """Settle which arrays of ``second`` are kept and which constant, by another run's program.

    Raises:
        CaptureError: the two runs differ; the message says where.
    """
    if len(first.calls) != len(second.calls):
        raise CaptureError(
            f"one run makes {len(first.calls)} op calls, the next {len(second.calls)}"
        )
    same: dict[Value, Value] = dict(zip(first.inputs, second.inputs, strict=True))
    for a, b in zip(first.calls, second.calls, strict=True):
        if a.op is not b.op or len(a.inputs) != len(b.inputs) or len(a.outputs) != len(b.outputs):
            raise CaptureError(f"where one run calls {a.op.name}, the next calls {b.op.name}")
        for name in a.static.keys() | b.static.keys():
            if not _equal(a.static.get(name), b.static.get(name)):
                raise CaptureError(
                    f"{b.op.name}: {name} is {a.static.get(name)!r} in one run and "
                    f"{b.static.get(name)!r} in the next"
                )
        for i, (x, y) in enumerate(zip(a.inputs, b.inputs, strict=True)):
            name = b.op.arrays[min(i, len(b.op.arrays) - 1)]
            if y in b.mutates and y.kind in (OUTSIDE, CONSTANT) and x.array is not y.array:
                raise CaptureError(
                    f"{b.op.name} writes to an array that every step makes anew; make it before"
                )
            _settle(f"{b.op.name}: {name}", x, y, same, second.backend)
        for x, y in zip(a.outputs, b.outputs, strict=True):
            if (x.shape, x.dtype) != (y.shape, y.dtype):
                raise CaptureError(
                    f"{b.op.name} gives an array of shape {x.shape} in one run and {y.shape} in "
                    "the next: its shape depends on values"
                )
            same[x] = y
    for x, y in zip(first.results, second.results, strict=True):
        _settle("the result", x, y, same, second.backend)
    before = {id(tensor) for tensor, _, _ in first.tensors}
    second.tensors = [held for held in second.tensors if id(held[0]) in before]


def _settle(what: str, x: Any, y: Any, same: dict[Value, Value], backend: Backend) -> None:
    if not isinstance(x, Value) or not isinstance(y, Value):
        if not _equal(x, y):
            raise CaptureError(f"{what} is {x!r} in one run and {y!r} in the next")
    elif x.array is None:  # an argument, or made in the step
        if same.get(x) is not y:
            raise CaptureError(f"{what} comes from elsewhere in the next run")
    elif x.array is y.array:
        y.kind = KEPT
    elif y.array is not None and _equal_arrays(x, y, backend):
        if y.kind == OUTSIDE:
            y.kind = CONSTANT
    else:
        raise CaptureError(
            f"{what} is an array that changes from step to step and is no argument of the step"
        )


def _equal(x: Any, y: Any) -> bool:
    return type(x) is type(y) and (x == y or (x != x and y != y))


def _equal_arrays(x: Value, y: Value, backend: Backend) -> bool:
    if (x.shape, x.dtype) != (y.shape, y.dtype):
        return False
    here, there = (backend.to_numpy(v.array).tobytes() for v in (x, y))
    return bool(here == there)


def guard(program: Program, step: Callable[..., Any]) -> Callable[[], bool]:
    """A function that tells whether what ``program``, of ``step``, took from objects is as it was.

    It is asked before every step, so it is one expression without a loop.
    """
    names: dict[str, Any] = {"frozen": frozen}
    terms = []
    for i, (at, name, value) in enumerate(variables(step)):
        names[f"n{i}"], names[f"b{i}"] = at, value
        now = f"n{i}.get({name!r})" if name else f"n{i}.cell_contents"
        alike = ""
        if type(value) in ATOMS:  # one that is alike may be another object
            names[f"f{i}"] = frozen(value)
            alike = f" or frozen({now}) == f{i}"
        terms.append(f"({now} is b{i}{alike})")
    for i, (tensor, array, requires_grad) in enumerate(program.tensors):
        names[f"t{i}"], names[f"a{i}"] = tensor, array
        wanted = "is not" if requires_grad else "is"
        terms.append(f"t{i}.array is a{i} and t{i}.edge {wanted} None")
    layers = {id(part): part for layer in program.layers for _, part in layer.named_layers()}
    if layers:
        watched = Watched(layers.values())
        names.update(Changes=Changes, watched=watched)
        terms.append("(Changes.token is watched.token or watched.holds())")
        for i, (value, known) in enumerate(watched.moving):
            names[f"v{i}"], names[f"k{i}"] = value, known
            terms.append(f"v{i} == k{i}" if type(known) is list else f"frozen(v{i}) == k{i}")
    for i, (optimizer, settings) in enumerate(program.optimizers):
        names[f"o{i}"] = optimizer
        terms.append(f"o{i}.settings == {settings}")
    guard: Callable[[], bool] = eval(f"lambda: {' and '.join(terms) or 'True'}", names)
    return guard
