"""What the random stream refuses, and in which words."""

from __future__ import annotations

import math

import numpy as np
import pytest

from flagstone import random
from flagstone.errors import DTypeError, InputError, ShapeError

KEY = np.zeros(2, np.uint64)
BAD_CALLS = [
    (lambda: random.key(-1, "init"), InputError, r"^seed must be from 0 to 2\*\*64 - 1; got -1$"),
    (lambda: random.key(2**64, "init"), InputError, "^seed must be from 0 to"),
    (lambda: random.key(1.0, "init"), DTypeError, r"^seed must be an integer; got 1\.0$"),
    (lambda: random.key(True, "init"), DTypeError, "^seed must be an integer; got True$"),
    (lambda: random.key("1", "init"), DTypeError, "^seed must be an integer; got '1'$"),
    (lambda: random.key(0, b"init"), DTypeError, "^purpose must be a string; got bytes$"),
    (lambda: random.key(0, "init", None), DTypeError, "^path must be a string; got NoneType$"),
    (lambda: random.key(0, "init", "\ud800"), InputError, "^path must be valid Unicode"),
    (lambda: random.bits([0, 0], (0, 0), 0, 1), DTypeError, "^key must be .* uint64; got list$"),
    (
        lambda: random.bits(np.zeros(2), (0, 0), 0, 1),
        DTypeError,
        "^key must be a NumPy array of uint64; got float64 array$",
    ),
    (lambda: random.bits(KEY[:1], (0, 0), 0, 1), ShapeError, r"^key must have shape \(2,\)"),
    (lambda: random.bits(KEY, 0, 0, 1), InputError, r"^counter must be a tuple \(step, epoch\)"),
    (lambda: random.bits(KEY, (0,), 0, 1), InputError, "^counter must be a tuple"),
    (lambda: random.bits(KEY, (-1, 0), 0, 1), InputError, "^counter's step must be from 0"),
    (lambda: random.bits(KEY, (0, 0.5), 0, 1), DTypeError, "^counter's epoch must be an integer"),
    (lambda: random.bits(KEY, (0, 0), -1, 1), InputError, "^start must be from 0"),
    (lambda: random.bits(KEY, (0, 0), 0, -1), InputError, "^blocks must be from 0"),
    (lambda: random.normal(KEY, -1), InputError, "^n must be from 0"),
    (lambda: random.normal(KEY, 1.5), DTypeError, "^n must be an integer"),
    (lambda: random.uniform([1, 2]), DTypeError, "^words must be a NumPy array of uint64"),
    (lambda: random.uniform(np.zeros(2, np.int64)), DTypeError, "got int64 array$"),
    (lambda: random.box_muller(KEY[:1]), ShapeError, "^words must have one axis of even length"),
    (lambda: random.box_muller(KEY.reshape(1, 2)), ShapeError, r"got shape \(1, 2\)$"),
    (lambda: random.permutation(KEY.reshape(2, 1)), ShapeError, "^words must have one axis; got"),
    (lambda: random.keep_threshold(-0.1), InputError, r"^p must be .* 0 to 1; got -0\.1$"),
    (lambda: random.keep_threshold(1.1), InputError, "^p must be a probability"),
    (lambda: random.keep_threshold(math.nan), InputError, "^p must be a probability"),
    (lambda: random.keep_threshold(np.zeros(2)), InputError, "^p must be a probability"),
    (lambda: random.keep_threshold("0.5"), InputError, r"got '0\.5'$"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD_CALLS)
def test_bad_argument_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
