"""What losses do where it matters most: extreme inputs, tiny losses, unknown classes, weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import losses, ops
from flagstone.tape import observe

BIG = 1e4  # exp(BIG) overflows in every dtype
HUGE = 1e30  # so does its square, in float32


def labels(*numbers: int) -> np.ndarray:
    return np.array(numbers)


Extreme = tuple[Callable[..., fs.Tensor], tuple[Any, ...], dict[str, Any], Any, Any]
# function, arguments, options, the losses, the gradient with respect to the first argument
EXTREMES: dict[str, Extreme] = {
    "mae": (losses.mae, ([HUGE, -HUGE], [0.0, 0.0]), {}, [HUGE, HUGE], [1, -1]),
    "huber": (losses.huber, ([HUGE, -HUGE], [0.0, 0.0]), {}, [HUGE, HUGE], [1, -1]),
    "huber, delta": (losses.huber, ([HUGE], [0.0]), {"delta": 1e-3}, [1e27], [1e-3]),
    "smooth l1": (losses.smooth_l1, ([HUGE, 0.0], [0.0, 0.0]), {}, [HUGE, 0], [1, 0]),
    "log cosh": (
        losses.log_cosh, ([HUGE, -BIG, 0.0], [0.0, 0.0, 0.0]), {},
        [HUGE, BIG - np.log(2), 0], [1, -1, 0],
    ),
    "quantile": (
        losses.quantile, ([HUGE, -HUGE], [0.0, 0.0]), {"q": 0.1}, [0.9 * HUGE, 0.1 * HUGE],
        [0.9, -0.1],
    ),
    "poisson": (losses.poisson_nll, ([-BIG, -BIG], [0.0, 2.0]), {}, [0, 2 * BIG], [0, -2]),
    "poisson, rate 0": (
        losses.poisson_nll, ([0.0, 0.0], [0.0, 1.0]), {"log_input": False},
        [0, -np.log(1e-8)], [1, 1 - 1e8],
    ),
    "poisson, full, count 0": (
        losses.poisson_nll, ([0.0, 0.0], [0.0, 1.0]), {"full": True}, [1, 1], [1, 0],
    ),
    "binary": (
        losses.binary_cross_entropy_with_logits,
        ([BIG, -BIG, BIG, -BIG, 0.0], [1.0, 0.0, 0.0, 1.0, 1.0]), {},
        [0, 0, BIG, BIG, np.log(2)], [0, 0, 1, -1, -0.5],
    ),
    "binary, pos_weight": (
        losses.binary_cross_entropy_with_logits,
        ([BIG, -BIG, BIG, -BIG, 0.0], [1.0, 0.0, 0.0, 1.0, 1.0]), {"pos_weight": 3.0},
        [0, 0, BIG, 3 * BIG, 3 * np.log(2)], [0, 0, 1, -3, -1.5],
    ),
    "binary focal": (
        losses.binary_focal, ([BIG, -BIG, BIG, -BIG], [1.0, 0.0, 0.0, 1.0]),
        {"gamma": 0.5, "alpha": None}, [0, 0, BIG, BIG], [0, 0, 1, -1],
    ),
    "hinge": (losses.hinge, ([HUGE, -HUGE], [1.0, 1.0]), {}, [0, HUGE], [0, -1]),
    "squared hinge": (losses.squared_hinge, ([HUGE, -BIG], [1.0, 1.0]), {},
                      [0, (BIG + 1) ** 2], [0, -2 * (BIG + 1)]),
    "cross-entropy": (
        losses.cross_entropy, ([[BIG, 0.0], [-BIG, 0.0]], labels(0, 0)), {}, [0, BIG],
        [[0, 0], [-1, 1]],
    ),
    "cross-entropy, smoothed": (
        losses.cross_entropy, ([[BIG, 0.0], [-BIG, 0.0]], labels(0, 0)), {"label_smoothing": 0.5},
        [0.25 * BIG, 0.75 * BIG], [[0.25, -0.25], [-0.75, 0.75]],
    ),
    "cross-entropy, probabilities": (
        losses.cross_entropy, ([[BIG, 0.0], [-BIG, 0.0]], [[1.0, 0.0], [1.0, 0.0]]), {}, [0, BIG],
        [[0, 0], [-1, 1]],
    ),
    **{
        f"focal, gamma {gamma}": (
            losses.focal, ([[BIG, 0.0], [-BIG, 0.0]], labels(0, 0)), {"gamma": gamma}, [0, BIG],
            [[0, 0], [-1, 1]],
        )
        for gamma in (0, 0.5, 1, 2)
    },
    "focal, one class": (losses.focal, ([[3.0]], labels(0)), {"gamma": 0.5}, [0], [[0]]),
    "multi margin": (
        losses.multi_margin, ([[HUGE, 0.0], [-HUGE, 0.0]], labels(0, 0)), {}, [0, HUGE / 2],
        [[0, 0], [-0.5, 0.5]],
    ),
    "kl": (
        losses.kl_div, ([[0.0, -BIG], [-BIG, 0.0]], [[1.0, 0.0], [1.0, 0.0]]), {}, [0, BIG],
        [[-1, 0], [-1, 0]],
    ),
    "kl, log": (
        losses.kl_div, ([[0.0, -BIG]], [[-BIG, 0.0]]), {"log_target": True}, [BIG], [[0, -1]],
    ),
    "cosine": (
        losses.cosine_similarity, ([[HUGE, 0.0], [1e-30, 0.0]], [[0.0, HUGE], [HUGE, 0.0]]), {},
        [1, 0], [[0, -1e-30], [0, 0]],
    ),
    "cosine of zeros": (
        losses.cosine_similarity, ([[0.0, 0.0]], [[3.0, 4.0]]), {}, [1], [[-0.6, -0.8]]
    ),
    "cosine embedding": (
        losses.cosine_embedding, ([[HUGE, HUGE]], [[HUGE, HUGE]], [-1.0]), {}, [1], [[0, 0]]
    ),
    "triplet": (
        losses.triplet_margin, ([[HUGE, 0.0]], [[0.0, 0.0]], [[HUGE, 0.0]]), {}, [HUGE],
        [[1 - 2**-0.5, -(2**-0.5)]],
    ),
    "triplet, equal": (
        losses.triplet_margin, ([[1.0, 2.0]], [[1.0, 2.0]], [[1.0, 2.0]]), {}, [1], [[0, 0]]
    ),
    "triplet, equal but for eps": (
        losses.triplet_margin, ([[0.0]], [[0.5]], [[4.0]]), {"eps": 0.5}, [0], [[0]]
    ),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", EXTREMES)
def test_extreme_inputs(name: str, dtype: str) -> None:
    """No warning is raised either: pytest runs with warnings as errors."""
    function, arguments, options, expected, gradient = EXTREMES[name]
    tensors = [
        fs.tensor(a) if isinstance(a, np.ndarray) else fs.tensor(np.array(a, dtype))
        for a in arguments
    ]
    tensors[0] = fs.tensor(tensors[0].numpy(), requires_grad=True)
    each = function(*tensors, reduction="none", **options)
    np.testing.assert_allclose(each.numpy(), expected, rtol=2e-6, atol=1e-6)
    each.sum().backward()
    np.testing.assert_allclose(tensors[0].grad.numpy(), gradient, rtol=2e-6, atol=1e-6)


# Digits


def one(value: Any) -> fs.Tensor:
    return fs.tensor(np.array([value]))


def test_a_tiny_loss_keeps_its_digits() -> None:
    tiny = losses.cross_entropy(one([40.0, 0.0]), fs.tensor(labels(0))).item()
    assert tiny == pytest.approx(np.exp(-40), rel=1e-3, abs=0) or tiny == 0.0
    binary = losses.binary_cross_entropy_with_logits(one(40.0), one(1.0)).item()
    assert binary == pytest.approx(np.exp(-40), rel=1e-9, abs=0)
    weighted = losses.binary_cross_entropy_with_logits(one(40.0), one(1.0), pos_weight=2).item()
    assert weighted == pytest.approx(2 * np.exp(-40), rel=1e-9, abs=0)
    focal = losses.binary_focal(one(20.0), one(1.0), gamma=1, alpha=None).item()
    assert focal == pytest.approx(np.exp(-40), rel=1e-8, abs=0)


@pytest.mark.parametrize("d", [1e-150, 1e-8, 1e-3, -0.1])
def test_log_cosh_near_zero_is_half_the_square(d: float) -> None:
    series = d**2 / 2 - d**4 / 12 + d**6 / 45 - 17 * d**8 / 2520
    assert losses.log_cosh(one(d), one(0.0)).item() == pytest.approx(series, rel=1e-9, abs=0)


@pytest.mark.parametrize("q", [0.1, 0.5, 0.9])
def test_the_quantile_loss_is_least_at_the_quantile(q: float) -> None:
    sample = np.random.default_rng(0).gamma(2.0, size=999)
    target = fs.tensor(sample)
    level = [losses.quantile(fs.tensor(np.full(999, x)), target, q=q).item() for x in sample]
    # 999 q is no integer, so the least is at one point: the order statistic of rank ceil(999 q)
    assert sample[np.argmin(level)] == np.sort(sample)[int(np.ceil(999 * q)) - 1]


# The lecture notes' remark


def test_logistic_and_two_class_softmax_cross_entropy_are_one_function() -> None:
    """log(1 + exp(-s)) is both, for s the logit or the difference of the two logits."""
    rng = np.random.default_rng(0)
    two, y = 3 * rng.standard_normal((50, 2)), rng.integers(0, 2, 50)
    of_two = fs.tensor(two, requires_grad=True)
    of_one = fs.tensor(two[:, 1] - two[:, 0], requires_grad=True)
    softmax = losses.cross_entropy(of_two, fs.tensor(y), reduction="none")
    logistic = losses.binary_cross_entropy_with_logits(
        of_one, fs.tensor(y.astype(float)), reduction="none"
    )
    np.testing.assert_allclose(softmax.numpy(), logistic.numpy(), rtol=1e-12, atol=1e-14)
    softmax.sum().backward()
    logistic.sum().backward()
    slope = of_one.grad.numpy()
    np.testing.assert_allclose(of_two.grad.numpy(), np.stack([-slope, slope], axis=1), atol=1e-14)


def test_two_class_focal_losses_are_one_function_too() -> None:
    rng = np.random.default_rng(0)
    two, y = 3 * rng.standard_normal((50, 2)), rng.integers(0, 2, 50)
    several = losses.focal(fs.tensor(two), fs.tensor(y), gamma=1.5, reduction="none")
    binary = losses.binary_focal(
        fs.tensor(two[:, 1] - two[:, 0]), fs.tensor(y.astype(float)), gamma=1.5, alpha=None,
        reduction="none",
    )  # fmt: skip
    np.testing.assert_allclose(several.numpy(), binary.numpy(), rtol=1e-9, atol=1e-14)


# Classes


WITH_CLASSES = [losses.cross_entropy, losses.focal, losses.multi_margin]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("function", WITH_CLASSES)
@pytest.mark.parametrize("label", [-1, 3, 100])
def test_a_label_outside_the_classes_gives_nan_in_its_row_only(
    label: int, function: Callable[..., fs.Tensor], weighted: bool
) -> None:
    x, y = fs.tensor(np.zeros((3, 3)), requires_grad=True), fs.tensor(labels(0, label, 2))
    options = {"weight": fs.tensor(np.ones(3))} if weighted else {}
    each = function(x, y, reduction="none", **options).numpy()
    np.testing.assert_array_equal(np.isnan(each), [False, True, False])
    assert np.isnan(function(x, y, **options).item())


def test_only_named_numbers_are_ignored() -> None:
    x, y = fs.tensor(np.zeros((3, 3)), requires_grad=True), fs.tensor(labels(0, -100, 7))
    each = losses.cross_entropy(x, y, ignore_index=-100, reduction="none")
    np.testing.assert_allclose(each.numpy(), [np.log(3), 0, np.nan])
    assert np.isnan(losses.cross_entropy(x, y).item())


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_what_is_ignored_changes_nothing(smoothing: float) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((6, 3)), labels(0, 1, 255, 2, 255, 1).astype(np.uint8)
    kept = y != 255
    whole, part = fs.tensor(x, requires_grad=True), fs.tensor(x[kept], requires_grad=True)
    for tensor, numbers in ((whole, y), (part, y[kept])):
        losses.cross_entropy(
            tensor, fs.tensor(numbers), ignore_index=255, label_smoothing=smoothing
        ).backward()
    np.testing.assert_allclose(whole.grad.numpy()[kept], part.grad.numpy())
    np.testing.assert_array_equal(whole.grad.numpy()[~kept], 0)


def test_the_mean_of_nothing_is_nan_as_in_pytorch() -> None:
    with np.errstate(invalid="ignore"):
        mean = losses.cross_entropy(fs.tensor(np.zeros((2, 3))), fs.tensor(labels(1, 1)),
                                    ignore_index=1)  # fmt: skip
    assert np.isnan(mean.item())


def test_class_numbers_are_probabilities_of_one() -> None:
    rng = np.random.default_rng(0)
    x, y = fs.tensor(rng.standard_normal((9, 4))), rng.integers(0, 4, 9)
    weight = fs.tensor(rng.random(4))
    for options in ({}, {"label_smoothing": 0.2}, {"label_smoothing": 0.2, "weight": weight}):
        numbers = losses.cross_entropy(x, fs.tensor(y), reduction="none", **options)
        one_hot = losses.cross_entropy(x, fs.tensor(np.eye(4)[y]), reduction="none", **options)
        np.testing.assert_allclose(numbers.numpy(), one_hot.numpy(), rtol=1e-12)


def test_a_pair_that_is_neither_gives_nan_in_its_row_only() -> None:
    x = fs.tensor(np.eye(3))
    for target in (labels(1, 0, -1), np.array([1.0, 0.5, -1.0])):
        each = losses.cosine_embedding(x, x, fs.tensor(target), reduction="none")
        np.testing.assert_allclose(each.numpy(), [0, np.nan, 1], atol=1e-15)


def test_unsigned_ones_mark_pairs() -> None:
    x = fs.tensor(np.eye(2))
    ones = fs.tensor(np.ones(2, np.uint8))
    assert losses.cosine_embedding(x, x, ones).item() == pytest.approx(0)


# Weights and the hot path


def test_a_sample_weight_counts_an_example_again() -> None:
    rng = np.random.default_rng(0)
    x, y, times = rng.standard_normal((5, 3)), rng.integers(0, 3, 5), np.array([1, 2, 0, 3, 1])
    weighted = losses.cross_entropy(
        fs.tensor(x), fs.tensor(y), sample_weight=fs.tensor(times.astype(float)), reduction="sum"
    )
    again = losses.cross_entropy(
        fs.tensor(np.repeat(x, times, axis=0)), fs.tensor(np.repeat(y, times)), reduction="sum"
    )
    assert weighted.item() == pytest.approx(again.item())


def test_the_plain_loss_is_one_fused_op() -> None:
    called: list[str] = []
    x, y = fs.tensor(np.zeros((4, 3))), fs.tensor(np.zeros(4, np.int64))
    with observe(lambda op, *_: called.append(op.name)):
        losses.cross_entropy(x, y, reduction="none")
        losses.binary_cross_entropy_with_logits(x[:, 0], x[:, 0], reduction="none")
    assert [name for name in called if "index" not in name] == [
        "softmax_cross_entropy", "binary_cross_entropy_with_logits"
    ]  # fmt: skip


def test_softmax_regression_learns_with_every_loss_of_classes() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(3), 40)
    x = fs.tensor(rng.standard_normal((120, 2)) + 4 * np.array([[0, 1], [1, -1], [-1, -1]])[y])
    for function in WITH_CLASSES:
        w = fs.tensor(np.zeros((3, 2)), requires_grad=True)
        for _ in range(60):
            w.grad = None
            function(ops.linear(x, w), fs.tensor(y)).backward()
            w = fs.tensor(w.numpy() - 0.3 * w.grad.numpy(), requires_grad=True)
        assert (ops.linear(x, w).numpy().argmax(axis=1) == y).mean() > 0.97, function.__name__
