"""The table of losses: each against PyTorch or its formula, and no registered one without a row.

A row's reference is PyTorch's own function where there is one (value, gradient and both reductions)
and the formula of its source, written without care for overflow, where there is none.

It is long because a row, what it draws and its reference are read together.
"""

from __future__ import annotations

import dataclasses
import itertools
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import losses
from flagstone.backend import Backend
from flagstone.plugins import LossSpec, registry

torch = pytest.importorskip("torch", reason="PyTorch, the reference, is not installed")
F = torch.nn.functional
WAYS = [(reduction, weighted) for reduction in ("mean", "sum", "none") for weighted in (0, 1)]
Arrays = tuple[np.ndarray, ...]


@dataclasses.dataclass(frozen=True)
class Row:
    """One loss.

    Attributes:
        function, loss: the function and the class.
        draw: random arguments, given a generator.
        reference: PyTorch's, called with ``reduction``, the arguments and the options; its "none"
            may be per element.
        options: functions of a generator and x that give options, which are tried besides none;
            arrays become tensors.
        always: options that belong to the kind of arguments.
        torch_has_it: whether the reference is PyTorch's own loss.
        sums: whether an example's loss is the sum over its elements, not the mean.
    """

    function: Callable[..., fs.Tensor]
    loss: type[losses.Configured]
    draw: Callable[[np.random.Generator], Arrays]
    reference: Callable[..., Any]
    options: tuple[Callable[[np.random.Generator, np.ndarray], dict[str, Any]], ...] = ()
    always: dict[str, Any] = dataclasses.field(default_factory=dict)
    torch_has_it: bool = True
    sums: bool = False


def given(**options: Any) -> Callable[..., dict[str, Any]]:
    return lambda rng, x: options


def class_weight(rng: np.random.Generator, x: np.ndarray) -> dict[str, Any]:
    return {"weight": rng.uniform(0.2, 3, x.shape[1])}


def with_class_weight(**options: Any) -> Callable[..., dict[str, Any]]:
    return lambda rng, x: class_weight(rng, x) | options


# Arguments


def shape(rng: np.random.Generator) -> tuple[int, ...]:
    n, k, m = (int(i) for i in rng.integers(1, 6, 3))
    return ((n,), (n, 1), (n, k), (n, k, m))[rng.integers(4)]


def two_alike(rng: np.random.Generator) -> Arrays:
    s = shape(rng)
    return 2 * rng.standard_normal(s), 2 * rng.standard_normal(s)


def counts(rng: np.random.Generator) -> Arrays:
    s = shape(rng)
    return rng.standard_normal(s), rng.poisson(2.0, s).astype(float)


def rates(rng: np.random.Generator) -> Arrays:
    x, target = counts(rng)
    return np.exp(x), target


def probabilities(rng: np.random.Generator) -> Arrays:
    s = shape(rng)
    return 3 * rng.standard_normal(s), rng.random(s)


def bits(rng: np.random.Generator) -> Arrays:
    s = shape(rng)
    return 3 * rng.standard_normal(s), rng.integers(0, 2, s).astype(float)


def signs(rng: np.random.Generator) -> Arrays:
    x, target = bits(rng)
    return x, 2 * target - 1


def class_numbers(rng: np.random.Generator) -> Arrays:
    n, classes = int(rng.integers(1, 8)), int(rng.integers(1, 6))
    dtype = (np.int64, np.int32, np.uint8)[rng.integers(3)]
    return 3 * rng.standard_normal((n, classes)), rng.integers(0, classes, n).astype(dtype)


def class_probabilities(rng: np.random.Generator) -> Arrays:
    x, _ = class_numbers(rng)
    target = rng.random(x.shape)
    return x, target / target.sum(axis=1, keepdims=True)


def log_distributions(rng: np.random.Generator) -> Arrays:
    x, target = class_probabilities(rng)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True)), target


def two_log_distributions(rng: np.random.Generator) -> Arrays:
    x, target = log_distributions(rng)
    return x, np.log(target)


def vectors(number: int) -> Callable[[np.random.Generator], Arrays]:
    def draw(rng: np.random.Generator) -> Arrays:
        n, features = int(rng.integers(1, 7)), int(rng.integers(1, 6))
        rows = rng.standard_normal((number, n, features))
        return tuple(rows + np.sign(rows))  # not near 0, where PyTorch adds an epsilon

    return draw


def pairs(rng: np.random.Generator) -> Arrays:
    x1, x2 = vectors(2)(rng)
    target = rng.choice([-1, 1], len(x1))
    return x1, x2, target if rng.integers(2) else target.astype(float)


# References


def reduced(losses: Any, reduction: str) -> Any:
    return losses if reduction == "none" else losses.mean()


def log_cosh(x: Any, target: Any, *, reduction: str) -> Any:
    return reduced(torch.log(torch.cosh(x - target)), reduction)


def quantile(x: Any, target: Any, *, reduction: str, q: float = 0.5) -> Any:
    over = target - x
    return reduced(torch.where(over >= 0, q * over, (q - 1) * over), reduction)


def binary_focal(
    x: Any, target: Any, *, reduction: str, gamma: float = 2.0, alpha: float | None = 0.25
) -> Any:
    target = target.detach()  # 0 or 1: the paper's formula is not of what lies between
    p = torch.sigmoid(x)
    p_t = torch.where(target == 1, p, 1 - p)
    factor = 1 if alpha is None else alpha * target + (1 - alpha) * (1 - target)
    return reduced(-factor * (1 - p_t) ** gamma * torch.log(p_t), reduction)


def focal(x: Any, target: Any, *, reduction: str, gamma: float = 2.0, weight: Any = None) -> Any:
    p = torch.softmax(x, dim=1)[torch.arange(len(x)), target.long()]
    factor = 1 if weight is None else weight[target.long()]
    return reduced(-factor * (1 - p) ** gamma * torch.log(p), reduction)


def hinge(x: Any, target: Any, *, reduction: str, margin: float = 1.0) -> Any:
    return reduced(torch.relu(margin - target * x), reduction)


def squared_hinge(x: Any, target: Any, *, reduction: str, margin: float = 1.0) -> Any:
    return reduced(torch.relu(margin - target * x) ** 2, reduction)


def cross_entropy(x: Any, target: Any, *, reduction: str, **options: Any) -> Any:
    target = target if target.is_floating_point() else target.long()
    return F.cross_entropy(x, target, reduction=reduction, **options)


def multi_margin(x: Any, target: Any, *, reduction: str, **options: Any) -> Any:
    return F.multi_margin_loss(x, target.long(), reduction=reduction, **options)


def kl_div(x: Any, target: Any, *, reduction: str, **options: Any) -> Any:
    reduction = "batchmean" if reduction == "mean" else reduction
    return F.kl_div(x, target, reduction=reduction, **options)


def cosine_similarity(x: Any, target: Any, *, reduction: str) -> Any:
    return reduced(1 - F.cosine_similarity(x, target, dim=1), reduction)


def ignoring(rng: np.random.Generator, x: np.ndarray) -> dict[str, Any]:
    return {"ignore_index": int(rng.integers(0, max(x.shape[1], 2)))}


def pos_weight(rng: np.random.Generator, x: np.ndarray) -> dict[str, Any]:
    return {"pos_weight": rng.uniform(0.2, 3, x.shape[1:])}


ROWS: dict[str, tuple[Row, ...]] = {
    "mse": (Row(losses.mse, losses.MSELoss, two_alike, F.mse_loss),),
    "mae": (Row(losses.mae, losses.L1Loss, two_alike, F.l1_loss),),
    "huber": (
        Row(losses.huber, losses.HuberLoss, two_alike, F.huber_loss,
            (given(delta=0.3), given(delta=2))),
    ),
    "smooth-l1": (
        Row(losses.smooth_l1, losses.SmoothL1Loss, two_alike, F.smooth_l1_loss,
            (given(beta=0.3), given(beta=2), given(beta=0))),
    ),
    "log-cosh": (
        Row(losses.log_cosh, losses.LogCoshLoss, two_alike, log_cosh, torch_has_it=False),
    ),
    "quantile": (
        Row(losses.quantile, losses.QuantileLoss, two_alike, quantile,
            (given(q=0.1), given(q=0.9)), torch_has_it=False),
    ),
    "poisson-nll": (
        Row(losses.poisson_nll, losses.PoissonNLLLoss, counts, F.poisson_nll_loss,
            (given(full=True),)),
        Row(losses.poisson_nll, losses.PoissonNLLLoss, rates, F.poisson_nll_loss,
            (given(full=True, eps=0.1),), {"log_input": False}),
    ),
    "binary-cross-entropy": (
        Row(losses.binary_cross_entropy_with_logits, losses.BCEWithLogitsLoss, probabilities,
            F.binary_cross_entropy_with_logits, (pos_weight,)),
    ),
    "binary-focal": (
        Row(losses.binary_focal, losses.BinaryFocalLoss, bits, binary_focal,
            (given(gamma=0), given(gamma=0.5, alpha=None), given(gamma=3.5, alpha=0.9)),
            torch_has_it=False),
    ),
    "hinge": (
        Row(losses.hinge, losses.HingeLoss, signs, hinge, (given(margin=0.4),),
            torch_has_it=False),
    ),
    "squared-hinge": (
        Row(losses.squared_hinge, losses.SquaredHingeLoss, signs, squared_hinge,
            (given(margin=2),), torch_has_it=False),
    ),
    "cross-entropy": (
        Row(losses.cross_entropy, losses.CrossEntropyLoss, class_numbers, cross_entropy,
            (class_weight, ignoring, given(ignore_index=-100), given(label_smoothing=0.1),
             given(label_smoothing=1), with_class_weight(label_smoothing=0.3),
             with_class_weight(ignore_index=0),
             with_class_weight(ignore_index=1, label_smoothing=0.2))),
        Row(losses.cross_entropy, losses.CrossEntropyLoss, class_probabilities, cross_entropy,
            (class_weight, given(label_smoothing=0.1), with_class_weight(label_smoothing=0.3))),
    ),
    "focal": (
        Row(losses.focal, losses.FocalLoss, class_numbers, focal,
            (given(gamma=0), given(gamma=0.5), class_weight, with_class_weight(gamma=3.5)),
            torch_has_it=False),
    ),
    "multi-margin": (
        Row(losses.multi_margin, losses.MultiMarginLoss, class_numbers, multi_margin,
            (given(p=2), given(margin=0.3), class_weight, with_class_weight(p=2, margin=2))),
    ),
    "kl-divergence": (
        Row(losses.kl_div, losses.KLDivLoss, log_distributions, kl_div, sums=True),
        Row(losses.kl_div, losses.KLDivLoss, two_log_distributions, kl_div,
            always={"log_target": True}, sums=True),
    ),
    "cosine-similarity": (
        Row(losses.cosine_similarity, losses.CosineSimilarityLoss, vectors(2), cosine_similarity),
    ),
    "cosine-embedding": (
        Row(losses.cosine_embedding, losses.CosineEmbeddingLoss, pairs, F.cosine_embedding_loss,
            (given(margin=0.3), given(margin=-0.3))),
    ),
    "triplet-margin": (
        Row(losses.triplet_margin, losses.TripletMarginLoss, vectors(3), F.triplet_margin_loss,
            (given(margin=0.2), given(swap=True), given(p=1), given(p=3.5, eps=1e-3),
             given(p=2, swap=True, margin=3))),
    ),
}  # fmt: skip
NUMBERED = [
    pytest.param(row, id=f"{name} {i}") for name, rows in ROWS.items() for i, row in enumerate(rows)
]


@dataclasses.dataclass(frozen=True)
class Case:
    arrays: Arrays
    options: dict[str, Any]
    sample_weight: np.ndarray


def cases(row: Row, dtype: str = "float64", trials: int = 1) -> Iterator[Case]:
    """Random arguments for every set of options; all floating arrays are of ``dtype``."""
    for o, options in enumerate((given(), *row.options)):
        for trial in range(trials):
            rng = np.random.default_rng([o, trial, zlib.crc32(row.loss.__name__.encode())])
            arrays = row.draw(rng)
            drawn = row.always | options(rng, arrays[0])
            yield Case(
                tuple(a.astype(dtype) if a.dtype.kind == "f" else a for a in arrays),
                {k: v.astype(dtype) if isinstance(v, np.ndarray) else v for k, v in drawn.items()},
                rng.uniform(0.1, 3, len(arrays[0])).astype(dtype),
            )


def ours(array: np.ndarray, device: Backend | None = None) -> fs.Tensor:
    return fs.tensor(array.copy(), requires_grad=array.dtype.kind == "f", device=device)


def theirs(array: np.ndarray) -> Any:
    return torch.tensor(array, requires_grad=array.dtype.kind == "f")


def options_for(case: Case, make: Callable[[np.ndarray], Any]) -> dict[str, Any]:
    return {k: make(v) if isinstance(v, np.ndarray) else v for k, v in case.options.items()}


def expected(row: Row, case: Case, tensors: list[Any], reduction: str, weighted: int) -> Any:
    """PyTorch's value with our reductions and sample weights."""
    options = options_for(case, torch.tensor)
    mean = row.reference(*tensors, reduction="mean", **options)
    if reduction == "mean" and not weighted:
        return mean
    each = row.reference(*tensors, reduction="none", **options).reshape(len(tensors[0]), -1)
    each = each.sum(dim=1) if row.sums else each.mean(dim=1)
    # What PyTorch's mean divides by: the number of examples, or the weights of their classes.
    count = (each.sum() / mean).detach() if mean.detach() != 0 else torch.tensor(float(len(each)))
    each = each * torch.tensor(case.sample_weight) if weighted else each
    return {"none": each, "sum": each.sum(), "mean": each.sum() / count}[reduction]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("row", NUMBERED)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # the mean where all are ignored
@pytest.mark.filterwarnings("ignore:Using a target size:UserWarning")
def test_values_and_gradients(row: Row, dtype: str) -> None:
    tolerance = 1e-9 if dtype == "float64" else 1e-4
    every_case = cases(row, dtype, trials=len(WAYS))
    for case, (reduction, weighted) in zip(every_case, itertools.cycle(WAYS), strict=False):
        mine = [ours(a) for a in case.arrays]
        value = row.function(
            *mine, reduction=reduction, **options_for(case, fs.tensor),
            sample_weight=fs.tensor(case.sample_weight) if weighted else None,
        )  # fmt: skip
        peers = [theirs(a) for a in case.arrays]
        peer = expected(row, case, peers, reduction, weighted)
        shown = (reduction, weighted, case)
        assert value.shape == tuple(peer.shape), shown
        assert value.dtype_name == dtype, shown
        agree(value.numpy(), peer.detach().numpy(), tolerance, shown)
        dy = np.random.default_rng(0).standard_normal(value.shape).astype(dtype)
        value.backward(fs.tensor(dy))
        peer.backward(torch.tensor(dy))
        for tensor, other in zip(mine, peers, strict=True):
            if other.grad is not None and not np.isnan(value.numpy()).any():
                gradient, reference = tensor.grad.numpy(), other.grad.numpy()
                assert np.isfinite(gradient).all(), shown
                # NaN are: PyTorch's for a count of 0 where Stirling's term is added, and that of a
                # careless formula.
                excused = case.options.get("full") or not row.torch_has_it
                known = ~np.isnan(reference) | (not excused)
                agree(gradient[known], reference[known], tolerance, shown)


def agree(mine: np.ndarray, reference: np.ndarray, tolerance: float, shown: Any) -> None:
    near = {"rtol": tolerance, "atol": tolerance / 10}
    if not np.allclose(mine, reference, **near, equal_nan=True):  # to print a case takes long
        np.testing.assert_allclose(mine, reference, **near, err_msg=f"{shown}\n")


@pytest.mark.parametrize("row", NUMBERED)
def test_every_backend_gives_the_same(row: Row, backend: Backend) -> None:
    def here(array: np.ndarray) -> fs.Tensor:
        return ours(array, backend)

    for case in cases(row):
        got = []
        for make in (ours, here):
            tensors = [make(a) for a in case.arrays]
            each = row.function(*tensors, reduction="none", **options_for(case, make))
            each.sum().backward()
            got.append([each.numpy(), *(t.grad.numpy() for t in tensors if t.grad is not None)])
        for mine, other in zip(*got, strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("row", NUMBERED)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # the mean where all are ignored
def test_nothing_is_read_on_the_host(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(self: fs.Tensor) -> None:  # what numpy(), item(), bool() and float() come to
        raise AssertionError("a tensor was read")

    for case in cases(row):
        tensors, options = [ours(a) for a in case.arrays], options_for(case, fs.tensor)
        weight = fs.tensor(case.sample_weight)
        with monkeypatch.context() as patch:
            patch.setattr(fs.Tensor, "numpy", read)
            row.function(*tensors, sample_weight=weight, **options).backward()
            with pytest.raises(AssertionError, match="was read"):
                weight[0].item()


def difference_quotients(f: Callable[[np.ndarray], float], x: np.ndarray) -> np.ndarray:
    step, out = 1e-6, np.zeros(x.shape)
    for place in np.ndindex(x.shape):
        moved = x.copy()
        moved[place] += step
        above = f(moved)
        moved[place] -= 2 * step
        out[place] = (above - f(moved)) / (2 * step)
    return out


@pytest.mark.parametrize("row", [p for p in NUMBERED if not p.values[0].torch_has_it])
def test_gradients_are_limits_of_difference_quotients(row: Row) -> None:
    for case in cases(row, trials=2):
        options = options_for(case, fs.tensor)
        x, *rest = case.arrays

        def sum_of_losses(
            x: np.ndarray, rest: list[np.ndarray] = rest, options: dict[str, Any] = options
        ) -> float:
            tensors = [fs.tensor(a) for a in (x, *rest)]
            return row.function(*tensors, reduction="sum", **options).item()

        tensor = fs.tensor(x.copy(), requires_grad=True)
        row.function(tensor, *map(fs.tensor, rest), reduction="sum", **options).backward()
        np.testing.assert_allclose(
            tensor.grad.numpy(), difference_quotients(sum_of_losses, x), rtol=1e-5, atol=1e-8
        )


@pytest.mark.parametrize("row", NUMBERED)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # the mean where all are ignored
def test_the_class_is_the_function(row: Row) -> None:
    for case in cases(row):
        options = options_for(case, fs.tensor)
        tensors = [fs.tensor(a) for a in case.arrays]
        weight = fs.tensor(case.sample_weight)
        for reduction in ("mean", "none"):
            loss = row.loss(reduction, **options)
            plain = row.function(*tensors, reduction=reduction, **options)
            np.testing.assert_array_equal(loss(*tensors).numpy(), plain.numpy())
            weighted = row.function(*tensors, reduction=reduction, sample_weight=weight, **options)
            np.testing.assert_array_equal(loss(*tensors, weight).numpy(), weighted.numpy())


def test_every_option_is_in_some_row() -> None:
    for name, rows in ROWS.items():
        rng = np.random.default_rng(0)
        tried = {
            key
            for row in rows
            for options in (given(**row.always), *row.options)
            for key in options(rng, np.zeros((2, 3)))
        }
        known = {f.name for f in dataclasses.fields(rows[0].loss)} - {"reduction"}
        assert tried == known, name


# That nothing escapes the table


def missing_rows() -> list[str]:
    return sorted({*registry.names("loss")} - {*ROWS})


def test_every_registered_loss_has_a_row() -> None:
    assert missing_rows() == []
    for name, rows in ROWS.items():
        assert {row.loss for row in rows} == {registry.load("loss", name)}


def test_every_public_loss_is_registered() -> None:
    rows = [row for rows in ROWS.values() for row in rows]
    in_rows = {row.loss.__name__ for row in rows} | {row.function.__name__ for row in rows}
    assert {*losses.__all__} - {"Configured", "Loss"} == in_rows


def test_a_loss_without_a_row_is_found(planted: Any) -> None:
    with planted(LossSpec("planted", "flagstone.losses:MSELoss")):
        assert missing_rows() == ["planted"]
    assert missing_rows() == []
