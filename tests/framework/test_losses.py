"""Losses: values and gradients against PyTorch, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import losses
from flagstone.errors import DTypeError, FlagstoneError, InputError, ShapeError
from flagstone.plugins import registry

N = 7


def cases(dtype: str) -> dict[str, tuple[Any, np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return (3 * rng.standard_normal(shape)).astype(dtype)

    return {
        "cross entropy": (losses.cross_entropy, normal(N, 4), rng.integers(0, 4, N)),
        "cross entropy, one class": (losses.cross_entropy, normal(N, 1), np.zeros(N, np.int64)),
        "cross entropy, int32": (
            losses.cross_entropy, normal(N, 3), rng.integers(0, 3, N, dtype=np.int32)
        ),
        "binary, (n,)": (
            losses.binary_cross_entropy_with_logits, normal(N), rng.random(N).astype(dtype)
        ),
        "binary, (n, k)": (
            losses.binary_cross_entropy_with_logits, normal(N, 3),
            rng.integers(0, 2, (N, 3)).astype(dtype),
        ),
        "mse, (n,)": (losses.mse, normal(N), normal(N)),
        "mse, (n, 1)": (losses.mse, normal(N, 1), normal(N, 1)),
        "mse, (n, 3)": (losses.mse, normal(N, 3), normal(N, 3)),
        "mse, (n, 2, 2)": (losses.mse, normal(N, 2, 2), normal(N, 2, 2)),
    }  # fmt: skip


def pytorchs(torch: Any, function: Any, x: Any, target: Any) -> Any:
    """One loss per example."""
    f = torch.nn.functional
    if function is losses.cross_entropy:
        return f.cross_entropy(x, target.long(), reduction="none")
    per_element = {
        losses.mse: f.mse_loss,
        losses.binary_cross_entropy_with_logits: f.binary_cross_entropy_with_logits,
    }[function](x, target, reduction="none")
    return per_element.reshape(len(x), -1).mean(dim=1)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 2e-6)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", cases("float32"))
def test_values_and_gradients(
    name: str, reduction: str, weighted: bool, dtype: str, tolerance: float
) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch, the reference, is not installed")
    function, x, target = cases(dtype)[name]
    weight = np.random.default_rng(1).random(N).astype(dtype) if weighted else None
    ours_x = fs.tensor(x, requires_grad=True)
    ours = function(
        ours_x, fs.tensor(target), reduction=reduction,
        sample_weight=None if weight is None else fs.tensor(weight),
    )  # fmt: skip
    theirs_x = torch.from_numpy(x.copy()).requires_grad_()
    each = pytorchs(torch, function, theirs_x, torch.from_numpy(target.copy()))
    each = each if weight is None else each * torch.from_numpy(weight)
    theirs = {"mean": each.mean(), "sum": each.sum(), "none": each}[reduction]
    assert ours.shape == tuple(theirs.shape)
    assert ours.dtype_name == dtype
    np.testing.assert_allclose(
        ours.numpy(), theirs.detach().numpy(), rtol=tolerance, atol=tolerance
    )
    dy = np.random.default_rng(2).standard_normal(ours.shape).astype(dtype)
    ours.backward(fs.tensor(dy))
    theirs.backward(torch.from_numpy(np.asarray(dy)))
    np.testing.assert_allclose(
        ours_x.grad.numpy(), theirs_x.grad.numpy(), rtol=10 * tolerance, atol=tolerance
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_logits_overflow_nowhere(dtype: str) -> None:
    big = 1e4
    x = fs.tensor(np.array([[big, 0.0], [-big, 0.0]], dtype), requires_grad=True)
    loss = losses.cross_entropy(x, fs.tensor(np.array([0, 0])), reduction="none")
    np.testing.assert_array_equal(loss.numpy(), [0.0, big])
    loss.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [[0, 0], [-1, 1]])

    x = fs.tensor(np.array([big, -big, big, -big, 0.0], dtype), requires_grad=True)
    target = fs.tensor(np.array([1, 0, 0, 1, 1], dtype))
    loss = losses.binary_cross_entropy_with_logits(x, target, reduction="none")
    np.testing.assert_allclose(loss.numpy(), [0, 0, big, big, np.log(2)], rtol=1e-6)
    loss.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [0, 0, 1, -1, -0.5])


def test_a_tiny_loss_keeps_its_digits() -> None:
    x = fs.tensor(np.array([[40.0, 0.0]]))
    tiny = losses.cross_entropy(x, fs.tensor(np.array([0]))).item()
    assert tiny == pytest.approx(np.exp(-40), rel=1e-3) or tiny == 0.0
    binary = losses.binary_cross_entropy_with_logits(
        fs.tensor(np.array([40.0])), fs.tensor(np.array([1.0]))
    ).item()
    assert binary == pytest.approx(np.exp(-40), rel=1e-9)


@pytest.mark.parametrize("label", [-1, 3, 100])
def test_a_label_outside_the_classes_gives_nan_in_its_row_only(label: int) -> None:
    x = fs.tensor(np.zeros((3, 3)), requires_grad=True)
    loss = losses.cross_entropy(x, fs.tensor(np.array([0, label, 2])), reduction="none")
    np.testing.assert_allclose(loss.numpy(), [np.log(3), np.nan, np.log(3)])
    assert np.isnan(losses.cross_entropy(x, fs.tensor(np.array([0, label, 2]))).item())


def t(*shape: int, dtype: str = "float32") -> fs.Tensor:
    return fs.tensor(np.zeros(shape, dtype))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: losses.mse(t(4), t(4, 1)), ShapeError, r"mse: target .*\(4,\); got \(4, 1\)"),
        (lambda: losses.mse(t(4, 1), t(4)), ShapeError, r"mse: target .*\(4, 1\); got \(4,\)"),
        (lambda: losses.mse(t(4, 3), t(1, 3)), ShapeError, r"mse: target expected shape \(4, 3\)"),
        (lambda: losses.mse(t(), t()), ShapeError, "mse: x expected at least one axis"),
        (lambda: losses.mse(t(4), t(4, dtype="float64")), DTypeError, "float32.*float64"),
        (
            lambda: losses.binary_cross_entropy_with_logits(t(4, 1), t(4)), ShapeError,
            r"binary_cross_entropy_with_logits: .*\(4, 1\).*\(4,\)",
        ),
        (
            lambda: losses.binary_cross_entropy_with_logits(t(4, 2), t(4, 1)), ShapeError,
            r"binary_cross_entropy_with_logits: target expected shape \(4, 2\); got \(4, 1\)",
        ),
        (
            lambda: losses.binary_cross_entropy_with_logits(t(4), t(4, dtype="int64")), DTypeError,
            "target expected a floating-point dtype; got int64",
        ),
        (
            lambda: losses.cross_entropy(t(4, 2), t(4)), DTypeError,
            "labels expected .*integers; got float32",
        ),
        (
            lambda: losses.cross_entropy(t(4, 2), t(4, 1, dtype="int64")), ShapeError,
            r"labels expected shape \(4,\); got \(4, 1\)",
        ),
        (
            lambda: losses.cross_entropy(t(4, 2), t(1, dtype="int64")), ShapeError,
            r"labels expected shape \(4,\); got \(1,\)",
        ),
        (
            lambda: losses.cross_entropy(t(4), t(4, dtype="int64")), ShapeError,
            r"x expected \(n, classes\); got \(4,\)",
        ),
        (
            lambda: losses.cross_entropy(t(4, 2, 2), t(4, dtype="int64")), ShapeError,
            r"x expected \(n, classes\); got \(4, 2, 2\)",
        ),
        (
            lambda: losses.mse(t(4, 2), t(4, 2), sample_weight=t(4, 1)), ShapeError,
            r"mse: sample_weight expected shape \(4,\); got \(4, 1\)",
        ),
        (
            lambda: losses.cross_entropy(t(4, 2), t(4, dtype="int64"), sample_weight=t(1)),
            ShapeError, r"cross_entropy: sample_weight expected shape \(4,\); got \(1,\)",
        ),
        (
            lambda: losses.mse(t(4), t(4), reduction="average"), InputError,
            "mse: reduction expected 'mean', 'sum' or 'none'; got 'average'",
        ),
        (
            lambda: losses.MSELoss("average"), InputError,
            "MSELoss: reduction expected 'mean', 'sum' or 'none'; got 'average'",
        ),
    ],
)  # fmt: skip
def test_shapes_never_broadcast(call: Any, error: type[FlagstoneError], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("name", registry.names("loss"))
def test_the_classes_are_the_functions(name: str) -> None:
    loss = registry.load("loss", name)("none")
    x = fs.tensor(np.array([[0.5], [2.0]]))
    target = fs.tensor(np.array([0, 0]) if name == "cross-entropy" else np.array([[1.0], [0.0]]))
    weight = fs.tensor(np.array([2.0, 3.0]))
    plain = loss(x, target).numpy()
    assert plain.shape == (2,)
    np.testing.assert_allclose(loss(x, target, weight).numpy(), plain * [2, 3])
    mean = registry.load("loss", name)()
    assert mean(x, target).item() == pytest.approx(plain.mean())


@pytest.mark.parametrize("bad", [[0.0] * 4, np.zeros(4, np.float32), None])
def test_what_is_no_tensor_is_refused(bad: Any) -> None:
    good = {
        losses.mse: t(4),
        losses.binary_cross_entropy_with_logits: t(4),
        losses.cross_entropy: t(4, dtype="int64"),
    }
    for function, target in good.items():
        x = t(4, 2) if function is losses.cross_entropy else t(4)
        for arguments in ((bad, target), (x, bad)):
            with pytest.raises(DTypeError, match=r"expected a Tensor"):
                function(*arguments)
        if bad is not None:
            with pytest.raises(DTypeError, match="sample_weight expected a Tensor"):
                function(x, target, sample_weight=bad)
