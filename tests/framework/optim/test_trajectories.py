"""Optimizers follow PyTorch's trajectories, or their papers' equations where PyTorch has none.

These are the table of optimizers: the name before a case's comma is the registered one.

It is long because every comparison needs the two networks, and groups the papers' equations too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn, optim
from flagstone.plugins import OptimizerSpec, registry

torch = pytest.importorskip("torch", reason="PyTorch, the reference, is not installed")

STEPS = 50
TOLERANCE = {"float64": 1e-9, "float32": 5e-4}

Options = dict[str, Any]
Weights = dict[str, np.ndarray]

CASES: dict[str, tuple[Any, Any, Options]] = {
    "sgd": (optim.SGD, torch.optim.SGD, {"lr": 0.05}),
    "sgd, weight decay": (optim.SGD, torch.optim.SGD, {"lr": 0.05, "weight_decay": 0.1}),
    "sgd, momentum": (optim.SGD, torch.optim.SGD, {"lr": 0.02, "momentum": 0.9}),
    "sgd, all options": (
        optim.SGD, torch.optim.SGD,
        {"lr": 0.02, "momentum": 0.8, "nesterov": True, "weight_decay": 0.05},
    ),
    "adam": (optim.Adam, torch.optim.Adam, {}),
    "adam, all options": (
        optim.Adam, torch.optim.Adam,
        {"lr": 0.01, "betas": (0.8, 0.99), "eps": 1e-3, "weight_decay": 0.1},
    ),
    "adam, no memory": (optim.Adam, torch.optim.Adam, {"lr": 0.01, "betas": (0.0, 0.0)}),
    "adamw": (optim.AdamW, torch.optim.AdamW, {}),
    "adamw, all options": (
        optim.AdamW, torch.optim.AdamW,
        {"lr": 0.01, "betas": (0.85, 0.95), "eps": 1e-6, "weight_decay": 0.5},
    ),
    "sgd, dampening": (
        optim.SGD, torch.optim.SGD,
        {"lr": 0.05, "momentum": 0.9, "dampening": 0.4, "weight_decay": 0.05},
    ),
    "nadam": (optim.NAdam, torch.optim.NAdam, {}),
    "nadam, all options": (
        optim.NAdam, torch.optim.NAdam,
        {"lr": 0.01, "betas": (0.8, 0.97), "eps": 1e-4, "weight_decay": 0.1, "momentum_decay": 0.1},
    ),
    "nadam, decoupled": (
        optim.NAdam, torch.optim.NAdam,
        {"lr": 0.01, "weight_decay": 0.3, "decoupled_weight_decay": True},
    ),
    "radam": (optim.RAdam, torch.optim.RAdam, {}),
    "radam, all options": (
        optim.RAdam, torch.optim.RAdam,
        {"lr": 0.01, "betas": (0.8, 0.97), "eps": 1e-4, "weight_decay": 0.1},
    ),
    "radam, decoupled": (
        optim.RAdam, torch.optim.RAdam,
        {"lr": 0.01, "weight_decay": 0.3, "decoupled_weight_decay": True},
    ),
    "radam, long memory": (optim.RAdam, torch.optim.RAdam, {"lr": 0.01, "betas": (0.9, 0.99999)}),
    "radam, memory too short to adapt": (
        optim.RAdam, torch.optim.RAdam, {"lr": 0.01, "betas": (0.9, 0.6)},
    ),
    "adamax": (optim.Adamax, torch.optim.Adamax, {}),
    "adamax, all options": (
        optim.Adamax, torch.optim.Adamax,
        {"lr": 0.01, "betas": (0.8, 0.9), "eps": 1e-4, "weight_decay": 0.1},
    ),
    "rmsprop": (optim.RMSprop, torch.optim.RMSprop, {}),
    "rmsprop, momentum": (
        optim.RMSprop, torch.optim.RMSprop,
        {"lr": 0.003, "alpha": 0.9, "eps": 1e-4, "weight_decay": 0.1, "momentum": 0.8},
    ),
    "rmsprop, all options": (
        optim.RMSprop, torch.optim.RMSprop,
        {"lr": 0.002, "alpha": 0.95, "eps": 1e-3, "momentum": 0.5, "centered": True},
    ),
    "adagrad": (optim.Adagrad, torch.optim.Adagrad, {}),
    "adagrad, all options": (
        optim.Adagrad, torch.optim.Adagrad,
        {
            "lr": 0.1, "lr_decay": 0.05, "weight_decay": 0.1, "initial_accumulator_value": 0.3,
            "eps": 1e-4,
        },
    ),
    "adadelta": (optim.Adadelta, torch.optim.Adadelta, {}),
    "adadelta, all options": (
        optim.Adadelta, torch.optim.Adadelta,
        {"lr": 2.0, "rho": 0.8, "eps": 1e-4, "weight_decay": 0.1},
    ),
}  # fmt: skip


def a_network(dtype: str) -> tuple[nn.Layer, Any]:
    ours = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 2)).initialize(0, dtype=dtype)
    theirs = torch.nn.Sequential(
        torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 2)
    ).to(getattr(torch, dtype))  # fmt: skip
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in ours.state_dict().items()})
    return ours, theirs


def batches(dtype: str, n: int = STEPS) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(1)
    for _ in range(n):
        yield rng.standard_normal((6, 5)).astype(dtype), rng.standard_normal((6, 2)).astype(dtype)


def our_gradient(layer: nn.Layer, x: np.ndarray, y: np.ndarray) -> None:
    for p in layer.parameters():
        p.grad = None
    fs.losses.mse(layer(fs.tensor(x)), fs.tensor(y)).backward()


def their_gradient(module: Any, x: np.ndarray, y: np.ndarray) -> None:
    module.zero_grad()
    torch.nn.functional.mse_loss(module(torch.from_numpy(x)), torch.from_numpy(y)).backward()


def assert_equal(ours: nn.Layer, theirs: Weights, tolerance: float) -> None:
    own = ours.state_dict()
    assert own.keys() == theirs.keys()
    for name, value in theirs.items():
        np.testing.assert_allclose(own[name], value, rtol=tolerance, atol=tolerance, err_msg=name)


def weights_of(module: Any) -> Weights:
    return {name: value.numpy() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_fifty_steps(name: str, dtype: str) -> None:
    make_ours, make_theirs, options = CASES[name]
    ours, theirs = a_network(dtype)
    start = ours.state_dict()
    optimizer = make_ours(ours, **options)
    reference = make_theirs(theirs.parameters(), **options)
    assert optimizer.lr == pytest.approx(reference.param_groups[0]["lr"], rel=1e-7)
    for x, y in batches(dtype):
        our_gradient(ours, x, y)
        optimizer.step()
        their_gradient(theirs, x, y)
        reference.step()
    assert_equal(ours, weights_of(theirs), TOLERANCE[dtype])
    moved = max(np.abs(start[k] - v).max() for k, v in ours.state_dict().items())
    assert moved > 0.001


# The papers' equations, in NumPy. Each takes a parameter, its gradient, what it keeps of the
# parameter from step to step, and the number of the step from 1; it returns the new parameter.

Equations = Callable[[np.ndarray, np.ndarray, dict[str, Any], int], np.ndarray]


def lion(lr: float, b1: float, b2: float, decay: float) -> Equations:
    """Chen et al., NeurIPS 2023, program 1."""

    def step(p: np.ndarray, g: np.ndarray, kept: dict[str, Any], _: int) -> np.ndarray:
        m = kept.setdefault("m", np.zeros_like(p))
        update = np.sign(m * b1 + g * (1 - b1))
        kept["m"] = m * b2 + g * (1 - b2)
        return p - lr * (update + decay * p)

    return step


def lamb(lr: float, b1: float, b2: float, eps: float, decay: float) -> Equations:
    """You et al., ICLR 2020, algorithm 2."""

    def step(p: np.ndarray, g: np.ndarray, kept: dict[str, Any], t: int) -> np.ndarray:
        kept["m"] = b1 * kept.get("m", 0.0) + (1 - b1) * g
        kept["v"] = b2 * kept.get("v", 0.0) + (1 - b2) * g**2
        r = kept["m"] / (1 - b1**t) / (np.sqrt(kept["v"] / (1 - b2**t)) + eps) + decay * p
        size, length = np.linalg.norm(p), np.linalg.norm(r)
        ratio = size / length if size > 0 and length > 0 else 1.0
        return p - lr * ratio * r

    return step


def newton_schulz(g: np.ndarray, steps: int = 5) -> np.ndarray:
    """Jordan et al., "Muon: An optimizer for hidden layers", 2024; there the norm plus 1e-7."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g / max(np.linalg.norm(g), 1e-7)
    if g.shape[0] > g.shape[1]:
        x = x.T
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if g.shape[0] > g.shape[1] else x


def muon(lr: float, beta: float, decay: float, adamw_lr: float) -> Equations:
    """The same, with AdamW (0.9, 0.95, 1e-10) for what is no matrix."""

    def step(p: np.ndarray, g: np.ndarray, kept: dict[str, Any], t: int) -> np.ndarray:
        if p.ndim < 2:
            kept["m"] = 0.9 * kept.get("m", 0.0) + 0.1 * g
            kept["v"] = 0.95 * kept.get("v", 0.0) + 0.05 * g**2
            root = np.sqrt(kept["v"] / (1 - 0.95**t)) + 1e-10
            return p * (1 - adamw_lr * decay) - adamw_lr * kept["m"] / (1 - 0.9**t) / root
        kept["m"] = beta * kept.get("m", 0.0) + (1 - beta) * g
        ahead = (1 - beta) * g + beta * kept["m"]
        flat = ahead.reshape(len(p), -1)
        o = newton_schulz(flat) * max(1.0, flat.shape[0] / flat.shape[1]) ** 0.5
        return p * (1 - lr * decay) - lr * o.reshape(p.shape)

    return step


PAPERS: dict[str, tuple[Any, Options, Equations]] = {
    "lion": (optim.Lion, {"lr": 0.01}, lion(0.01, 0.9, 0.99, 0.0)),
    "lion, all options": (
        optim.Lion, {"lr": 0.01, "betas": (0.8, 0.9), "weight_decay": 0.3},
        lion(0.01, 0.8, 0.9, 0.3),
    ),
    "lamb": (optim.LAMB, {"lr": 0.01}, lamb(0.01, 0.9, 0.999, 1e-6, 0.01)),
    "lamb, all options": (
        optim.LAMB, {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.3},
        lamb(0.01, 0.8, 0.95, 1e-3, 0.3),
    ),
    "muon": (optim.Muon, {"lr": 0.02, "adamw_lr": 0.003}, muon(0.02, 0.95, 0.1, 0.003)),
    "muon, all options": (
        optim.Muon, {"lr": 0.01, "weight_decay": 0.4, "momentum": 0.8, "adamw_lr": 0.02},
        muon(0.01, 0.8, 0.4, 0.02),
    ),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", PAPERS)
def test_fifty_steps_of_a_paper(name: str, dtype: str) -> None:
    make, options, equations = PAPERS[name]
    ours, theirs = a_network(dtype)
    theirs.double()  # gradients are computed in float64, at the equations' own parameters
    optimizer = make(ours, **options)
    kept: dict[str, dict[str, Any]] = {name: {} for name, _ in theirs.named_parameters()}
    # Lion's sign turns a rounding error into a step: where float32 may differ from the equations,
    # its parameters may by a few steps.
    tolerance = TOLERANCE[dtype] if "lion" not in name or dtype == "float64" else 0.05
    for t, (x, y) in enumerate(batches(dtype), start=1):
        our_gradient(ours, x, y)
        optimizer.step()
        their_gradient(theirs, x.astype("float64"), y.astype("float64"))
        with torch.no_grad():
            for key, p in theirs.named_parameters():
                p.copy_(torch.from_numpy(equations(p.numpy(), p.grad.numpy(), kept[key], t)))
    assert_equal(ours, weights_of(theirs), tolerance)


@pytest.mark.parametrize("adjust", [None, "original", "match_rms_adamw"])
def test_muon_is_torchs_without_bfloat16(adjust: str | None, monkeypatch: Any) -> None:
    """PyTorch makes matrices orthogonal in bfloat16, three digits; here in the dtype they have."""
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda tensor: tensor.clone())
    ours, theirs = a_network("float64")
    optimizer = optim.Muon(ours, 0.01, adjust_lr_fn=adjust, adamw_lr=0.004, weight_decay=0.2)
    matrices = [p for p in theirs.parameters() if p.ndim == 2]
    others = [p for p in theirs.parameters() if p.ndim < 2]
    references = [
        torch.optim.Muon(matrices, 0.01, adjust_lr_fn=adjust, weight_decay=0.2),
        torch.optim.AdamW(others, 0.004, betas=(0.9, 0.95), eps=1e-10, weight_decay=0.2),
    ]
    for x, y in batches("float64"):
        our_gradient(ours, x, y)
        optimizer.step()
        their_gradient(theirs, x, y)
        for reference in references:
            reference.step()
    assert_equal(ours, weights_of(theirs), 1e-9)


def test_muon_flattens_convolutions_and_leaves_what_is_named_to_adamw() -> None:
    layer = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(12, 2))
    layer.initialize(0, dtype="float64")
    before = {name: np.array(p.numpy()) for name, p in layer.named_parameters()}
    optimizer = optim.Muon(layer, 0.1, weight_decay=0.0, adamw=("2.*",), adamw_lr=0.001)
    x = np.random.default_rng(0).standard_normal((5, 4, 4, 2))
    (layer(fs.tensor(x)) ** 2).sum().backward()
    gradients = {name: np.array(p.grad.numpy()) for name, p in layer.named_parameters()}
    optimizer.step()
    moved = {name: before[name] - p.numpy() for name, p in layer.named_parameters()}
    expected = 0.1 * newton_schulz(gradients["0.weight"].reshape(3, -1))
    np.testing.assert_allclose(moved["0.weight"].reshape(3, -1), expected, rtol=1e-9)
    for name in ("0.bias", "2.weight", "2.bias"):  # AdamW's first step is the rate, by the sign
        np.testing.assert_allclose(moved[name], 0.001 * np.sign(gradients[name]), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_lookahead_is_its_paper(dtype: str) -> None:
    """Zhang et al., NeurIPS 2019, algorithm 1, around PyTorch's Adam."""
    ours, theirs = a_network(dtype)
    optimizer = optim.Lookahead(optim.Adam(ours, 0.02), k=4, alpha=0.3)
    reference = torch.optim.Adam(theirs.parameters(), 0.02)
    slow = [p.detach().clone() for p in theirs.parameters()]
    for t, (x, y) in enumerate(batches(dtype), start=1):
        our_gradient(ours, x, y)
        optimizer.step()
        their_gradient(theirs, x, y)
        reference.step()
        if t % 4 == 0:
            with torch.no_grad():
                for s, p in zip(slow, theirs.parameters(), strict=True):
                    s += 0.3 * (p - s)
                    p.copy_(s)
    assert_equal(ours, weights_of(theirs), TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_average_is_torchs(dtype: str) -> None:
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    ours, theirs = a_network(dtype)
    optimizer = optim.EMA(optim.SGD(ours, 0.05, momentum=0.9), decay=0.9)
    reference = torch.optim.SGD(theirs.parameters(), 0.05, momentum=0.9)
    averaged = AveragedModel(theirs, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for x, y in batches(dtype):
        our_gradient(ours, x, y)
        optimizer.step()
        their_gradient(theirs, x, y)
        reference.step()
        averaged.update_parameters(theirs)
    before = ours.state_dict()
    with optimizer.averages():
        assert_equal(ours, weights_of(averaged.module), TOLERANCE[dtype])
    for name, value in ours.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert_equal(ours, weights_of(theirs), TOLERANCE[dtype])
    optimizer.use_averages()
    assert_equal(ours, weights_of(averaged.module), TOLERANCE[dtype])


def test_clip_value() -> None:
    ours, theirs = a_network("float64")
    optimizer = optim.SGD(ours, 0.1, momentum=0.9, clip_value=0.02, clip_norm=0.1)
    reference = torch.optim.SGD(theirs.parameters(), 0.1, momentum=0.9)
    clipped = []
    for x, y in batches("float64", 20):
        our_gradient(ours, x, 6 * y)
        optimizer.step(scale=fs.tensor(np.asarray(0.25)))  # the limit is on the scaled gradient
        their_gradient(theirs, x, 6 * y)
        for p in theirs.parameters():
            p.grad *= 0.25
        torch.nn.utils.clip_grad_value_(theirs.parameters(), 0.02)
        clipped.append(float(torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.1)) > 0.1)
        reference.step()
    assert any(clipped)
    assert_equal(ours, weights_of(theirs), 1e-9)


GROUPED: dict[str, tuple[Any, Any, Options]] = {
    "sgd": (optim.SGD, torch.optim.SGD, {"momentum": 0.9, "dampening": 0.3}),
    "sgd, nesterov": (optim.SGD, torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "adam": (optim.Adam, torch.optim.Adam, {}),
    "adamw": (optim.AdamW, torch.optim.AdamW, {}),
    "nadam": (optim.NAdam, torch.optim.NAdam, {"decoupled_weight_decay": True}),
    "radam": (optim.RAdam, torch.optim.RAdam, {}),
    "adamax": (optim.Adamax, torch.optim.Adamax, {}),
    "rmsprop": (optim.RMSprop, torch.optim.RMSprop, {"momentum": 0.5}),
    "adagrad": (optim.Adagrad, torch.optim.Adagrad, {}),
    "adadelta": (optim.Adadelta, torch.optim.Adadelta, {}),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", GROUPED)
def test_groups_are_torchs(name: str, dtype: str) -> None:
    make_ours, make_theirs, options = GROUPED[name]
    ours, theirs = a_network(dtype)
    optimizer = make_ours(
        ours, 0.01, weight_decay=0.2, decay_biases=False,
        groups={"0.*": {"lr_scale": 0.25}, "2.weight": {"weight_decay": 0.7, "lr_scale": 2.0}},
        **options,
    )  # fmt: skip
    own = dict(theirs.named_parameters())
    reference = make_theirs(
        [
            {"params": [own["0.weight"]], "lr": 0.0025, "weight_decay": 0.2},
            {"params": [own["0.bias"]], "lr": 0.0025, "weight_decay": 0.0},
            {"params": [own["2.weight"]], "lr": 0.02, "weight_decay": 0.7},
            {"params": [own["2.bias"]], "lr": 0.01, "weight_decay": 0.0},
        ],
        **options,
    )
    for x, y in batches(dtype):
        our_gradient(ours, x, y)
        optimizer.step()
        their_gradient(theirs, x, y)
        reference.step()
    assert_equal(ours, weights_of(theirs), TOLERANCE[dtype])


GROUPED_PAPERS: dict[str, tuple[Any, Options, Callable[[float, float], Equations]]] = {
    "lion": (optim.Lion, {}, lambda lr, decay: lion(lr, 0.9, 0.99, decay)),
    "lamb": (optim.LAMB, {}, lambda lr, decay: lamb(lr, 0.9, 0.999, 1e-6, decay)),
    "muon": (optim.Muon, {"adamw_lr": 0.01}, lambda lr, decay: muon(lr, 0.95, decay, lr)),
}


@pytest.mark.parametrize("name", GROUPED_PAPERS)
def test_groups_of_a_paper(name: str) -> None:
    make, options, equations = GROUPED_PAPERS[name]
    ours, theirs = a_network("float64")
    optimizer = make(
        ours, 0.01, weight_decay=0.2, decay_biases=False, groups={"2.*": {"lr_scale": 2.0}},
        **options,
    )  # fmt: skip
    rules = {
        "0.weight": equations(0.01, 0.2), "0.bias": equations(0.01, 0.0),
        "2.weight": equations(0.02, 0.2), "2.bias": equations(0.02, 0.0),
    }  # fmt: skip
    kept: dict[str, dict[str, Any]] = {name: {} for name in rules}
    for t, (x, y) in enumerate(batches("float64"), start=1):
        our_gradient(ours, x, y)
        optimizer.step()
        their_gradient(theirs, x, y)
        with torch.no_grad():
            for key, p in theirs.named_parameters():
                p.copy_(torch.from_numpy(rules[key](p.numpy(), p.grad.numpy(), kept[key], t)))
    assert_equal(ours, weights_of(theirs), 1e-9)


# That nothing escapes the tables

ELSEWHERE = {
    "lookahead": "test_lookahead_is_its_paper, above",
    "lbfgs": "test_lbfgs.py, for its step takes a closure",
}


def missing_rows() -> list[str]:
    covered = {name.partition(",")[0] for name in (*CASES, *PAPERS)}
    return sorted({*registry.names("optimizer")} - covered - {*ELSEWHERE})


def test_every_registered_optimizer_has_a_row() -> None:
    assert missing_rows() == []
    for name, row in (*CASES.items(), *PAPERS.items()):
        assert registry.load("optimizer", name.partition(",")[0]) is row[0]


def test_an_optimizer_without_a_row_is_found(planted: Any) -> None:
    with planted(OptimizerSpec("planted", "flagstone.optim:SGD")):
        assert missing_rows() == ["planted"]
    assert missing_rows() == []
