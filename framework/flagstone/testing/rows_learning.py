"""Rows of the op table: products, losses, normalisation, random bits, optimizer steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from flagstone import ops
from flagstone.errors import DTypeError, InputError, ShapeError
from flagstone.ops.linalg import batched_matmul
from flagstone.testing.op_row import Array, Draw, OpRow, Raw, Refusal, Sample
from flagstone.testing.rows_elementwise import D4, F4, I4, NOT_FLOATING

D23, D32 = np.ones((2, 3)), np.ones((3, 2))


def _batched(draw: Draw) -> Iterator[Sample]:
    for a, b in (
        ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)), ((4, 1, 2, 3), (5, 3, 2)),
        ((1, 1), (1, 1)), ((0, 3), (3, 2)), ((2, 0), (0, 3)), ((2, 0, 3), (2, 3, 4)),
    ):  # fmt: skip
        yield Sample(draw(*a), draw(*b))


def _matmul(draw: Draw) -> Iterator[Sample]:
    yield from _batched(draw)
    for a, b in (((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)), ((4, 2, 3), (3,)),
                 ((3,), (4, 3, 2))):  # fmt: skip
        yield Sample(draw(*a), draw(*b))


def _linear(draw: Draw) -> Iterator[Sample]:
    for x, w in (((2, 3), (4, 3)), ((3,), (2, 3)), ((2, 2, 3), (4, 3)), ((1, 1), (1, 1)),
                 ((0, 3), (2, 3)), ((2, 0), (3, 0))):  # fmt: skip
        yield Sample(draw(*x), draw(*w), draw(w[0]))
        yield Sample(draw(*x), draw(*w))


def _linear_reference(x: Array, w: Array, b: Array | None = None) -> Array:
    return np.einsum("...i,oi->...o", x, w) + (0.0 if b is None else b)


def _logits(draw: Draw) -> Iterator[Sample]:
    for n, classes, dtype in ((4, 3, "int64"), (1, 1, "int64"), (0, 3, "int32"), (3, 5, "uint8")):
        yield Sample(draw(n, classes), draw.below(classes, n, dtype=dtype))


def _hard_logits(draw: Draw) -> Iterator[Sample]:
    yield Sample(np.array([[1000.0, 0.0], [-1000.0, 1000.0]], draw.dtype), np.array([0, 0]))
    yield Sample(draw(3, 2), np.array([2, -1, 1]))  # the first two lie outside: NaN
    yield Sample(draw(2, 300), np.array([3, 250], np.uint8))


def _cross_entropy(x: Array, labels: Array) -> tuple[Array, Array]:
    p = np.array([np.exp(row - np.logaddexp.reduce(row)) for row in x]).reshape(x.shape)
    losses = [
        np.logaddexp.reduce(row) - row[label] if 0 <= label < len(row) else np.nan
        for row, label in zip(x, labels.astype(int), strict=True)
    ]
    return np.array(losses, float), p


def _cross_entropy_grad(draw: Draw) -> Iterator[Sample]:
    for n, classes in ((4, 3), (1, 1), (0, 2)):
        p = draw.positive(n, classes)
        yield Sample(draw(n), p / p.sum(1, keepdims=True), draw.below(classes, n))


def _one_less(g: Array, p: Array, labels: Array) -> Array:
    out = p.copy()
    for row, label in enumerate(labels):
        out[row, label] -= 1.0
    return out * g[:, None]


def _logistic(draw: Draw) -> Iterator[Sample]:
    for shape in ((5,), (2, 3), (), (1,), (0,)):
        yield Sample(draw(*shape), np.asarray(draw.rng.uniform(0, 1, shape), draw.dtype))


def _hard_logistic(draw: Draw) -> Iterator[Sample]:
    x = np.array([-1000.0, 1000.0, 0.0, 1000.0], draw.dtype)
    yield Sample(x, np.array([0.0, 1.0, 0.5, 0.0], draw.dtype))


def _logistic_reference(x: Array, target: Array) -> Array:
    return np.asarray(target * np.logaddexp(0, -x) + (1 - target) * np.logaddexp(0, x))


def _norms(draw: Draw) -> Iterator[Sample]:
    for shape in ((6, 3), (2, 3, 2, 4), (1, 2), (3, 1), (1, 1)):
        c = shape[-1]
        yield Sample(draw(*shape), draw(c), draw(c), eps=0.1)


def _normalised(x: Array, weight: Array, bias: Array, eps: float) -> tuple[Array, Array, Array]:
    rows = x.reshape(-1, x.shape[-1])
    var = np.mean(rows**2, 0) - np.mean(rows, 0) ** 2
    return (x - rows.mean(0)) / (var + eps) ** 0.5 * weight + bias, rows.mean(0), var


COUNTER = np.array([3, 1], np.uint64)
KEY = (0x0123456789ABCDEF, 0xFEDCBA9876543210)


def _bits(draw: Draw) -> Iterator[Sample]:
    big = np.array([2**63 + 5, 2**64 - 1], np.uint64)
    for counter, blocks, start in ((COUNTER, 5, 0), (big, 3, 7), (COUNTER, 0, 0), (COUNTER, 1, 1)):
        yield Sample(counter, key=KEY, blocks=blocks, start=start)
    yield Sample(COUNTER, key=(2**64 - 1, 0), blocks=2)
    yield Sample(COUNTER, key=KEY, blocks=2, start=2**32 - 2)


def _philox(counter: Array, key: tuple[int, int], blocks: int, start: int = 0) -> Array:
    step, epoch = (int(n) for n in counter)
    first = np.array([start, step, epoch, 0], np.uint64)
    philox = np.random.Philox(key=np.array(key, np.uint64), counter=first)
    return np.asarray(philox.random_raw(4 * blocks))


def _lanes(draw: Draw) -> Iterator[Sample]:
    for shape, threshold in (
        ((3, 5), 40000), ((2, 4, 5), 20000), ((1, 1), 32768), ((2, 16), 65536), ((0, 3), 1),
        ((4,), 30000), ((2, 33), 0),
    ):  # fmt: skip
        blocks = -(-int(np.prod(shape[1:])) // 16)
        words = draw.rng.integers(0, 2**64, shape[0] * blocks * 4, np.uint64)
        yield Sample(words, shape=shape, threshold=threshold)


def _mask(words: Array, shape: tuple[int, ...], threshold: int) -> Array:
    width = int(np.prod(shape[1:]))
    out = np.zeros((shape[0], width), bool)
    per_example = 4 * -(-width // 16)
    for n, i in np.ndindex(shape[0], width):
        word = int(words[n * per_example + i // 4])
        out[n, i] = (word >> (16 * (i % 4))) & 0xFFFF < threshold
    return out.reshape(shape)


def _kept(draw: Draw) -> Iterator[Sample]:
    for shape in ((3, 4), (), (1,), (0, 2)):
        yield Sample(draw(*shape), draw.truth(*shape), scale=1.25)


def _dropout(draw: Draw) -> Iterator[Sample]:
    for shape, p in (((3, 20), 0.3), ((2, 3, 4), 0.5), ((1, 1), 0.9), ((0, 3), 0.5), ((4,), 0.0)):
        yield Sample(draw(*shape), COUNTER, p=p, key=KEY)


def _dropped(x: Array, counter: Array, p: float, key: tuple[int, int]) -> Array:
    threshold = round((1 - p) * 65536)
    blocks = x.shape[0] * -(-int(np.prod(x.shape[1:])) // 16)
    mask = _mask(_philox(counter, key, blocks), x.shape, threshold)
    return np.where(mask, x * (65536 / threshold), 0.0)


SIZES = (7, 1, 0, 20000)  # the last is longer than a block of the NumPy kernels


def _pairs(draw: Draw, **static: Any) -> Iterator[Sample]:
    for shape in ((3, 4), (), (1,), (0,)):
        yield Sample(draw(*shape), draw(*shape), **static)


def _assign(draw: Draw) -> Iterator[Sample]:
    yield from _pairs(draw)
    yield Sample(draw(3), 0.0)
    yield Sample(draw.below(9, 3), 2)


def _assigned(out: Array, x: Any) -> Array:
    return np.full_like(out, x) if isinstance(x, (int, float)) else x


def _sgd(draw: Draw) -> Iterator[Sample]:
    for size in SIZES:
        for momentum, nesterov, decay in (
            (0.0, False, 0.0), (0.9, False, 0.0), (0.9, True, 0.1), (0.0, False, 0.2),
        ):  # fmt: skip
            velocity = draw(size) if momentum else None
            yield Sample(
                draw(size), draw(size), velocity, draw.positive(), draw.positive(),
                momentum=momentum, nesterov=nesterov, weight_decay=decay,
            )  # fmt: skip


def _sgd_reference(
    p: Array, g: Array, velocity: Array | None, lr: Array, scale: Array, momentum: float,
    nesterov: bool, weight_decay: float,
) -> Any:  # fmt: skip
    g = scale * g + weight_decay * p
    if velocity is None:
        return p - lr * g
    v = momentum * velocity + g
    return p - lr * (g + momentum * v if nesterov else v), v


def _adam(draw: Draw) -> Iterator[Sample]:
    for size in SIZES:
        for beta1, beta2, decay, decoupled, steps in (
            (0.9, 0.999, 0.0, False, 0), (0.9, 0.99, 0.1, False, 1), (0.9, 0.99, 0.1, True, 7),
            (0.0, 0.9, 0.0, False, 2), (0.5, 0.0, 0.0, True, 3),
        ):  # fmt: skip
            yield Sample(
                draw(size), draw(size), draw(size), draw.positive(size),
                np.asarray(steps, draw.dtype), draw.positive(), draw.positive(), beta1=beta1,
                beta2=beta2, eps=1e-4, weight_decay=decay, decoupled=decoupled,
            )  # fmt: skip


def _adam_reference(
    p: Array, g: Array, m: Array, v: Array, t: Array, lr: Array, scale: Array, beta1: float,
    beta2: float, eps: float, weight_decay: float, decoupled: bool,
) -> Any:  # fmt: skip
    t = t + 1
    g = scale * g
    if decoupled:
        p = p * (1 - lr * weight_decay)
    else:
        g = g + weight_decay * p
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return p - lr * m_hat / (np.sqrt(v_hat) + eps), m, v, t


def _euclidean(draw: Draw) -> Iterator[Sample]:
    for shape in ((7,), (3, 4), (), (1,), (0,)):
        yield Sample(draw(*shape))


def _unlike(name: str) -> tuple[Refusal, ...]:
    return (
        Refusal(ShapeError, rf"{name}: expected one shape; got out \(4,\), x \(3,\)", D4, D4[:3]),
        Refusal(DTypeError, f"{name}: expected one dtype; got out float64, x float32", D4, F4),
    )


SCALAR = np.array(0.1)
SGD = {"momentum": 0.9, "nesterov": False, "weight_decay": 0.0}
ADAM = {"beta1": 0.9, "beta2": 0.9, "eps": 0.1, "weight_decay": 0.0, "decoupled": False}

ROWS = (
    OpRow("batched_matmul", batched_matmul, _batched, np.matmul, (0, 1)),
    OpRow(
        "matmul", ops.matmul, _matmul, np.matmul, (0, 1),
        refusals=(
            Refusal(ShapeError, r"matmul: expected the last axis of a to equal the last but one "
                    r"of b; got \(2, 3\) and \(2, 3\)", D23, D23),
            Refusal(ShapeError, "matmul: expected the last axis", np.array(1.0), D4),
            Refusal(ShapeError, "matmul: expected leading axes that broadcast",
                    np.ones((2, 2, 3)), np.ones((3, 3, 2))),
            Refusal(DTypeError, "matmul: expected one dtype", D4, F4),
            Refusal(DTypeError, "matmul: a expected a floating", I4, I4),
            Refusal(DTypeError, "matmul: b expected a Tensor; got float", D23, 2.0),
        ),
    ),
    OpRow(
        "linear", ops.linear, _linear, _linear_reference, (0, 1, 2),
        refusals=(
            Refusal(ShapeError, r"linear: weight expects 2 features \(its last axis\); got x of "
                    r"shape \(2, 3\)", D23, np.ones((4, 2))),
            Refusal(ShapeError, r"linear: weight expected shape \(out, in\); got \(3,\)", D23,
                    np.ones(3)),
            Refusal(ShapeError, r"linear: bias expected shape \(2,\); got \(1,\)", D23, D23,
                    np.ones(1)),
            Refusal(ShapeError, "linear: weight expects", np.array(1.0), D23),
            Refusal(DTypeError, "linear: x expected a floating", I4, D4.reshape(1, 4)),
            Refusal(DTypeError, "linear: w expected a Tensor; got float", D23, 1.0),
            Refusal(DTypeError, "linear: expected one dtype", D4, F4.reshape(1, 4)),
        ),
    ),
    OpRow(
        "softmax_cross_entropy", ops.softmax_cross_entropy, _logits, _cross_entropy, (0,),
        _hard_logits,
        (
            Refusal(ShapeError, r"softmax_cross_entropy: x expected \(n, classes\); got \(4,\)",
                    D4, I4),
            Refusal(ShapeError, r"labels expected shape \(2,\); got \(4,\)", D23, I4),
            Refusal(DTypeError, "labels expected integers; got float64", D23, D4[:2]),
            Refusal(DTypeError, "x expected a floating", I4.reshape(2, 2), I4[:2]),
            Refusal(DTypeError, "labels expected a Tensor; got ndarray", D23, Raw(I4[:2])),
        ),
    ),
    OpRow("softmax_cross_entropy_grad", ops.softmax_cross_entropy_grad, _cross_entropy_grad,
          _one_less, (0, 1)),
    OpRow(
        "binary_cross_entropy_with_logits", ops.binary_cross_entropy_with_logits, _logistic,
        _logistic_reference, (0, 1), _hard_logistic,
        (
            Refusal(ShapeError, r"target expected shape \(4,\); got \(4, 1\)", D4,
                    D4.reshape(4, 1)),
            Refusal(DTypeError, "target expected a floating-point dtype; got int64", D4, I4),
            Refusal(DTypeError, "expected one dtype", D4, F4),
            Refusal(DTypeError, "target expected a Tensor; got int", D4, 1),
        ),
    ),
    OpRow(
        "batch_norm", ops.batch_norm, _norms, _normalised, (0, 1, 2),
        refusals=(
            Refusal(ShapeError, r"batch_norm: expected x \(..., 4\) .* got x \(2, 3\)", D23, D4,
                    D4, eps=0.1),
            Refusal(ShapeError, "batch_norm: expected x", D4, D4, D4, eps=0.1),
            Refusal(ShapeError, "batch_norm: expected at least one value per channel",
                    np.ones((0, 4)), D4, D4, eps=0.1),
            Refusal(DTypeError, "batch_norm: expected one dtype", np.ones((2, 4)), F4, F4,
                    eps=0.1),
        ),
        never_empty="the mean of nothing is refused",
    ),
    OpRow(
        "random_bits", ops.random_bits, _bits, _philox,
        refusals=(
            Refusal(DTypeError, r"random_bits: counter expected uint64 of shape \(2,\).* got "
                    r"int64 of shape \(4,\)", I4, key=KEY, blocks=1),
            Refusal(InputError, "random_bits: expected blocks >= 0", COUNTER, key=KEY, blocks=-1),
        ),
        never_empty="there are two words of counter",
        never_one="there are two words of counter",
    ),
    OpRow("dropout_mask", ops.dropout_mask, _lanes, _mask,
          never_one="a block has four words"),
    OpRow("keep", ops.keep, _kept, lambda x, mask, scale: mask * x * scale, (0,),
          refusals=(Refusal(ShapeError, r"keep: mask expected bool of shape \(4,\); got bool of "
                            r"\(3,\)", D4, np.ones(3, bool), scale=1.0),)),
    OpRow(
        "dropout", lambda x, counter, p, key: ops.dropout(x, p, counter, key), _dropout, _dropped,
        (0,),
        refusals=(
            Refusal(InputError, r"dropout: p expected a probability in \[0, 1\); got 1", D23,
                    COUNTER, p=1, key=KEY),
            Refusal(InputError, "dropout: p expected at most 0.99998", D23, COUNTER,
                    p=1 - 2**-18, key=KEY),
            Refusal(InputError, "dropout: p expected a prob", D23, COUNTER, p="half", key=KEY),
            Refusal(ShapeError, "dropout: x expected at least one axis", SCALAR, COUNTER, p=0.5,
                    key=KEY),
            Refusal(DTypeError, "dropout: x expected a floating", I4, COUNTER, p=0.5, key=KEY),
        ),
    ),
    OpRow("assign", ops.assign, _assign, _assigned,
          refusals=(*_unlike("assign"),
                    Refusal(DTypeError, "assign: x expected a number that int64", I4, 0.5))),
    OpRow("accumulate", ops.accumulate, _pairs, np.add,
          refusals=(*_unlike("accumulate"),
                    Refusal(DTypeError, "accumulate: x expected a Tensor; got int", D4, 1))),
    OpRow("interpolate", ops.interpolate, lambda draw: _pairs(draw, weight=0.1),
          lambda out, x, weight: out + weight * (x - out),
          refusals=(
              Refusal(ShapeError, "interpolate: expected one shape", D4, D4[:3], weight=0.1),
              Refusal(DTypeError, "interpolate: out expected a floating", I4, I4, weight=0.1),
          )),
    OpRow(
        "sgd_update", ops.sgd_update, _sgd, _sgd_reference,
        refusals=(
            Refusal(InputError, "sgd_update: expected velocity with momentum and None without; "
                    "got momentum 0.9 and velocity None", D4, D4, None, SCALAR, SCALAR, **SGD),
            Refusal(ShapeError, r"sgd_update: expected one shape; got p \(4,\), g \(3,\)", D4,
                    D4[:3], D4, SCALAR, SCALAR, **SGD),
            Refusal(ShapeError, r"sgd_update: lr expected shape \(\); got \(4,\)", D4, D4, D4, D4,
                    SCALAR, **SGD),
            Refusal(ShapeError, "sgd_update: p expected one axis", D23, D23, D23, SCALAR, SCALAR,
                    **SGD),
            Refusal(DTypeError, "sgd_update: lr expected a Tensor; got float", D4, D4, D4, 0.1,
                    SCALAR, **SGD),
        ),
    ),
    OpRow(
        "adam_update", ops.adam_update, _adam, _adam_reference,
        refusals=(
            Refusal(ShapeError, "adam_update: expected one shape", D4, D4, D4[:3], D4, SCALAR,
                    SCALAR, SCALAR, **ADAM),
            Refusal(DTypeError, "adam_update: expected one dtype", D4, D4, D4, D4,
                    SCALAR.astype(np.float32), SCALAR, SCALAR, **ADAM),
        ),
        tolerance={"float32": 1e-4, "float64": 1e-10},
    ),
    OpRow("norm", ops.norm, _euclidean, lambda x: np.sqrt(np.sum(np.square(x))),
          refusals=(NOT_FLOATING,)),
)  # fmt: skip
