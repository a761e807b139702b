"""Updates of flat arrays over several blocks and steps, against the generic forms in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flagstone.ops import ALL_OPS
from flagstone_cupy.table import KERNELS

RNG = np.random.default_rng(31)
ADAM = {"beta1": 0.9, "beta2": 0.99, "eps": 1e-8}
# name -> its arrays in order (a letter for what kind), and static arguments
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("p g n lr scale", {"momentum": 0.0, "nesterov": False}),
    "sgd momentum": ("p g m lr scale", {"momentum": 0.9, "nesterov": False}),
    "sgd nesterov": ("p g m lr scale rates decays", {"momentum": 0.9, "nesterov": True}),
    "sgd dampened": (
        "p g m lr scale n n t",
        {"momentum": 0.9, "nesterov": False, "dampening": 0.3},
    ),
    "adam": ("p g m v t lr scale", {**ADAM, "decoupled": False}),
    "adam apart": ("p g m v t lr scale rates decays", {**ADAM, "decoupled": True}),
    "adam without": ("p g m v t lr scale", {**ADAM, "beta1": 0.0, "decoupled": True}),
    "nadam": ("p g m v t one lr scale rates decays",
              {**ADAM, "decoupled": False, "momentum_decay": 4e-3}),
    "radam": ("p g m v t lr scale rates decays", {**ADAM, "decoupled": True}),
    "radam short": ("p g m v t lr scale", {**ADAM, "beta2": 0.5, "decoupled": False}),
    "adamax": ("p g m v t lr scale rates decays", ADAM),
    "rmsprop": ("p g v n n lr scale", {"alpha": 0.9, "eps": 1e-8, "momentum": 0.0}),
    "rmsprop centred": ("p g v m m lr scale rates decays",
                        {"alpha": 0.9, "eps": 1e-8, "momentum": 0.5}),
    "adagrad": ("p g v t lr scale rates decays", {"lr_decay": 0.1, "eps": 1e-8}),
    "adadelta": ("p g v v lr scale rates decays", {"rho": 0.9, "eps": 1e-6}),
    "lion": ("p g m lr scale rates decays", {"beta1": 0.9, "beta2": 0.99}),
}  # fmt: skip
KINDS = {
    "p": lambda n: RNG.standard_normal(n), "g": lambda n: RNG.standard_normal(n),
    "m": lambda n: np.zeros(n), "v": lambda n: np.zeros(n), "n": lambda n: None,
    "t": lambda n: np.zeros(()), "one": lambda n: np.ones(()), "lr": lambda n: np.array(0.05),
    "scale": lambda n: np.array(0.5), "rates": lambda n: RNG.uniform(0.5, 2, n),
    "decays": lambda n: RNG.uniform(0, 0.1, n),
}  # fmt: skip


def steps(name: str, arrays: list[Any], static: dict[str, Any], dtype: str, count: int) -> None:
    """The kernel and the generic form, the second in float64, side by side."""
    here = [None if a is None else np.array(a, dtype) for a in arrays]
    there = [None if a is None else a.astype("float64") for a in here]
    for _ in range(count):
        assert KERNELS[name](*here, **static) == ()
        ALL_OPS[name].generic(np, *there, **static)
        tolerance = 2e-5 if dtype == "float32" else 1e-12
        for a, b in zip(here, there, strict=True):
            if a is not None:
                np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.covers("update.cu:sgd_update", "update.cu:count_step")
@pytest.mark.parametrize("n", [1, 1025, 2300])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sgd(card: Any, dtype: str, n: int) -> None:
    for case in ("sgd", "sgd momentum", "sgd nesterov", "sgd dampened"):
        kinds, static = CASES[case]
        arrays = [KINDS[kind](n) for kind in kinds.split()]
        steps("sgd_update", arrays, {"weight_decay": 0.01, **static}, dtype, 3)


@pytest.mark.covers(
    "update.cu:adam_update", "update.cu:nadam_update", "update.cu:nadam_step",
    "update.cu:radam_update", "update.cu:count_step", "adaptive_update.cu:adamax_update",
    "adaptive_update.cu:rmsprop_update", "adaptive_update.cu:adagrad_update",
    "adaptive_update.cu:adadelta_update", "adaptive_update.cu:lion_update",
)  # fmt: skip
@pytest.mark.parametrize("n", [1, 1500])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_adaptive_updates(card: Any, dtype: str, n: int) -> None:
    for case, (kinds, static) in CASES.items():
        name = f"{case.split()[0]}_update"
        arrays = [KINDS[kind](n) for kind in kinds.split()]
        for decay in (0.0, 0.01):
            steps(
                name, arrays, {"weight_decay": decay, **static}, dtype, 7
            )  # RAdam adapts from the 6th


@pytest.mark.covers(
    "update.cu:lamb_direction", "adaptive_update.cu:momentum_direction",
    "adaptive_update.cu:trust_update",
)  # fmt: skip
@pytest.mark.parametrize("n", [1, 1500])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_directions(card: Any, dtype: str, n: int) -> None:
    p, g, zeros = RNG.standard_normal(n), RNG.standard_normal(n), np.zeros(n)
    scale, t = np.array(0.5), np.array(0.0)
    arrays = [p, g, zeros, zeros, zeros, t, scale]
    steps("lamb_direction", arrays, {**ADAM, "weight_decay": 0.01}, dtype, 3)
    decays = RNG.uniform(0, 0.1, n)
    steps("lamb_direction", [*arrays, decays], {**ADAM, "weight_decay": 0.0}, dtype, 3)
    for nesterov in (False, True):
        static = {"momentum": 0.9, "nesterov": nesterov}
        steps("momentum_direction", [g, zeros, zeros, scale], static, dtype, 3)
    steps("trust_update", [p, g, np.array(0.1)], {"rate": 0.5}, dtype, 2)
    steps("trust_update", [p, zeros, np.array(0.1)], {"rate": 0.5}, dtype, 1)


@pytest.mark.covers(
    "adaptive_update.cu:limit", "adaptive_update.cu:lookahead_update",
    "adaptive_update.cu:count_to", "adaptive_update.cu:average_update", "adaptive_update.cu:mix",
    "adaptive_update.cu:accumulate",
)  # fmt: skip
@pytest.mark.parametrize("n", [1, 1500])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_goes_around_an_update(card: Any, dtype: str, n: int) -> None:
    p, q = RNG.standard_normal((2, n))
    p[0] = np.nan
    steps("limit", [p, np.array(0.5)], {}, dtype, 1)
    p[0] = 9
    steps("lookahead_update", [p, q, np.zeros(())], {"k": 2, "alpha": 0.3}, dtype, 5)
    steps("average_update", [q, p, np.zeros(())], {"decay": 0.9}, dtype, 3)
    steps("interpolate", [p, q], {"weight": 0.1}, dtype, 2)
    steps("accumulate", [p, q], {}, dtype, 2)


@pytest.mark.covers("adaptive_update.cu:accumulate")
def test_integers_accumulate(card: Any) -> None:
    out, x = np.arange(5), np.full(5, 2**40)
    KERNELS["accumulate"](out, x)
    np.testing.assert_array_equal(out, np.arange(5) + 2**40)
