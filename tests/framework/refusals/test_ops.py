"""Wrong calls of ops: what PyTorch refuses, ours refuse with a message that helps."""

# Wrong types are what is tested
# mypy: disable-error-code="arg-type, list-item, call-overload, func-returns-value, call-arg"

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import ops
from flagstone.errors import GradientError

torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
F = torch.nn.functional


def o(*shape: int, d: str = "float32") -> fs.Tensor:
    return fs.tensor(np.ones(shape, d))


def p(*shape: int, d: str = "float32") -> Any:
    return torch.ones(shape, dtype=getattr(torch, d))


def oi(*values: int) -> fs.Tensor:
    return fs.tensor(np.array(values, np.int64))


def pi(*values: int) -> Any:
    return torch.tensor(values, dtype=torch.int64)


# What is refused: words of our message before "got", our call, PyTorch's
WRONG: dict[str, Any] = {
    "add shapes": (
        "shapes that broadcast", lambda: ops.add(o(2, 3), o(2)), lambda: torch.add(p(2, 3), p(2)),
    ),
    "maximum shapes": (
        "shapes that broadcast", lambda: ops.maximum(o(2, 3), o(4)),
        lambda: torch.maximum(p(2, 3), p(4)),
    ),
    "where shapes": (
        "shapes that broadcast", lambda: ops.where(ops.greater(o(2, 3), 0.0), o(4), o(2, 3)),
        lambda: torch.where(p(2, 3) > 0, p(4), p(2, 3)),
    ),
    "power of text": (
        "exponent expect", lambda: ops.power(o(2), exponent="2"), lambda: torch.pow(p(2), "2"),
    ),
    "clip without bounds": ("low, high or both", lambda: ops.clip(o(3)), lambda: torch.clamp(p(3))),
    "sum axis": ("axis expect", lambda: ops.sum(o(2, 3), axis=2), lambda: torch.sum(p(2, 3), 2)),
    "sum axis twice": (
        "axis expect", lambda: ops.sum(o(2, 3), axis=(0, 0)), lambda: torch.sum(p(2, 3), (0, 0)),
    ),
    "mean axis": (
        "axis expect", lambda: ops.mean(o(2, 3), axis=-3), lambda: torch.mean(p(2, 3), -3),
    ),
    "mean of integers": ("x expect", lambda: ops.mean(oi(1, 2)), lambda: torch.mean(pi(1, 2))),
    "var axis": ("axis expect", lambda: ops.var(o(2, 3), axis=5), lambda: torch.var(p(2, 3), 5)),
    "max of nothing": (
        "at least one value", lambda: ops.max(o(0, 3), axis=0), lambda: torch.amax(p(0, 3), 0),
    ),
    "min of nothing": ("at least one value", lambda: ops.min(o(0)), lambda: torch.min(p(0))),
    "argmax of nothing": (
        "at least one value", lambda: ops.argmax(o(0, 3), axis=0), lambda: torch.argmax(p(0, 3), 0),
    ),
    "argmax axis": (
        "axis expect", lambda: ops.argmax(o(2, 3), axis=2), lambda: torch.argmax(p(2, 3), 2),
    ),
    "cumsum axis": (
        "axis expect", lambda: ops.cumsum(o(2, 3), axis=2), lambda: torch.cumsum(p(2, 3), 2),
    ),
    "prod axis": ("axis expect", lambda: ops.prod(o(2, 3), axis=2), lambda: torch.prod(p(2, 3), 2)),
    "logsumexp axis": (
        "axis expect", lambda: ops.logsumexp(o(2, 3), axis=2), lambda: torch.logsumexp(p(2, 3), 2),
    ),
    "softmax axis": (
        "axis expect", lambda: ops.softmax(o(2, 3), axis=2), lambda: torch.softmax(p(2, 3), 2),
    ),
    "log_softmax axis": (
        "axis expect", lambda: ops.log_softmax(o(2, 3), axis=-3),
        lambda: torch.log_softmax(p(2, 3), -3),
    ),
    "softmax of integers": (
        "x expect", lambda: ops.softmax(oi(1, 2), axis=0), lambda: torch.softmax(pi(1, 2), 0),
    ),
    "matmul inner": (
        "the last axis of a", lambda: ops.matmul(o(2, 3), o(2, 3)),
        lambda: torch.matmul(p(2, 3), p(2, 3)),
    ),
    "matmul batches": (
        "leading axes that broadcast", lambda: ops.matmul(o(2, 2, 3), o(3, 3, 2)),
        lambda: torch.matmul(p(2, 2, 3), p(3, 3, 2)),
    ),
    "matmul of a number": (
        "the last axis of a", lambda: ops.matmul(o(), o(3)), lambda: torch.matmul(p(), p(3)),
    ),
    "matmul dtypes": (
        "one dtype", lambda: ops.matmul(o(2, 3), o(3, 2, d="float64")),
        lambda: torch.matmul(p(2, 3), p(3, 2, d="float64")),
    ),
    "outer of a matrix": (
        "two 1-d tensors", lambda: ops.outer(o(2, 3), o(3)), lambda: torch.outer(p(2, 3), p(3)),
    ),
    "einsum lengths": (
        r"axis 'j' of xs\[1\]", lambda: ops.einsum("ij,jk", o(2, 3), o(2, 3)),
        lambda: torch.einsum("ij,jk", p(2, 3), p(2, 3)),
    ),
    "einsum operands": (
        "'ij,jk' expected 2 tensors", lambda: ops.einsum("ij,jk", o(2, 3)),
        lambda: torch.einsum("ij,jk", p(2, 3)),
    ),
    "einsum axes": (
        r"xs\[0\] expect", lambda: ops.einsum("ijk->i", o(2, 3)),
        lambda: torch.einsum("ijk->i", p(2, 3)),
    ),
    "einsum output": (
        "letters that a tensor has", lambda: ops.einsum("ij->k", o(2, 3)),
        lambda: torch.einsum("ij->k", p(2, 3)),
    ),
    "reshape size": (
        "a shape of 6 values", lambda: ops.reshape(o(2, 3), (4, -1)),
        lambda: torch.reshape(p(2, 3), (4, -1)),
    ),
    "reshape two unknown": (
        "a shape of 6 values", lambda: ops.reshape(o(2, 3), (-1, -1)),
        lambda: torch.reshape(p(2, 3), (-1, -1)),
    ),
    "reshape negative": (
        "a shape of 6 values", lambda: ops.reshape(o(2, 3), (-2, 3)),
        lambda: torch.reshape(p(2, 3), (-2, 3)),
    ),
    "transpose axes": (
        "axis expect", lambda: ops.transpose(o(2, 3), 0, 0), lambda: torch.permute(p(2, 3), (0, 0)),
    ),
    "transpose number": (
        "each of 2 axes once", lambda: ops.transpose(o(2, 3), 0),
        lambda: torch.permute(p(2, 3), (0,)),
    ),
    "transpose range": (
        "axis expect", lambda: ops.transpose(o(2, 3), 0, 2), lambda: torch.permute(p(2, 3), (0, 2)),
    ),
    "concatenate shapes": (
        "shapes that differ in axis 0 only", lambda: ops.concatenate(o(2, 3), o(2, 4)),
        lambda: torch.cat([p(2, 3), p(2, 4)]),
    ),
    "concatenate axes": (
        "shapes that differ in axis 0 only", lambda: ops.concatenate(o(2, 3), o(3)),
        lambda: torch.cat([p(2, 3), p(3)]),
    ),
    "concatenate axis": (
        "axis expect", lambda: ops.concatenate(o(2, 3), o(2, 3), axis=2),
        lambda: torch.cat([p(2, 3), p(2, 3)], 2),
    ),
    "concatenate nothing": ("xs expect", lambda: ops.concatenate(), lambda: torch.cat([])),
    "stack shapes": (
        "equal shapes", lambda: ops.stack(o(2, 3), o(2, 4)),
        lambda: torch.stack([p(2, 3), p(2, 4)]),
    ),
    "stack axis": (
        "axis expect", lambda: ops.stack(o(2), o(2), axis=3), lambda: torch.stack([p(2), p(2)], 3),
    ),
    "stack nothing": ("xs expect", lambda: ops.stack(), lambda: torch.stack([])),
    "split sizes": (
        "parts expect", lambda: ops.split(o(5, 3), (2, 2)), lambda: torch.split(p(5, 3), (2, 2)),
    ),
    "split axis": (
        "axis expect", lambda: ops.split(o(5, 3), (2, 3), axis=2),
        lambda: torch.split(p(5, 3), (2, 3), 2),
    ),
    "pad reflect too far": (
        "at most 2 values to reflect",
        lambda: ops.pad(o(1, 1, 3), ((0, 0), (0, 0), (3, 0)), "reflect"),
        lambda: F.pad(p(1, 1, 3), (3, 0), "reflect"),
    ),
    "pad mode": (
        "mode expect", lambda: ops.pad(o(1, 1, 3), ((0, 0), (0, 0), (1, 0)), "mirror"),
        lambda: F.pad(p(1, 1, 3), (1, 0), "mirror"),
    ),
    "broadcast": (
        "a shape that", lambda: ops.broadcast_to(o(2, 3), (2, 4)),
        lambda: torch.broadcast_to(p(2, 3), (2, 4)),
    ),
    "broadcast fewer axes": (
        "a shape that", lambda: ops.broadcast_to(o(2, 3), (3,)),
        lambda: torch.broadcast_to(p(2, 3), (3,)),
    ),
    "flip axis": (
        "axis expect", lambda: ops.flip(o(2, 3), axis=2), lambda: torch.flip(p(2, 3), (2,)),
    ),
    "squeeze axis": (
        "axis expect", lambda: ops.squeeze(o(2, 3), axis=4), lambda: torch.squeeze(p(2, 3), 4),
    ),
    "unsqueeze axis": (
        "axis expect", lambda: ops.unsqueeze(o(2, 3), axis=4), lambda: torch.unsqueeze(p(2, 3), 4),
    ),
    "tile negative": (
        "repeats expect", lambda: ops.tile(o(2), (-1,)), lambda: torch.tile(p(2), (-1,)),
    ),
    "repeat negative": (
        "repeats expect", lambda: ops.repeat(o(2), -1, 0),
        lambda: torch.repeat_interleave(p(2), -1),
    ),
    "index range": ("axis 0 of shape", lambda: o(2, 3)[5], lambda: p(2, 3)[5]),
    "index axes": ("at most 2 integers", lambda: o(2, 3)[0, 0, 0], lambda: p(2, 3)[0, 0, 0]),
    "index of a float": ("at most 2 integers", lambda: o(2, 3)[1.5], lambda: p(2, 3)[1.5]),
    "index text": ("at most 2 integers", lambda: o(2, 3)["a"], lambda: p(2, 3)["a"]),
    "mask shape": (
        "index expect", lambda: o(2, 3)[fs.tensor(np.ones(3, bool))],
        lambda: p(2, 3)[torch.ones(3, dtype=torch.bool)],
    ),
    "take axis": (
        "axis expect", lambda: ops.take(o(2, 3), oi(0), axis=2),
        lambda: torch.index_select(p(2, 3), 2, pi(0)),
    ),
    "take by floats": (
        "index expect", lambda: ops.take(o(2, 3), o(1), axis=0),
        lambda: torch.index_select(p(2, 3), 0, p(1)),
    ),
    "gather axes": (
        "index expect", lambda: ops.gather(o(2, 3), oi(0), 1),
        lambda: torch.gather(p(2, 3), 1, pi(0)),
    ),
    "gather by floats": (
        "index expect", lambda: ops.gather(o(2, 3), o(2, 1), 1),
        lambda: torch.gather(p(2, 3), 1, p(2, 1)),
    ),
    "gather axis": (
        "axis expect", lambda: ops.gather(o(2, 3), fs.tensor(np.zeros((2, 1), np.int64)), 2),
        lambda: torch.gather(p(2, 3), 2, torch.zeros(2, 1, dtype=torch.int64)),
    ),
    "scatter shapes": (
        "index expect", lambda: ops.scatter_add(o(2, 2), oi(0, 1, 1), axis=0, size=3),
        lambda: torch.zeros(3, 2).scatter_add(0, pi(0, 1, 1), p(2, 2)),
    ),
    "item of many": ("one value", lambda: o(2).item(), lambda: p(2).item()),
    "backward of many": (
        "a tensor of one value",
        lambda: ops.relu(fs.tensor(np.ones(2), requires_grad=True)).backward(),
        lambda: torch.relu(torch.ones(2, requires_grad=True)).backward(),
    ),
    "gradient of integers": (
        "requires_grad expect", lambda: fs.tensor(np.arange(3), requires_grad=True),
        lambda: torch.arange(3, dtype=torch.int64).requires_grad_(),
    ),
    "len of a scalar": ("at least one axis", lambda: len(o()), lambda: len(p())),
    "truth of many": ("one value", lambda: bool(o(2)), lambda: bool(p(2))),
}  # fmt: skip


@pytest.mark.parametrize("call", WRONG)
def test_what_pytorch_refuses_we_refuse_and_say_why(call: str, refused: Any) -> None:
    refused(*WRONG[call])


def test_a_tape_that_is_used_up_or_not_there() -> None:
    x = fs.tensor(np.ones(2), requires_grad=True)
    y = ops.sum(ops.exp(x))
    y.backward()
    with pytest.raises(GradientError, match=r"used up.*; pass retain_graph=True"):
        y.backward()
    with pytest.raises(GradientError, match=r"nothing .* has requires_grad=True"):
        o().backward()
    t = torch.ones(2, requires_grad=True)
    theirs = t.exp().sum()
    theirs.backward()
    for again in (theirs, p()):
        with pytest.raises(RuntimeError):
            again.backward()
