"""Multi-head attention against PyTorch: outputs, weights, gradients, masks, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn
from flagstone.errors import DTypeError, InputError, ShapeError

TOLERANCE = {"float64": 1e-11, "float32": 5e-5}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("number", range(30))
def test_against_pytorch(number: int, dtype: str) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    rng = np.random.default_rng(number)
    heads, d = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    n, t, s = (int(rng.integers(1, 5)) for _ in range(3))
    e, bias = heads * d, bool(rng.integers(2))
    ours = nn.MultiheadAttention(e, heads, bias=bias).initialize(number, dtype=dtype)
    theirs = torch.nn.MultiheadAttention(e, heads, bias=bias, batch_first=True)
    theirs = theirs.to(getattr(torch, dtype))
    for p in ours.parameters():
        p.array[...] = rng.standard_normal(p.shape)
    assert sorted(ours.state_dict()) == sorted(theirs.state_dict())
    theirs.load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()})

    self_attention = number % 3 == 0
    s = t if self_attention else s
    arrays = [
        rng.standard_normal(shape).astype(dtype) for shape in ((n, t, e), (n, s, e), (n, s, e))
    ]
    mine = [fs.tensor(a, requires_grad=True) for a in arrays]
    other = [torch.tensor(a, requires_grad=True) for a in arrays]
    if self_attention:
        mine, other = [mine[0]] * 3, [other[0]] * 3
    options: dict[str, Any] = {"average_attn_weights": bool(rng.integers(2))}
    masks = {}
    if number % 2:
        padding = rng.random((n, s)) < 0.4
        padding[:, 0] = False
        masks["key_padding_mask"] = padding
    if number % 4 in (1, 2):
        shape = (t, s) if number % 8 < 4 else (n * heads, t, s)
        look = rng.random(shape) < 0.4
        look[..., 0] = False
        masks["attn_mask"] = look
    elif number % 4 == 0:
        masks["attn_mask"] = rng.standard_normal((t, s)).astype(dtype)
    y, weights = ours(*mine, **options, **{k: fs.tensor(m) for k, m in masks.items()})
    given = {k: torch.tensor(m) for k, m in masks.items()}
    expected, expected_weights = theirs(*other, **options, **given)
    tolerance = TOLERANCE[dtype]
    total, t_total = None, None
    for a, b in ((y, expected), (weights, expected_weights)):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=tolerance, atol=tolerance)
        weight = rng.standard_normal(a.shape).astype(dtype)
        term, t_term = (a * fs.tensor(weight)).sum(), (b * torch.tensor(weight)).sum()
        total = term if total is None else total + term
        t_total = t_term if t_total is None else t_total + t_term
    total.backward()
    t_total.backward()
    named = dict(theirs.named_parameters())
    pairs = list(zip(mine, other, strict=True))
    pairs += [(p, named[name]) for name, p in ours.named_parameters()]
    for a, b in pairs:
        np.testing.assert_allclose(
            a.grad.numpy(), b.grad.numpy(), rtol=20 * tolerance, atol=20 * tolerance
        )


def test_the_start_has_pytorchs_bounds() -> None:
    state = nn.MultiheadAttention(64, 4).initialize(0).state_dict()
    bound = np.sqrt(6 / (64 + 3 * 64))
    assert 0.98 * bound < np.abs(state["in_proj_weight"]).max() <= bound
    assert 0.98 / 8 < np.abs(state["out_proj.weight"]).max() <= 1 / 8
    assert not state["in_proj_bias"].any()
    assert not state["out_proj.bias"].any()


def test_weights_sum_to_one_and_are_not_given_unless_needed() -> None:
    layer = nn.MultiheadAttention(6, 2).initialize(0, dtype="float64")
    x = fs.tensor(np.random.default_rng(0).standard_normal((2, 5, 6)))
    y, weights = layer(x, x, x)
    np.testing.assert_allclose(weights.numpy().sum(-1), 1.0, rtol=1e-14)
    again, none = layer(x, need_weights=False)  # attends to itself
    assert none is None
    np.testing.assert_array_equal(again.numpy(), y.numpy())


def test_a_causal_mask_keeps_the_future_out() -> None:
    layer = nn.MultiheadAttention(4, 2).initialize(0, dtype="float64")
    x = np.random.default_rng(0).standard_normal((1, 5, 4))
    later = fs.tensor(np.triu(np.ones((5, 5), bool), 1))
    before = layer(*[fs.tensor(x)] * 3, attn_mask=later)[0].numpy()
    x[:, 3:] += 1.0
    after = layer(*[fs.tensor(x)] * 3, attn_mask=later)[0].numpy()
    np.testing.assert_array_equal(before[:, :3], after[:, :3])
    assert not np.allclose(before[:, 3:], after[:, 3:])


def test_dropout_acts_while_training_only() -> None:
    layer = nn.MultiheadAttention(4, 2, dropout=0.5).initialize(0)
    x = fs.tensor(np.ones((2, 8, 4), np.float32))
    _, weights = layer(x, x, x, average_attn_weights=False)
    assert set(np.unique(weights.numpy())) == {0.0, 0.25}
    layer.eval()
    _, weights = layer(x, x, x, average_attn_weights=False)
    np.testing.assert_allclose(weights.numpy(), 1 / 8)


def test_what_it_refuses() -> None:
    with pytest.raises(InputError, match="num_heads expected a divisor of embed_dim=5; got 2"):
        nn.MultiheadAttention(5, 2)
    with pytest.raises(InputError, match="embed_dim expected a positive integer"):
        nn.MultiheadAttention(0, 1)
    layer = nn.MultiheadAttention(4, 2).initialize(0)
    x, z = fs.tensor(np.zeros((2, 3, 4), np.float32)), fs.tensor(np.zeros((2, 5, 4), np.float32))
    cases: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
        ((x, x[0], x), {}, ShapeError, r"key expected shape \(n, time, 4\); got \(3, 4\)"),
        ((x, x, z), {}, ShapeError, "a value for each of at least one key"),
        ((x, x[:1], x[:1]), {}, ShapeError, "as many queries' sequences"),
        ((x, z[:, :0], z[:, :0]), {}, ShapeError, "at least one key"),
        ((x, z, z), {"attn_mask": x[0]}, ShapeError,
         r"attn_mask expected shape \(3, 5\) or \(4, 3, 5\); got \(3, 4\)"),
        ((x, z, z), {"key_padding_mask": x[0]}, ShapeError, r"key_padding_mask expected shape"),
        ((x, z, z), {"attn_mask": fs.tensor(np.zeros((3, 5)))}, DTypeError,
         "attn_mask expected bool or float32; got float64"),
        ((x, z, z), {"attn_mask": np.zeros((3, 5))}, InputError, "attn_mask: expected a Tensor"),
        ((x, z, z), {"mask": None}, InputError, "unexpected keyword argument 'mask'"),
        ((x, z, z), {"key": x}, InputError, "multiple values for argument 'key'"),
        ((), {"key": x}, InputError, "missing a required argument: 'query'"),
    ]  # fmt: skip
    for inputs, options, error, message in cases:
        with pytest.raises(error, match=message):
            layer(*inputs, **options)


@pytest.mark.parametrize("size", [(3, 3), (4, 2), (2, 5)])
def test_is_causal(size: tuple[int, int]) -> None:
    """It is PyTorch's ``attn_mask`` of what lies above the diagonal, beside any other mask."""
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    t, s = size
    rng = np.random.default_rng(t)
    ours = nn.MultiheadAttention(4, 2).initialize(0, dtype="float64")
    theirs = torch.nn.MultiheadAttention(4, 2, batch_first=True).double()
    theirs.load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()})
    q, k = rng.standard_normal((2, t, 4)), rng.standard_normal((2, s, 4))
    later = torch.triu(torch.ones(t, s, dtype=torch.bool), diagonal=1)
    added = torch.tensor(rng.standard_normal((t, s)))
    for mask, own in (
        (later, None), (added.masked_fill(later, -torch.inf), fs.tensor(added.numpy())),
    ):  # fmt: skip
        y, weights = ours(fs.tensor(q), fs.tensor(k), attn_mask=own, is_causal=True)
        expected = theirs(torch.tensor(q), torch.tensor(k), torch.tensor(k), attn_mask=mask)
        np.testing.assert_allclose(y.numpy(), expected[0].detach().numpy(), atol=1e-12)
        np.testing.assert_allclose(weights.numpy(), expected[1].detach().numpy(), atol=1e-12)


def test_a_causal_call_is_captured() -> None:
    layer = nn.MultiheadAttention(4, 2).initialize(0)

    def call(x: fs.Tensor) -> fs.Tensor:
        with fs.no_grad():
            return layer(x, is_causal=True)[0]

    captured = fs.capture(call, strict=True)
    rng = np.random.default_rng(0)
    for _ in range(4):
        x = fs.tensor(rng.standard_normal((2, 3, 4)).astype("float32"))
        np.testing.assert_allclose(captured(x).numpy(), call(x).numpy(), atol=1e-6)
