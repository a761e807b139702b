"""Which instructions of ``kernels/persistent.cu`` each op becomes."""

from __future__ import annotations

import math
from collections.abc import Callable

from flagstone.recording import Call, Value
from flagstone_cupy.kernels import persistent as kernel
from flagstone_cupy.kernels import reduce
from flagstone_cupy.kernels.update import factors, log
from flagstone_cupy.launch import THREADS
from flagstone_cupy.persistent_program import INTEGERS, Operand, Translation, UnservedError

MOST_SUMMED = 512
"""Values that a sum has less of; the ordinary kernels may split longer ones."""
Write = Callable[[Translation, Call], None]
OPS: dict[str, Write] = {}
"""Op -> what writes a call of it."""

UNARY = {"negative": "NEGATIVE", "abs": "ABS", "relu": "RELU", "sigmoid": "SIGMOID", "tanh": "TANH",
         "exp": "EXP", "log": "LOG", "sqrt": "SQRT"}  # fmt: skip
BINARY = {"add": "ADD", "subtract": "SUBTRACT", "multiply": "MULTIPLY", "divide": "DIVIDE",
          "relu_grad": "RELU_GRAD", "binary_cross_entropy_with_logits": "ENTROPY_OF_LOGIT",
          "equal": "EQUAL", "not_equal": "NOT_EQUAL", "greater": "GREATER",
          "greater_equal": "GREATER_EQUAL", "less": "LESS", "less_equal": "LESS_EQUAL"}  # fmt: skip


def _of(*names: str) -> Callable[[Write], Write]:
    def keep(write: Write) -> Write:
        OPS.update(dict.fromkeys(names, write))
        return write

    return keep


def _unserved(reason: str, unless: bool) -> None:
    if not unless:
        raise UnservedError(reason)


# Element by element


def _steps(operand: Operand, shape: tuple[int, ...], split: int) -> tuple[int, int] | None:
    """How far an operand's values are apart in a table of ``shape``, cut at an axis in two.

    From one row to the next, and from one column to the next; 0 where it is repeated. ``None`` if
    it does not lie so.
    """
    given = (1,) * (len(shape) - len(operand.shape)) + operand.shape
    steps = []
    for part, whole in ((given[:split], shape[:split]), (given[split:], shape[split:])):
        if part == whole:
            steps.append(1)
        elif math.prod(part) == 1:
            steps.append(0)
        else:
            return None
    return steps[0] * math.prod(given[split:]), steps[1]


def _table(
    shape: tuple[int, ...], *operands: Operand
) -> tuple[tuple[int, int], list[tuple[int, int]]]:
    """A shape as a table, and how far each operand's values are apart in it."""
    for split in range(len(shape) + 1):
        steps = [_steps(o, shape, split) for o in operands]
        if all(s is not None for s in steps):
            found = [s for s in steps if s is not None]
            return (math.prod(shape[:split]), math.prod(shape[split:])), found
    raise UnservedError(f"arrays that broadcast to {shape} in another way than by rows or columns")


def _apply(t: Translation, f: str, out: Operand, x: Operand) -> None:
    (rows, columns), [steps] = _table(out.shape, x)
    code = kernel.UNARY.index(f)
    t.emit("UNARY", code, out.place, rows, columns, x.place, *steps, threads=out.size)


@_of(*UNARY)
def _(t: Translation, call: Call) -> None:
    x = t.operand(call.inputs[0])
    _apply(t, UNARY[call.op.name], t.made(call.outputs[0]), x)


@_of(*BINARY)
def _(t: Translation, call: Call) -> None:
    _combine(t, BINARY[call.op.name], call)


@_of("add_relu")
def _(t: Translation, call: Call) -> None:
    _combine(t, "ADD", call)
    out = t.operand(call.outputs[0])
    _apply(t, "RELU", out, out)


def _combine(t: Translation, f: str, call: Call) -> None:
    kinds = {x.dtype.kind for x in call.inputs if isinstance(x, Value)}
    _unserved("arithmetic of integers", kinds <= {"f"} or f in kernel.BINARY[6:])
    a, b = (t.operand(x) for x in call.inputs)
    a, b = (
        o if isinstance(x, Value) else Operand(o.place, ())
        for o, x in zip((a, b), call.inputs, strict=True)
    )
    _pairs(t, f, t.made(call.outputs[0]), a, b)


def _pairs(t: Translation, f: str, out: Operand, a: Operand, b: Operand) -> None:
    (rows, columns), [of_a, of_b] = _table(out.shape, a, b)
    code = kernel.BINARY.index(f)
    t.emit("BINARY", code, out.place, rows, columns, a.place, *of_a, b.place, *of_b,
           threads=out.size)  # fmt: skip


@_of("scale_by")
def _(t: Translation, call: Call) -> None:
    x, by = (t.operand(v) for v in call.inputs)
    whole = t.scratch()
    _pairs(t, "MULTIPLY", whole, by, Operand(t.number(call.static["factor"]).place, ()))
    _pairs(t, "MULTIPLY", t.made(call.outputs[0]), x, whole)


@_of("power")
def _(t: Translation, call: Call) -> None:
    _unserved("a power other than 2", call.static["exponent"] == 2)
    x = t.operand(call.inputs[0])
    out = t.made(call.outputs[0])
    t.emit("BINARY", kernel.BINARY.index("MULTIPLY"), out.place, 1, out.size, x.place, 0, 1,
           x.place, 0, 1, threads=out.size)  # fmt: skip


# Shapes


@_of("reshape_to")
def _(t: Translation, call: Call) -> None:
    t.same(call.outputs[0], call.inputs[0])


@_of("cast")
def _(t: Translation, call: Call) -> None:
    x, y = call.inputs[0], call.outputs[0]
    _unserved(f"{x.dtype} as {y.dtype}", x.dtype.kind in INTEGERS or x.dtype == y.dtype)
    _unserved(f"{y.dtype} beside {t.dtype}", y.dtype.kind in INTEGERS or y.dtype == t.dtype)
    _unserved("numbers as truth values", y.dtype.kind != "b" or x.dtype.kind == "b")
    t.same(y, x)


@_of("expand")
def _(t: Translation, call: Call) -> None:
    x = t.operand(call.inputs[0])
    _apply(t, "COPY", t.made(call.outputs[0]), x)


@_of("take_rows")
def _(t: Translation, call: Call) -> None:
    _taken(t, t.made(call.outputs[0]), *call.inputs)


def _taken(t: Translation, out: Operand, source: Value, index: Value) -> Operand:
    among, numbers, step = t.rows_of(source, index)
    name = "TAKE" if source.dtype == t.dtype else "TAKE_NUMBERS"
    width = math.prod(source.shape[1:])
    t.emit(name, out.place, among, source.shape[0], width, math.prod(index.shape), numbers, step,
           threads=out.size)  # fmt: skip
    return out


@_of("standardized")
def _(t: Translation, call: Call) -> None:
    x, mean, factor, index, *places = (*call.inputs, None, None, None)[:6]
    _unserved("pixels that are moved", not any(isinstance(p, Value) for p in places))
    out = t.made(call.outputs[0])
    given = t.operand(x) if index is None else _taken(t, out, x, index)
    _pairs(t, "SUBTRACT", out, given, t.operand(mean))
    _pairs(t, "MULTIPLY", out, out, t.operand(factor))


# Products and sums


def _product(
    t: Translation, out: Operand, sizes: tuple[int, int, int], a: tuple[int, int, int],
    b: tuple[int, int, int], bias: Operand | None = None, f: str = "COPY",
) -> None:  # fmt: skip
    m, n, k = sizes
    _unserved(f"a sum of {k} products", k < MOST_SUMMED)
    t.work += m * n * k
    added = -1 if bias is None else bias.place
    t.emit("PRODUCT", out.place, m, n, k, *a, *b, added, kernel.UNARY.index(f), threads=m * n)


@_of("linear", "linear_relu", "linear_sigmoid", "linear_tanh")
def _(t: Translation, call: Call) -> None:
    x, w = (t.operand(v) for v in call.inputs[:2])
    bias = call.inputs[2] if len(call.inputs) > 2 else None
    b = None if bias is None else t.operand(bias)
    out, (n, k) = t.made(call.outputs[0]), w.shape
    f = call.op.name.partition("_")[2].upper() or "COPY"
    _product(t, out, (math.prod(x.shape[:-1]), n, k), (x.place, k, 1), (w.place, 1, k), b, f)


@_of("batched_matmul")
def _(t: Translation, call: Call) -> None:
    a, b = (t.operand(v) for v in call.inputs)
    _unserved("a product of batches", len(a.shape) == len(b.shape) == 2)
    (m, k), n = a.shape, b.shape[1]
    _product(t, t.made(call.outputs[0]), (m, n, k), (a.place, k, 1), (b.place, n, 1))


@_of("linear_weight_grad")
def _(t: Translation, call: Call) -> None:
    g, x = (t.operand(v) for v in call.inputs)
    rows, n, k = math.prod(x.shape[:-1]), g.shape[-1], x.shape[-1]
    _unserved("a sum of 256 rows or more", rows < MOST_SUMMED // 2)
    out = t.made(call.outputs[0])
    _product(t, out, (n, k, rows), (g.place, 1, n), (x.place, k, 1))


@_of("sum")
def _(t: Translation, call: Call) -> None:
    value, axis = call.inputs[0], call.static.get("axis")
    _unserved("a sum of integers", value.dtype == t.dtype)
    x = t.operand(value)
    axes = tuple(range(len(x.shape))) if axis is None else axis
    axes = {a % len(x.shape) for a in (axes if isinstance(axes, tuple) else (axes,))}
    runs = reduce._runs(axes)
    out = t.made(call.outputs[0])
    _unserved("a sum over no axis, or over axes apart", len(runs) == 1)
    [(first, count)] = runs
    outer, inner = math.prod(x.shape[:first]), math.prod(x.shape[first + count :])
    n = math.prod(x.shape[first : first + count])
    _unserved(f"a sum of {n} values", 0 < n < MOST_SUMMED)
    if inner == 1:
        _sum_rows(t, out, x, outer, n)
    else:
        (_, high, _), blocks = reduce.columns(inner)
        _unserved(f"a sum of {n} rows", reduce.split(n, 64 * high, outer * blocks) == 1)
        t.emit("SUM_COLUMNS", out.place, outer, n, inner, x.place, high, threads=outer * inner)


def _sum_rows(t: Translation, out: Operand, x: Operand, rows: int, n: int) -> None:
    _unserved(f"a sum of {n} values", 0 < n < MOST_SUMMED)
    t.emit("SUM_ROWS", out.place, rows, n, x.place, _wide(n), threads=32 * rows)


@_of("argmax")
def _(t: Translation, call: Call) -> None:
    x = t.operand(call.inputs[0])
    last = call.static["axis"] % len(x.shape) == len(x.shape) - 1
    _unserved("argmax of another axis than the last", last and x.shape[-1] > 0)
    out = t.made(call.outputs[0])
    t.emit("ARGMAX", out.place, out.size, x.shape[-1], x.place, threads=out.size)


# Losses


@_of("softmax_cross_entropy")
def _(t: Translation, call: Call) -> None:
    x, labels = (t.operand(v) for v in call.inputs)
    loss, p = (t.made(v) for v in call.outputs)
    rows, classes = x.shape
    t.emit("CROSS_ENTROPY", loss.place, p.place, rows, classes, x.place, labels.place,
           threads=32 * rows)  # fmt: skip


@_of("softmax_cross_entropy_grad")
def _(t: Translation, call: Call) -> None:
    g, p, labels = (t.operand(v) for v in call.inputs)
    out, (rows, classes) = t.made(call.outputs[0]), p.shape
    t.emit("CROSS_ENTROPY_GRAD", out.place, rows, classes, g.place, p.place, labels.place,
           threads=out.size)  # fmt: skip


@_of("squared_error", "logistic_error")
def _(t: Translation, call: Call) -> None:
    x, target = (t.operand(v) for v in call.inputs)
    loss, difference = (t.made(v) for v in call.outputs)
    each, total = t.scratch(*x.shape), t.scratch()
    if call.op.name == "squared_error":
        _pairs(t, "SUBTRACT", difference, x, target)
        _pairs(t, "MULTIPLY", each, difference, difference)
    else:
        _apply(t, "SIGMOID", each, x)
        _pairs(t, "SUBTRACT", difference, each, target)
        _pairs(t, "ENTROPY_OF_LOGIT", each, x, target)
    _sum_rows(t, total, each, 1, each.size)
    _pairs(t, "MULTIPLY", loss, total, Operand(t.number(call.static["factor"]).place, ()))


# What writes to its arguments


@_of("assign")
def _(t: Translation, call: Call) -> None:
    out, x = (t.operand(v) for v in call.inputs)
    _apply(t, "COPY", out, x if isinstance(call.inputs[1], Value) else Operand(x.place, ()))


@_of("accumulate")
def _(t: Translation, call: Call) -> None:
    _unserved("a count", call.inputs[0].dtype == t.dtype)
    out, x = (t.operand(v) for v in call.inputs)
    _unserved("a sum of arrays that broadcast", out.shape == x.shape)
    t.emit("BINARY", 0, out.place, 1, out.size, out.place, 0, 1, x.place, 0, 1, threads=out.size)


@_of("sgd_update")
def _(t: Translation, call: Call) -> None:
    p, g, velocity, lr, scale, rates, decays, time = _padded(t, call, 8)
    how = call.static
    numbers = how["weight_decay"], how["momentum"], how.get("dampening", 0.0)
    t.emit("SGD", p.place, g.place, velocity.place, lr.place, scale.place, rates.place,
           decays.place, time.place, p.size, int(how["nesterov"]), t.list_of(*numbers).place,
           threads=p.size)  # fmt: skip
    if time.place >= 0:
        t.emit("COUNT", time.place, scale.place)


@_of("adam_update")
def _(t: Translation, call: Call) -> None:
    p, g, m, v, time, lr, scale, rates, decays = _padded(t, call, 9)
    how = call.static
    one, two = how["beta1"], how["beta2"]
    numbers = (how["weight_decay"], *factors(one), log(one), *factors(two), log(two), how["eps"])
    t.emit("COUNT", time.place, scale.place)
    t.emit("ADAM", p.place, g.place, m.place, v.place, time.place, lr.place, scale.place,
           rates.place, decays.place, p.size, int(how["decoupled"]), t.list_of(*numbers).place,
           threads=p.size)  # fmt: skip


def _padded(t: Translation, call: Call, count: int) -> list[Operand]:
    """The operands of an update, those that are left out as none."""
    given = [*call.inputs, *[None] * (count - len(call.inputs))]
    return [t.operand(x) for x in given]


def _wide(n: int) -> int:
    """How many threads of the ordinary kernel add up a row of ``n`` values."""
    wide = 32
    while wide < THREADS and wide * 4 < n:
        wide *= 2
    return wide
