"""Bad options of ops, one after another: what PyTorch refuses, ours refuse and say why."""

# Wrong types are what is tested, by lambdas that hold on to a loop's variables by defaults
# mypy: disable-error-code="misc, arg-type, assignment, var-annotated, no-untyped-call, call-arg"

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import ops
from flagstone.errors import FlagstoneError

torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
F = torch.nn.functional

Call = Callable[[Any], Any]
NAN, INF = float("nan"), float("inf")
NO_FLAG = (None, 0, 1, -1, 1.5, "yes", [True], np.int64(1))
NO_LENGTH = (-1, 1.5, NAN, INF, "2", None, {}, (1, 1, 1, 1), 2**70)
NO_NUMBER = (None, "1", [1], (1, 2), {})
SHAPES = {1: (5,), 2: (5, 4), 3: (5, 4, 4)}


def o(*shape: int, d: str = "float32") -> fs.Tensor:
    return fs.tensor(np.ones(shape, d))


def p(*shape: int, d: str = "float32") -> Any:
    return torch.ones(shape, dtype=getattr(torch, d))


def windows(d: int) -> Iterator[tuple[str, Call, Call, tuple[Any, ...]]]:
    """Of convolutions and pools over ``d`` axes."""
    size = SHAPES[d]
    x, t = o(2, *size, 4), p(2, 4, *size)
    ours, theirs = (x, o(4, *(2,) * d, 2)), (t, p(4, 2, *(2,) * d))
    for name, option, more in (
        ("conv", "stride", (0, True)), ("conv", "dilation", (0, (0,) * d)),
        ("conv", "padding", ("SAME", "", (-1,) * d)), ("conv", "groups", (0, 3, [2], (2, 2))),
        ("conv_transpose", "stride", (0,)), ("conv_transpose", "dilation", (0, (0,) * d)),
        ("conv_transpose", "padding", ("same", "valid", (-1,) * d)),
        ("conv_transpose", "output_padding", (1, 5, (1,) * d)),
        ("conv_transpose", "groups", (0, 3, [2])),
    ):  # fmt: skip
        yield (
            f"{name}{d}d {option}",
            lambda v, n=name, k=option: getattr(ops, f"{n}{d}d")(*ours, **{"groups": 2, k: v}),
            lambda v, n=name, k=option: getattr(F, f"{n}{d}d")(*theirs, **{"groups": 2, k: v}),
            (*NO_LENGTH, *more),
        )
    for name in ("max_pool", "avg_pool"):
        mine, other = getattr(ops, f"{name}{d}d"), getattr(F, f"{name}{d}d")
        yield (f"{name}{d}d kernel", lambda v, f=mine: f(x, v), lambda v, f=other: f(t, v),
               (0, *NO_LENGTH, 100))  # fmt: skip
        flags = ["ceil_mode", "count_include_pad"][: 1 + (name == "avg_pool")]
        lengths = ["stride", "padding", "dilation"][: 2 + (name == "max_pool")]
        for option in (*flags, *lengths):
            bad = NO_FLAG
            if option in lengths:
                bad = tuple(v for v in NO_LENGTH if v is not None)
                bad = bad if option == "padding" else (0, *bad)
            yield (
                f"{name}{d}d {option}", lambda v, f=mine, k=option: f(x, 2, **{k: v}),
                lambda v, f=other, k=option: f(t, 2, **{k: v}),
                bad,
            )  # fmt: skip
    for name in ("adaptive_avg_pool", "adaptive_max_pool"):
        mine, other = getattr(ops, name), getattr(F, f"{name}{d}d")
        yield (f"{name} size {d}d", lambda v, f=mine: f(x, v),
               lambda v, f=other: f(t, v),
               (-1, 1.5, "2", {}, (1, 1, 1, 1), (-1,) * d))  # fmt: skip
    for option, values in (
        ("size", (0, -1, 1.5, "2", {}, (0,) * d, (1, 1, 1, 1))),
        ("scale_factor", (0, -1, 1e-9, NAN, INF, 1e30, "2", {}, (2.0, 1.0, 1.0, 1.0))),
    ):
        for mode in ("nearest", {1: "linear", 2: "bilinear", 3: "trilinear"}[d]):
            yield (
                f"resize {mode} {option} {d}d",
                lambda v, k=option, m=mode: ops.resize(x, **{k: v}, mode=m),
                lambda v, k=option, m=mode: F.interpolate(t, **{k: v}, mode=m), values,
            )  # fmt: skip
    yield (f"resize mode {d}d", lambda v: ops.resize(x, 2, mode=v),
           lambda v: F.interpolate(t, 2, mode=v),
           ("cubic", "Nearest", None, 1, [1], {}))  # fmt: skip
    yield (f"resize align_corners {d}d",
           lambda v: ops.resize(x, 2, mode="linear", align_corners=v),
           lambda v: F.interpolate(t, 2, mode=["linear", "bilinear", "trilinear"][d - 1],
                                   align_corners=v), ("yes", 1.5, 0, 1))  # fmt: skip


def over_axes() -> Iterator[tuple[str, Call, Call, tuple[Any, ...]]]:
    """Of reductions and what goes along an axis."""
    x, t = o(2, 3), p(2, 3)
    bad = (2, -3, 1.5, "1", (0, 0), (0, 2), {}, NAN)
    reductions = {
        "sum": torch.sum, "mean": torch.mean, "var": torch.var, "max": torch.amax,
        "min": torch.amin, "prod": torch.prod, "logsumexp": torch.logsumexp,
    }  # fmt: skip
    along = {
        "argmax": torch.argmax, "cumsum": torch.cumsum, "softmax": torch.softmax,
        "log_softmax": torch.log_softmax, "flip": torch.flip,
    }  # fmt: skip
    for name, other in (*reductions.items(), *along.items()):
        mine = getattr(ops, name)
        yield (f"{name} axis", lambda v, f=mine: f(x, axis=v), lambda v, f=other: f(t, v), bad)
    for name, other in reductions.items():
        mine = getattr(ops, name)
        yield (f"{name} keepdims", lambda v, f=mine: f(x, axis=0, keepdims=v),
               lambda v, f=other: f(t, dim=0, keepdim=v), NO_FLAG)  # fmt: skip
    yield ("var correction", lambda v: ops.var(x, axis=0, correction=v),
           lambda v: torch.var(t, 0, correction=v), ("1", [1], (1, 2), {}))  # fmt: skip


def others() -> Iterator[tuple[str, Call, Call, tuple[Any, ...]]]:
    x, t = o(2, 3), p(2, 3)
    for name, option, theirs in (("leaky_relu", "slope", "negative_slope"),
                                 ("elu", "alpha", "alpha")):  # fmt: skip
        yield (f"{name} {option}", lambda v, n=name, k=option: getattr(ops, n)(x, **{k: v}),
               lambda v, n=name, k=theirs: getattr(F, n)(t, **{k: v}), NO_NUMBER)  # fmt: skip
    yield ("gelu approximate", lambda v: ops.gelu(x, v), lambda v: F.gelu(t, approximate=v),
           (None, "erf", True, [1], {}))  # fmt: skip
    yield ("flatten start", lambda v: ops.flatten(x, v), lambda v: torch.flatten(t, v),
           (None, "1", 1.5, NAN, True, 3, -3, [1]))  # fmt: skip
    yield ("broadcast_to shape", lambda v: ops.broadcast_to(x, v),
           lambda v: torch.broadcast_to(t, v),
           (None, 2, 1.5, "ab", (2.0, 3), (2, 4), (3,), (-2, 2, 3), (2, "3")))  # fmt: skip
    yield ("reshape", lambda v: ops.reshape(x, v), lambda v: torch.reshape(t, v),
           ((4,), (-1, -1), (-2, 3), (2.0, 3), (True, 6), (None, 6), "6", 2**70))  # fmt: skip
    yield ("transpose", lambda v: ops.transpose(x, v), lambda v: t.permute(v),
           ((0, 0), (0, 2), (0, 1, 2), (0.0, 1), "ab"))  # fmt: skip
    yield ("split", lambda v: ops.split(x, v), lambda v: torch.split(t, v),
           (0, -1, 1.5, (2, 2), (-1, 3), (1.0, 1), None, (3, -1), "2"))  # fmt: skip
    for mode, theirs in (("zero", "constant"), ("reflect", "reflect"), ("edge", "replicate")):
        yield (f"pad {mode}",
               lambda v, m=mode: ops.pad(o(1, 2, 3), ((0, 0), (0, 0), v), m),
               lambda v, m=theirs: F.pad(p(1, 2, 3), v, m),
               ((1.5, 1), ("1", 1), (None, 1), (True, 1), (1,), 5, "ab",
                *(((3, 0), (0, 3)) if mode == "reflect" else ())))  # fmt: skip
    one, theirs_one = o(4, 3), p(4, 3)
    yield ("batch_norm eps", lambda v: ops.batch_norm(one, o(3), o(3), eps=v),
           lambda v: F.batch_norm(theirs_one, None, None, training=True, eps=v),
           (*NO_NUMBER, 0, -1, -INF))  # fmt: skip
    for name in ("layer_norm", "rms_norm"):
        mine, other = getattr(ops, name), getattr(F, name)
        yield (f"{name} eps", lambda v, f=mine: f(x, 3, eps=v),
               lambda v, f=other: f(t, (3,), eps=v),
               ("1", [1], (1, 2), {}))  # fmt: skip
        yield (f"{name} normalized_shape", lambda v, f=mine: f(x, v), lambda v, f=other: f(t, v),
               (None, 1.5, "3", (3.0,), (2,), (3, 2), (-1,), (0,), (), (2, 2, 3)))  # fmt: skip
    yield ("group_norm num_groups", lambda v: ops.group_norm(o(2, 4, 6), v),
           lambda v: F.group_norm(p(2, 6, 4), v), (0, -1, 4, 7, 1.5, "2", None, [2]))  # fmt: skip
    counter = fs.tensor(np.zeros(2, np.uint64))
    yield ("dropout p", lambda v: ops.dropout(x, v, counter, (1, 2)), lambda v: F.dropout(t, v),
           (-0.1, 1.1, 2, NAN, INF, "0.5", None, [0.5]))  # fmt: skip
    yield ("channel_dropout p", lambda v: ops.channel_dropout(o(2, 3, 3), v, counter, (1, 2)),
           lambda v: F.dropout1d(p(2, 3, 3), v), (-0.1, 1.1, NAN, "0.5", None))  # fmt: skip
    yield ("embedding padding_idx", lambda v: ops.embedding(fs.tensor(np.array([0])), x, v),
           lambda v: F.embedding(torch.tensor([0]), t, v), (2, -3, 1.5, "1", [1]))  # fmt: skip
    for name, mine, other in (
        ("take", lambda i: ops.take(x, i), lambda i: torch.index_select(t, 0, i)),
        ("x[...]", lambda i: x[i], lambda i: t[i]),
        ("embedding", lambda i: ops.embedding(i, x), lambda i: F.embedding(i, t)),
        ("gather", lambda i: ops.gather(x, ops.broadcast_to(i[:, None], (1, 3)), 0),
         lambda i: torch.gather(t, 0, i[:, None].expand(1, 3))),
    ):  # fmt: skip
        numbers = (np.array([2]), np.array([-3]), np.array([0.0], np.float32))
        if name != "x[...]":
            numbers = (*numbers, np.array([-1]), np.array([True]))
        yield (f"{name} index", lambda v, f=mine: f(fs.tensor(v)),
               lambda v, f=other: f(torch.tensor(v)), numbers)  # fmt: skip


CASES = [
    pytest.param(ours, theirs, values, id=name)
    for name, ours, theirs, values in (
        *windows(1), *windows(2), *windows(3), *over_axes(), *others(),
    )
]  # fmt: skip


@pytest.mark.parametrize(("ours", "theirs", "values"), CASES)
def test_what_pytorch_refuses_we_refuse_and_say_why(
    ours: Call, theirs: Call, values: Any, refused: Any, request: pytest.FixtureRequest
) -> None:
    name = re.escape(request.node.callspec.id.split()[0])
    for value in values:
        refused("", functools.partial(ours, value), functools.partial(theirs, value))
        with pytest.raises(FlagstoneError, match=f"^{name}: "):
            ours(value)


def test_a_refusal_does_not_depend_on_the_calls_before() -> None:
    """``True`` and ``1.0`` are equal to 1, which was taken."""
    x, w = o(1, 5, 1), o(1, 2, 1)
    ops.conv1d(x, w, stride=(1,), dilation=1)
    ops.max_pool1d(x, 1, padding=(0,))
    for call in (
        lambda: ops.conv1d(x, w, stride=(1.0,)), lambda: ops.conv1d(x, w, dilation=True),
        lambda: ops.max_pool1d(x, 1, padding=(False,)), lambda: ops.max_pool1d(x, True),
    ):  # fmt: skip
        with pytest.raises(FlagstoneError, match="expected"):
            call()


@pytest.mark.parametrize("number", [300, -1, 2**70])
def test_a_number_that_a_small_integer_cannot_hold(number: int) -> None:
    """NumPy would raise an OverflowError of its own, at a call like one before too."""
    x = fs.tensor(np.array([1, 2], np.uint8))
    for op in (ops.add, ops.maximum, ops.less, ops.equal):
        for _ in range(4):
            op(x, 5)
        for _ in range(4):
            with pytest.raises(FlagstoneError, match=f"number that uint8 can hold; got {number}"):
                op(x, number)
    signed = fs.tensor(np.array([1, 2], np.int8))
    assert ops.add(signed, -128).numpy().tolist() == [-127, -126]
    with pytest.raises(FlagstoneError, match="number that int8 can hold; got -129"):
        ops.add(signed, -129)


# Both take it, by the same meaning
@pytest.mark.parametrize("value", [[2, 1], (2, 1), np.int64(2), (np.int32(1), 2)], ids=repr)
def test_lists_and_numpys_integers_are_lengths_too(value: Any) -> None:
    x, w = np.random.default_rng(0).standard_normal((1, 7, 6, 2)), np.ones((3, 2, 2, 2))
    there = torch.tensor(np.moveaxis(x, -1, 1).copy())
    weight = torch.tensor(np.moveaxis(w, -1, 1).copy())
    for ours, theirs in (
        (ops.conv2d(fs.tensor(x), fs.tensor(w), stride=value, padding=value, dilation=value),
         F.conv2d(there, weight, stride=value, padding=value, dilation=value)),
        (ops.max_pool2d(fs.tensor(x), value, stride=value),
         F.max_pool2d(there, value, stride=value)),
    ):  # fmt: skip
        np.testing.assert_allclose(np.moveaxis(ours.numpy(), -1, 1), theirs.numpy(), rtol=1e-12)


def test_an_order_of_axes_may_be_a_tuple() -> None:
    x = np.arange(24.0).reshape(2, 3, 4)
    for order in ((2, 0, 1), [0, 2, 1], (-1, 0, 1)):
        expected = np.transpose(x, order)
        np.testing.assert_array_equal(ops.transpose(fs.tensor(x), order).numpy(), expected)
        np.testing.assert_array_equal(ops.transpose(fs.tensor(x), *order).numpy(), expected)
