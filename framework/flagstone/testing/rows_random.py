"""Rows of the op table: random bits and what is drawn from them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from flagstone import ops
from flagstone.errors import DTypeError, InputError, ShapeError
from flagstone.testing.op_row import Array, Draw, OpRow, Refusal, Sample
from flagstone.testing.rows_elementwise import D4, I4

D23 = np.ones((2, 3))
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


ROWS = (
    OpRow(
        "random_bits", ops.random_bits, _bits, _philox,
        refusals=(
            Refusal(DTypeError, r"random_bits: counter expected uint64 of shape \(2,\).* got "
                    r"int64 of shape \(4,\)", I4, key=KEY, blocks=1),
            Refusal(InputError, "random_bits: expected blocks >= 0", COUNTER, key=KEY, blocks=-1),
            *(
                Refusal(InputError, "random_bits: key expected two words of 64 bits", COUNTER,
                        key=key, blocks=1)
                for key in (None, 5, (1,), (1, 2, 3), (-1, 2), (2**64, 0), "ab", (0.5, 2))
            ),
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
            *(
                Refusal(InputError, "dropout: p expected a prob", D23, COUNTER, p=p, key=KEY)
                for p in ("half", None, -0.1, float("nan"), True, [0.5])
            ),
            Refusal(ShapeError, "dropout: x expected at least one axis", np.array(0.1), COUNTER,
                    p=0.5, key=KEY),
            Refusal(DTypeError, "dropout: x expected a floating", I4, COUNTER, p=0.5, key=KEY),
        ),
    ),
)  # fmt: skip
