"""Recurrent layers against PyTorch: outputs, states, gradients, files, refusals."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn
from flagstone.errors import InputError, ShapeError
from flagstone.tape import observe

KINDS = ("RNN", "LSTM", "GRU")
TOLERANCE = {"float64": 1e-11, "float32": 5e-5}


def configurations(count: int) -> list[tuple[str, dict[str, Any], tuple[int, int]]]:
    rng = np.random.default_rng(0)
    out = []
    for number in range(count):
        kind = KINDS[number % 3]
        options: dict[str, Any] = {
            "input_size": int(rng.integers(1, 5)), "hidden_size": int(rng.integers(1, 6)),
            "num_layers": int(rng.integers(1, 4)), "bias": bool(rng.integers(2)),
            "bidirectional": bool(rng.integers(2)),
        }  # fmt: skip
        if kind == "RNN":
            options["nonlinearity"] = ("tanh", "relu")[int(rng.integers(2))]
        out.append((kind, options, (int(rng.integers(1, 4)), int(rng.integers(1, 6)))))
    return out


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("number", range(30))
def test_against_pytorch(number: int, dtype: str) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    kind, options, (n, time) = configurations(30)[number]
    rng = np.random.default_rng(number)
    ours = getattr(nn, kind)(**options).initialize(number, dtype=dtype)
    theirs = getattr(torch.nn, kind)(**options, batch_first=True).to(getattr(torch, dtype))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()})

    x = rng.standard_normal((n, time, options["input_size"])).astype(dtype)
    directions = 2 if options["bidirectional"] else 1
    shape = (options["num_layers"] * directions, n, options["hidden_size"])
    count = 2 if kind == "LSTM" else 1
    states = [rng.standard_normal(shape).astype(dtype) for _ in range(count)]
    given = [fs.tensor(s, requires_grad=True) for s in states]
    theirs_given = [torch.tensor(s, requires_grad=True) for s in states]
    x_ours = fs.tensor(x, requires_grad=True)
    x_theirs = torch.tensor(x, requires_grad=True)
    with_state = bool(number % 2)
    if with_state:
        y, last = ours(x_ours, tuple(given) if count == 2 else given[0])
        t, t_last = theirs(x_theirs, tuple(theirs_given) if count == 2 else theirs_given[0])
    else:
        y, last = ours(x_ours)
        t, t_last = theirs(x_theirs)
    ours_out = [y, *(last if count == 2 else [last])]
    theirs_out = [t, *(t_last if count == 2 else [t_last])]
    tolerance = TOLERANCE[dtype]
    total, t_total = None, None
    for a, b in zip(ours_out, theirs_out, strict=True):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=tolerance, atol=tolerance)
        weight = rng.standard_normal(a.shape).astype(dtype)
        term, t_term = (a * fs.tensor(weight)).sum(), (b * torch.tensor(weight)).sum()
        total = term if total is None else total + term
        t_total = t_term if t_total is None else t_total + t_term
    total.backward()
    t_total.backward()
    pairs = [(x_ours, x_theirs)]
    if with_state:
        pairs += list(zip(given, theirs_given, strict=True))
    named = dict(theirs.named_parameters())
    pairs += [(p, named[name]) for name, p in ours.named_parameters()]
    for a, b in pairs:
        np.testing.assert_allclose(
            a.grad.numpy(), b.grad.numpy(), rtol=10 * tolerance, atol=10 * tolerance
        )


def test_the_default_start_is_uniform_within_one_over_the_root_of_the_state() -> None:
    layer = nn.LSTM(50, 64).initialize(0)
    values = np.concatenate([v.ravel() for v in layer.state_dict().values()])
    assert np.abs(values).max() <= 1 / 8
    assert values.std() == pytest.approx(1 / 8 / np.sqrt(3), rel=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_two_halves_with_the_state_carried_over_are_one_whole(kind: str) -> None:
    layer = getattr(nn, kind)(3, 4, 2).initialize(0, dtype="float64")
    x = fs.tensor(np.random.default_rng(0).standard_normal((2, 6, 3)))
    whole, end = layer(x)
    first, state = layer(x[:, :2])
    second, last = layer(x[:, 2:], state)
    np.testing.assert_allclose(first.numpy(), whole[:, :2].numpy(), rtol=1e-14)
    np.testing.assert_allclose(second.numpy(), whole[:, 2:].numpy(), rtol=1e-12)
    for a, b in zip(*(s if kind == "LSTM" else [s] for s in (end, last)), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)


def test_dropout_acts_between_layers_while_training_only() -> None:
    x = fs.tensor(np.random.default_rng(0).standard_normal((4, 3, 5)))
    one = nn.GRU(5, 8, 1, dropout=0.9).initialize(0, dtype="float64")
    np.testing.assert_array_equal(one(x)[0].numpy(), one(x)[0].numpy())
    two = nn.GRU(5, 8, 2, dropout=0.9).initialize(0, dtype="float64")
    assert not np.array_equal(two(x)[0].numpy(), two(x)[0].numpy())
    two.eval()
    plain = nn.GRU(5, 8, 2).initialize(0, dtype="float64")
    np.testing.assert_array_equal(two(x)[0].numpy(), plain(x)[0].numpy())


def test_the_masks_of_two_gaps_differ_at_one_place_of_the_stream() -> None:
    seen = []

    def watch(op: Any, inputs: Any, static: Any, outputs: Any) -> None:
        if op.name == "dropout_mask":
            seen.append(outputs[0].numpy())

    layer = nn.RNN(6, 6, 3, dropout=0.5).initialize(0)
    counter = fs.tensor(np.array([3, 1], np.uint64))
    with nn.stream_position(counter), observe(watch):
        layer(fs.tensor(np.ones((4, 5, 6), np.float32)))
    assert len(seen) == 2
    assert not np.array_equal(seen[0], seen[1])


def test_a_copy_has_the_same_values_and_the_name_shows_the_options() -> None:
    layer = nn.LSTM(3, 4, 2, bias=False, dropout=0.5, bidirectional=True).initialize(3)
    other = copy.deepcopy(layer)
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], value)
    assert repr(layer) == ("LSTM(3, 4, num_layers=2, bias=False, dropout=0.5, bidirectional=True)")


def test_no_examples_give_no_outputs() -> None:
    y, (h, c) = nn.LSTM(3, 4, bidirectional=True)(fs.tensor(np.zeros((0, 2, 3), np.float32)))
    assert (y.shape, h.shape, c.shape) == ((0, 2, 8), (2, 0, 4), (2, 0, 4))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.RNN(0, 1), InputError, "RNN: input_size expected a positive integer; got 0"),
        (lambda: nn.LSTM(1, 1, 0), InputError, "LSTM: num_layers expected a positive"),
        (lambda: nn.RNN(1, 1, 1, "gelu"), InputError, "RNN: nonlinearity expected 'tanh'"),
        (lambda: nn.GRU(1, 1, dropout=1.0), InputError, "GRU: dropout expected a probability"),
    ],
)  # fmt: skip
def test_what_a_layer_refuses(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_what_a_call_refuses() -> None:
    layer = nn.LSTM(3, 4).initialize(0)
    x = fs.tensor(np.zeros((2, 5, 3), np.float32))
    state = fs.tensor(np.zeros((1, 2, 4), np.float32))
    for bad in (np.zeros((5, 3)), np.zeros((2, 5, 4)), np.zeros((2, 0, 3))):
        with pytest.raises(ShapeError, match=r"LSTM: x expected shape \(n, time, 3\) with time"):
            layer(fs.tensor(bad.astype(np.float32)))
    with pytest.raises(InputError, match=r"LSTM: state expected a tuple of 2 tensors of shape"):
        layer(x, state)
    with pytest.raises(InputError, match="LSTM: state expected a tuple of 2 tensors"):
        layer(x, (state, None))
    with pytest.raises(ShapeError, match=r"LSTM: state expected shape \(1, 2, 4\); got \(2, 4\)"):
        layer(x, (state, state[0]))
    with pytest.raises(InputError, match="GRU: state expected one tensor of shape"):
        nn.GRU(3, 4)(x, (state, state))
    with pytest.raises(InputError, match="LSTM: expected a Tensor; got list"):
        layer([[1.0]])
