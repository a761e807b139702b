"""What losses refuse: typed errors of one line that name the loss; nothing broadcasts."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import losses, ops
from flagstone.backend import Backend
from flagstone.errors import DeviceMismatchError, DTypeError, FlagstoneError, InputError, ShapeError
from flagstone.named import make
from flagstone.plugins import registry
from flagstone.testing.loss_samples import LOSS_SAMPLES, guessed


def t(*shape: int, dtype: str = "float32") -> fs.Tensor:
    return fs.tensor(np.zeros(shape, dtype))


def i(*shape: int) -> fs.Tensor:
    return t(*shape, dtype="int64")


Good = tuple[Callable[..., fs.Tensor], Callable[[], tuple[fs.Tensor, ...]], tuple[str, ...]]


def good(kind: type[losses.Configured]) -> Good:
    """The function, arguments like those that the suite of losses draws, and their names."""
    sample, *_ = LOSS_SAMPLES.get(NAMES[kind]) or guessed(kind)
    like = [(a.shape[1:], "float32" if a.dtype.kind == "f" else "int64") for a in sample.arrays()]
    names = list(inspect.signature(kind.function).parameters)[: len(like)]
    return (
        kind.function,
        lambda: tuple(t(4, *shape, dtype=dtype) for shape, dtype in like),
        tuple(names),
    )


NAMES = {registry.load("loss", name): name for name in registry.names("loss")}
GOOD = {kind.function.__name__: good(kind) for kind in NAMES}
OF_CLASSES = [name for name, (_, make, _) in GOOD.items() if make()[1].dtype_name == "int64"]
OF_ELEMENTS = [
    name
    for name, (_, make, names) in GOOD.items()
    if names == ("x", "target") and name not in (*OF_CLASSES, "cosine_similarity")
]


def refused(error: type[FlagstoneError], message: str, name: str, *given: Any, **options: Any):
    with pytest.raises(error, match=message) as caught:
        GOOD[name][0](*given, **options)
    text = str(caught.value)
    assert text.startswith(f"{name}: "), text
    assert "\n" not in text


def test_every_public_function_is_here() -> None:
    functions = {name for name in losses.__all__ if name.islower()}
    assert functions == {*GOOD}


@pytest.mark.parametrize("name", GOOD)
class TestEvery:
    def test_good_arguments_are_taken(self, name: str) -> None:
        function, arguments, _ = GOOD[name]
        assert function(*arguments(), sample_weight=t(4), reduction="none").shape == (4,)

    @pytest.mark.parametrize("bad", [[0.0] * 4, np.zeros((4, 3), np.float32), None, 1.0])
    def test_what_is_no_tensor(self, name: str, bad: Any) -> None:
        _, arguments, names = GOOD[name]
        for place, argument in enumerate(names):
            given = [*arguments()]
            given[place] = bad
            refused(DTypeError, f"{argument} expected a Tensor; got", name, *given)
        if bad is not None:
            refused(
                DTypeError, "sample_weight expected a Tensor", name, *arguments(), sample_weight=bad
            )

    def test_other_shapes(self, name: str) -> None:
        _, arguments, names = GOOD[name]
        for place, argument in enumerate(names[1:], 1):
            for shape in ((4, 1), (1, 3), (3,), (1,), (), (4, 3, 1), (3, 4), (5,)):
                given = [*arguments()]
                if given[place].ndim == 1 and shape == (4,):
                    continue
                given[place] = t(*shape, dtype=given[place].dtype_name)
                refused(ShapeError, rf"{argument} expected shape .*got \(", name, *given)

    def test_other_dtypes(self, name: str) -> None:
        _, arguments, names = GOOD[name]
        for place in range(len(names)):
            for dtype in ("bool", "float64"):
                given = [*arguments()]
                given[place] = t(*given[place].shape, dtype=dtype)
                if dtype == "float64" and name in OF_CLASSES:
                    if place == 0:
                        continue  # logits of any floating dtype go with integers
                    refused(DTypeError, "target expected class numbers, integers", name, *given)
                else:
                    refused(DTypeError, f"expected .*{dtype}", name, *given)

    def test_sample_weights_that_do_not_fit(self, name: str) -> None:
        _, arguments, _ = GOOD[name]
        for shape in ((1,), (4, 1), (3,), (), (4, 3)):
            refused(
                ShapeError, r"sample_weight expected shape \(4,\); got", name, *arguments(),
                sample_weight=t(*shape),
            )  # fmt: skip
        for dtype in ("float64", "int64", "bool"):
            refused(
                DTypeError, f"expected one dtype; got x float32, sample_weight {dtype}", name,
                *arguments(), sample_weight=t(4, dtype=dtype),
            )  # fmt: skip

    def test_other_reductions(self, name: str) -> None:
        _, arguments, _ = GOOD[name]
        for bad in ("average", "batchmean", None, ["mean"]):
            refused(
                InputError, "reduction expected 'mean', 'sum' or 'none'; got", name, *arguments(),
                reduction=bad,
            )  # fmt: skip

    def test_the_mean_of_no_examples(self, name: str) -> None:
        function, arguments, _ = GOOD[name]
        none = [a[:0] for a in arguments()]
        refused(InputError, "at least one example", name, *none)
        assert function(*none, reduction="none").shape == (0,)
        assert function(*none, reduction="sum").item() == 0

    def test_another_device(self, name: str, strict: Backend) -> None:
        function, arguments, names = GOOD[name]
        elsewhere = fs.tensor(np.zeros(4, np.float32), device=strict)
        with pytest.raises(DeviceMismatchError, match="expected all arrays on one device"):
            function(*arguments(), sample_weight=elsewhere)
        for place in range(1, len(names)):
            given = [*arguments()]
            given[place] = fs.tensor(given[place].numpy(), device=strict)
            with pytest.raises(DeviceMismatchError, match="expected all arrays on one device"):
                function(*given)


@pytest.mark.parametrize("name", OF_ELEMENTS)
def test_a_scalar(name: str) -> None:
    refused(ShapeError, "x expected at least one axis, of examples; got a scalar", name, t(), t())


@pytest.mark.parametrize("name", [name for name in OF_ELEMENTS if name != "kl_div"])
def test_no_outputs(name: str) -> None:
    refused(ShapeError, r"x expected at least one output; got \(4, 0\)", name, t(4, 0), t(4, 0))


@pytest.mark.parametrize("name", OF_CLASSES)
def test_what_fits_no_classes(name: str) -> None:
    for shape in ((4,), (4, 2, 2), (4, 0), ()):
        refused(ShapeError, r"x expected \(n, classes\); got", name, t(*shape), i(4))
    refused(DTypeError, "x expected a floating-point dtype; got int64", name, i(4, 3), i(4))
    refused(DTypeError, r"integers; got float32 of shape \(4,\)", name, t(4, 3), t(4))
    for shape in ((1,), (3, 1), (), (4,)):
        message = r"weight expected shape \(3,\), one for each class; got"
        refused(ShapeError, message, name, t(4, 3), i(4), weight=t(*shape))
    wrong = t(3, dtype="float64")
    refused(DTypeError, "x float32, weight float64", name, t(4, 3), i(4), weight=wrong)
    refused(DTypeError, "weight expected a Tensor", name, t(4, 3), i(4), weight=[1, 1, 1])


def test_probabilities_that_do_not_fit() -> None:
    refused(ShapeError, r"target expected shape \(4, 3\)", "cross_entropy", t(4, 3), t(4, 1))
    refused(DTypeError, "one dtype", "cross_entropy", t(4, 3), t(4, 3, dtype="float64"))
    refused(
        InputError, "ignore_index expected class numbers for target; got probabilities",
        "cross_entropy", t(4, 3), t(4, 3), ignore_index=0,
    )  # fmt: skip


def test_pos_weights_that_do_not_fit() -> None:
    name = "binary_cross_entropy_with_logits"
    for shape in ((1,), (4, 3), (), (4,)):
        message = r"pos_weight expected shape \(3,\), of one example; got"
        refused(ShapeError, message, name, t(4, 3), t(4, 3), pos_weight=t(*shape))
    wrong = t(3, dtype="float64")
    refused(DTypeError, "pos_weight float64", name, t(4, 3), t(4, 3), pos_weight=wrong)


@pytest.mark.parametrize("name", ["cosine_similarity", "cosine_embedding", "triplet_margin"])
def test_what_is_no_vectors(name: str) -> None:
    _, arguments, names = GOOD[name]
    for shape in ((4,), (4, 0), (4, 3, 1)):
        given = [t(*shape) for _ in arguments()]
        refused(ShapeError, rf"{names[0]} expected \(n, features\); got", name, *given)


def test_pairs_are_told_apart_by_signed_numbers() -> None:
    refused(
        DTypeError, "target expected integers or float32; got bool", "cosine_embedding",
        t(4, 3), t(4, 3), t(4, dtype="bool"),
    )  # fmt: skip


NAN, INF = float("nan"), float("inf")
BAD_OPTIONS: dict[tuple[str, str], tuple[Any, ...]] = {
    ("huber", "delta"): (0, -1.0, NAN, INF, "1", None, True),
    ("smooth-l1", "beta"): (-1.0, NAN, INF, "1", None),
    ("quantile", "q"): (0, 1, -0.5, NAN, (0.1, 0.9)),
    ("poisson-nll", "log_input"): (1, None, "yes"),
    ("poisson-nll", "full"): (0, None),
    ("poisson-nll", "eps"): (0, -1e-8, NAN),
    ("binary-cross-entropy", "pos_weight"): (-1, NAN, [1.0], True),
    ("binary-focal", "gamma"): (-1, NAN, None),
    ("binary-focal", "alpha"): (-0.1, 1.1, NAN, "0"),
    ("hinge", "margin"): (0, -1, NAN),
    ("squared-hinge", "margin"): (0, -1, NAN),
    ("cross-entropy", "label_smoothing"): (-0.1, 1.1, NAN, None),
    ("cross-entropy", "ignore_index"): (1.0, "0", True),
    ("cross-entropy", "weight"): ([1.0],),
    ("focal", "gamma"): (-1, NAN, None),
    ("focal", "weight"): ([1.0],),
    ("multi-margin", "p"): (0, 3, 1.5, None, NAN),
    ("multi-margin", "margin"): (NAN, INF, None),
    ("multi-margin", "weight"): ([1.0],),
    ("kl-divergence", "log_target"): (1, None),
    ("cosine-embedding", "margin"): (1.1, -1.1, NAN),
    ("triplet-margin", "margin"): (0, -1, NAN),
    ("triplet-margin", "p"): (0.5, INF, NAN),
    ("triplet-margin", "eps"): (0, -1e-6, NAN),
    ("triplet-margin", "swap"): (1, None),
}


@pytest.mark.parametrize(("name", "option"), BAD_OPTIONS)
def test_options_are_checked_when_a_loss_is_made_and_when_called(name: str, option: str) -> None:
    loss = registry.load("loss", name)
    function, arguments, _ = GOOD[loss.function.__name__]
    for bad in BAD_OPTIONS[name, option]:
        with pytest.raises(InputError, match=rf"^{loss.__name__}: {option} expected [^\n]*; got"):
            loss(**{option: bad})
        error = DTypeError if option == "weight" else InputError
        if bad is not None or loss.__dataclass_fields__[option].default is not None:
            with pytest.raises(
                error, match=rf"^{function.__name__}: {option} expected [^\n]*; got"
            ):
                function(*arguments(), **{option: bad})


def test_every_bad_value_is_of_an_option() -> None:
    """``test_bad_arguments`` looks at every option; here are the limits of some."""
    known = {
        (name, option)
        for name in registry.names("loss")
        for option in (f.name for f in dataclasses.fields(registry.load("loss", name)))
        if option != "reduction"
    }
    assert known >= {*BAD_OPTIONS}


def test_a_class_refuses_other_reductions() -> None:
    with pytest.raises(InputError, match="MSELoss: reduction expected 'mean', 'sum' or 'none'"):
        losses.MSELoss("average")


def test_losses_are_made_of_text() -> None:
    assert repr(make("loss", "huber(delta=2.0)")) == "HuberLoss(reduction='mean', delta=2.0)"
    assert make("loss", "mse(reduction='sum')").reduction == "sum"
    with pytest.raises(FlagstoneError, match=r"no option 'delte'.*Did you mean 'delta'"):
        make("loss", "huber(delte=2.0)")


def test_a_stranger_adds_a_loss_in_two_lines() -> None:
    def largest(x, target, *, sample_weight=None, reduction="mean"):
        return ops.max(ops.abs(x - target))

    class Largest(losses.Loss):
        function = largest

    assert Largest()(fs.tensor([1.0, 5.0]), fs.tensor([1.0, 2.0])).item() == 3.0
