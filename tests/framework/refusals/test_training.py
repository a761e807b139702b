"""Wrong calls of losses, optimizers, schedules, initialisers: what PyTorch refuses, ours refuse."""

# Wrong types are what is tested
# mypy: disable-error-code="arg-type, list-item, call-overload, func-returns-value, call-arg"

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import losses, nn, optim, schedules
from flagstone.errors import UnknownNameError

torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
F, tn, to = torch.nn.functional, torch.nn, torch.optim
ts = torch.optim.lr_scheduler
KEY = fs.random.key(0, "init", "weight")


def o(*shape: int, d: str = "float32") -> fs.Tensor:
    return fs.tensor(np.ones(shape, d))


def p(*shape: int, d: str = "float32") -> Any:
    return torch.ones(shape, dtype=getattr(torch, d))


def oi(*values: int) -> fs.Tensor:
    return fs.tensor(np.array(values, np.int64))


def pi(*values: int) -> Any:
    return torch.tensor(values, dtype=torch.int64)


def ol() -> nn.Layer:
    return nn.Linear(2, 2).initialize(0)


def pl() -> list[Any]:
    return list(tn.Linear(2, 2).parameters())


def opt() -> Any:
    return to.SGD(pl(), lr=0.1)


def muon(**options: Any) -> Any:
    """PyTorch's looks at some options when it steps."""
    weight = torch.ones(2, 2, requires_grad=True)
    weight.sum().backward()
    return to.Muon([weight], **options).step()


# What is refused: words of our message before "got", our call, PyTorch's
WRONG: dict[str, Any] = {
    "cross entropy labels shape": (
        "target expect", lambda: losses.cross_entropy(o(3, 4), oi(0, 1)),
        lambda: F.cross_entropy(p(3, 4), pi(0, 1)),
    ),
    "cross entropy label floats": (
        "target expect", lambda: losses.cross_entropy(o(3, 4), o(3)),
        lambda: F.cross_entropy(p(3, 4), p(3)),
    ),
    "cross entropy weight": (
        "weight expect", lambda: losses.cross_entropy(o(3, 4), oi(0, 1, 2), weight=o(3)),
        lambda: F.cross_entropy(p(3, 4), pi(0, 1, 2), weight=p(3)),
    ),
    "cross entropy smoothing": (
        "label_smoothing expect",
        lambda: losses.cross_entropy(o(3, 4), oi(0, 1, 2), label_smoothing=1.5),
        lambda: F.cross_entropy(p(3, 4), pi(0, 1, 2), label_smoothing=1.5),
    ),
    "cross entropy probabilities": (
        "target expect", lambda: losses.cross_entropy(o(3, 4), o(3, 5)),
        lambda: F.cross_entropy(p(3, 4), p(3, 5)),
    ),
    "cross entropy reduction": (
        "reduction expect", lambda: losses.cross_entropy(o(3, 4), oi(0, 1, 2), reduction="average"),
        lambda: F.cross_entropy(p(3, 4), pi(0, 1, 2), reduction="average"),
    ),
    "bce shapes": (
        "target expect", lambda: losses.binary_cross_entropy_with_logits(o(3), o(3, 1)),
        lambda: F.binary_cross_entropy_with_logits(p(3), p(3, 1)),
    ),
    "bce pos_weight": (
        "pos_weight expect",
        lambda: losses.binary_cross_entropy_with_logits(o(3, 2), o(3, 2), pos_weight=o(3)),
        lambda: F.binary_cross_entropy_with_logits(p(3, 2), p(3, 2), pos_weight=p(3)),
    ),
    "bce target integers": (
        "target expect", lambda: losses.binary_cross_entropy_with_logits(o(3), oi(0, 1, 1)),
        lambda: F.binary_cross_entropy_with_logits(p(3), torch.ones(3, dtype=torch.bool)),
    ),
    "mse shapes": (
        "target expect", lambda: losses.mse(o(3, 2), o(4, 2)), lambda: F.mse_loss(p(3, 2), p(4, 2)),
    ),
    "mae shapes": (
        "target expect", lambda: losses.mae(o(3, 2), o(4, 2)), lambda: F.l1_loss(p(3, 2), p(4, 2)),
    ),
    "huber shapes": (
        "target expect", lambda: losses.huber(o(3, 2), o(4, 2)),
        lambda: F.huber_loss(p(3, 2), p(4, 2)),
    ),
    "huber delta": (
        "delta expect", lambda: losses.huber(o(3), o(3), delta=0.0),
        lambda: F.huber_loss(p(3), p(3), delta=0.0),
    ),
    "smooth l1 beta": (
        "beta expect", lambda: losses.smooth_l1(o(3), o(3), beta=-1.0),
        lambda: F.smooth_l1_loss(p(3), p(3), beta=-1.0),
    ),
    "poisson shapes": (
        "target expect", lambda: losses.poisson_nll(o(3, 2), o(4, 2)),
        lambda: F.poisson_nll_loss(p(3, 2), p(4, 2)),
    ),
    "poisson reduction": (
        "reduction expect", lambda: losses.poisson_nll(o(3), o(3), reduction="total"),
        lambda: F.poisson_nll_loss(p(3), p(3), reduction="total"),
    ),
    "kl shapes": (
        "target expect", lambda: losses.kl_div(o(3, 2), o(4, 2)),
        lambda: F.kl_div(p(3, 2), p(4, 2)),
    ),
    "cosine target": (
        "target expect", lambda: losses.cosine_embedding(o(3, 2), o(3, 2), o(2)),
        lambda: F.cosine_embedding_loss(p(3, 2), p(3, 2), p(2)),
    ),
    "cosine shapes": (
        "x2 expect", lambda: losses.cosine_embedding(o(3, 2), o(3, 4), o(3)),
        lambda: F.cosine_embedding_loss(p(3, 2), p(3, 4), p(3)),
    ),
    "triplet margin": (
        "margin expect", lambda: losses.triplet_margin(o(3, 2), o(3, 2), o(3, 2), margin=-1.0),
        lambda: F.triplet_margin_loss(p(3, 2), p(3, 2), p(3, 2), margin=-1.0),
    ),
    "triplet shapes": (
        "positive expect", lambda: losses.triplet_margin(o(3, 2), o(3, 4), o(3, 2)),
        lambda: F.triplet_margin_loss(p(3, 2), p(3, 4), p(3, 2)),
    ),
    "triplet axes": (
        "positive expect", lambda: losses.triplet_margin(o(3, 2), o(2), o(3, 2)),
        lambda: F.triplet_margin_loss(p(3, 2), p(2), p(3, 2)),
    ),
    "multi margin target": (
        "target expect", lambda: losses.multi_margin(o(3, 4), oi(0, 1)),
        lambda: F.multi_margin_loss(p(3, 4), pi(0, 1)),
    ),
    "mse of text": ("target expect", lambda: losses.mse(o(3), "y"), lambda: F.mse_loss(p(3), "y")),
    "loss reduction": (
        "reduction expect", lambda: losses.MSELoss(reduction="average")(o(3), o(3)),
        lambda: tn.MSELoss(reduction="average")(p(3), p(3)),
    ),
    "sgd momentum": (
        "momentum expect", lambda: optim.SGD(ol(), 0.1, momentum=-0.5),
        lambda: to.SGD(pl(), lr=0.1, momentum=-0.5),
    ),
    "sgd nesterov": (
        "nesterov expect", lambda: optim.SGD(ol(), 0.1, nesterov=True),
        lambda: to.SGD(pl(), lr=0.1, nesterov=True),
    ),
    "sgd nesterov dampening": (
        "nesterov expect", lambda: optim.SGD(ol(), 0.1, momentum=0.9, dampening=0.1, nesterov=True),
        lambda: to.SGD(pl(), lr=0.1, momentum=0.9, dampening=0.1, nesterov=True),
    ),
    "nadam momentum_decay": (
        "momentum_decay expect", lambda: optim.NAdam(ol(), 0.1, momentum_decay=-1.0),
        lambda: to.NAdam(pl(), lr=0.1, momentum_decay=-1.0),
    ),
    "rmsprop alpha": (
        "alpha expect", lambda: optim.RMSprop(ol(), 0.1, alpha=-1.0),
        lambda: to.RMSprop(pl(), lr=0.1, alpha=-1.0),
    ),
    "rmsprop momentum": (
        "momentum expect", lambda: optim.RMSprop(ol(), 0.1, momentum=-1.0),
        lambda: to.RMSprop(pl(), lr=0.1, momentum=-1.0),
    ),
    "adagrad lr_decay": (
        "lr_decay expect", lambda: optim.Adagrad(ol(), 0.1, lr_decay=-1.0),
        lambda: to.Adagrad(pl(), lr=0.1, lr_decay=-1.0),
    ),
    "adagrad accumulator": (
        "initial_accumulator_value expect",
        lambda: optim.Adagrad(ol(), 0.1, initial_accumulator_value=-1.0),
        lambda: to.Adagrad(pl(), lr=0.1, initial_accumulator_value=-1.0),
    ),
    "adadelta rho": (
        "rho expect", lambda: optim.Adadelta(ol(), 0.1, rho=1.5),
        lambda: to.Adadelta(pl(), lr=0.1, rho=1.5),
    ),
    "lbfgs lr": ("lr expect", lambda: optim.LBFGS(ol(), -1.0), lambda: to.LBFGS(pl(), lr=-1.0)),
    "lbfgs no closure": (
        "step expect", lambda: optim.LBFGS(ol(), 1.0).step(), lambda: to.LBFGS(pl()).step(),
    ),
    "muon lr": (
        "lr expect", lambda: optim.Muon(ol(), -1.0),
        lambda: to.Muon([torch.ones(2, 2, requires_grad=True)], lr=-1.0),
    ),
    "muon momentum": (
        "momentum expect", lambda: optim.Muon(ol(), 1.0, momentum=-1.0),
        lambda: to.Muon([torch.ones(2, 2, requires_grad=True)], momentum=-1.0),
    ),
    "muon steps": (
        "ns_steps expect", lambda: optim.Muon(ol(), 1.0, ns_steps=100), lambda: muon(ns_steps=100),
    ),
    "muon adjust": (
        "adjust_lr_fn expect", lambda: optim.Muon(ol(), 1.0, adjust_lr_fn="x"),
        lambda: to.Muon([torch.ones(2, 2, requires_grad=True)], adjust_lr_fn="x"),
    ),
    "optimizer state": (
        "SGD expect", lambda: optim.SGD(ol(), 0.1, momentum=0.9).load_state_dict({"x": np.ones(2)}),
        lambda: to.SGD(pl(), 0.1, momentum=0.9).load_state_dict({"x": 1}),
    ),
    "one cycle rise": (
        "0 < rise < 1", lambda: schedules.OneCycle(rise=1.5),
        lambda: ts.OneCycleLR(opt(), 1.0, total_steps=10, pct_start=1.5),
    ),
    "cosine restarts period": (
        "period expect", lambda: schedules.CosineRestarts(0),
        lambda: ts.CosineAnnealingWarmRestarts(opt(), 0),
    ),
    "constant text": (
        "value expect", lambda: nn.init.constant("1"),
        lambda: tn.init.constant_(torch.ones(3), "1"),
    ),
    "cosine restarts times": (
        "times expect", lambda: schedules.CosineRestarts(5, times=0),
        lambda: ts.CosineAnnealingWarmRestarts(opt(), 5, T_mult=0),
    ),
    "plateau factor": (
        "factor expect", lambda: schedules.ReduceOnPlateau(1.0),
        lambda: ts.ReduceLROnPlateau(opt(), factor=1.0),
    ),
    "plateau mode": (
        "threshold_mode expect", lambda: schedules.ReduceOnPlateau(threshold_mode="x"),
        lambda: ts.ReduceLROnPlateau(opt(), threshold_mode="x"),
    ),
    "linear start": (
        "start expect", lambda: schedules.Linear(start=-1.0),
        lambda: ts.LinearLR(opt(), start_factor=-1.0),
    ),
    "linear end": (
        "end expect", lambda: schedules.Linear(end=-1.0),
        lambda: ts.LinearLR(opt(), end_factor=-1.0),
    ),
    "triangular steps": (
        "up expect", lambda: schedules.Triangular(up=0),
        lambda: ts.CyclicLR(opt(), 0.1, 1.0, step_size_up=0),
    ),
    "sequential milestones": (
        "at expect", lambda: schedules.Sequential(("cosine", "cosine"), at=(1, 2)),
        lambda: ts.SequentialLR(q := opt(), [ts.ConstantLR(q)] * 2, milestones=[1, 2]),
    ),
    "sequential nothing": (
        "parts expect", lambda: schedules.Sequential((), at=()),
        lambda: ts.SequentialLR(opt(), [], milestones=[]),
    ),
    "chained nothing": (
        "parts expect", lambda: schedules.Product(()), lambda: ts.ChainedScheduler([]),
    ),
    "dirac axes": (
        "at least three axes", lambda: nn.Linear(3, 2, init="dirac").initialize(0),
        lambda: tn.init.dirac_(torch.ones(2, 3)),
    ),
    "orthogonal axes": (
        "at least two axes", lambda: nn.init.orthogonal()((3,), KEY),
        lambda: tn.init.orthogonal_(torch.ones(3)),
    ),
    "dirac groups": (
        "a multiple of groups=2", lambda: nn.init.dirac(2)((3, 3, 3), KEY),
        lambda: tn.init.dirac_(torch.ones(3, 3, 3), groups=2),
    ),
    "kaiming mode": (
        "mode expect", lambda: nn.init.kaiming_uniform(mode="fan"),
        lambda: tn.init.kaiming_uniform_(torch.ones(2, 3), mode="fan"),
    ),
    "normal std": (
        "std expect", lambda: nn.init.normal(std=-1.0)((3,), KEY),
        lambda: tn.init.normal_(torch.ones(3), std=-1.0),
    ),
    "uniform order": (
        "low <= high", lambda: nn.init.uniform(1.0, 0.0)((3,), KEY),
        lambda: tn.init.uniform_(torch.ones(3), 1.0, 0.0),
    ),
}  # fmt: skip


@pytest.mark.parametrize("call", WRONG)
def test_what_pytorch_refuses_we_refuse_and_say_why(call: str, refused: Any) -> None:
    refused(*WRONG[call])


BOTH = ("SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "RMSprop", "Adagrad", "Adadelta")
OF_ALL: list[tuple[str, dict[str, Any]]] = [
    ("lr", {"lr": -0.1}),
    ("weight_decay", {"weight_decay": -1.0}),
]
OF_MOST = [*OF_ALL, ("eps", {"eps": -1.0})]
OF_ADAMS = [*OF_MOST, ("betas", {"betas": (1.0, 0.9)}), ("betas", {"betas": (0.9, -0.1)})]


@pytest.mark.parametrize("name", BOTH)
def test_options_of_optimizers(name: str, refused: Any) -> None:
    ours, theirs = getattr(optim, name), getattr(to, name)
    for option, given in OF_ADAMS if "dam" in name else OF_ALL if name == "SGD" else OF_MOST:
        options: dict[str, Any] = {"lr": 0.1, **given}
        refused(f"^{name}: {option} expected", lambda o=options: ours(ol(), **o),
                lambda o=options: theirs(pl(), **o))  # fmt: skip


@pytest.mark.parametrize("name", BOTH)
def test_an_optimizer_of_nothing(name: str, refused: Any) -> None:
    ours, theirs = getattr(optim, name), getattr(to, name)
    at_least = f"^{name}: layer expected at least one parameter"
    refused(at_least, lambda: ours(nn.ReLU(), 0.1), lambda: theirs(tn.ReLU().parameters(), lr=0.1))
    refused(f"^{name}: layer expected", lambda: ours([], 0.1), lambda: theirs([], lr=0.1))


def test_a_class_that_is_not_there_gives_nan() -> None:
    """PyTorch reads the device to refuse it; we do not, and NaN cannot be overlooked."""
    for ours, theirs in ((losses.cross_entropy, F.cross_entropy),
                         (losses.multi_margin, F.multi_margin_loss)):  # fmt: skip
        with pytest.raises((IndexError, RuntimeError)):
            theirs(p(1, 2), pi(7))
        assert np.isnan(ours(o(1, 2), oi(7)).item())


def test_a_gain_that_is_not_known() -> None:
    with pytest.raises(ValueError, match="Unsupported nonlinearity"):
        tn.init.calculate_gain("tanhh")
    with pytest.raises(UnknownNameError, match=r"unknown nonlinearity 'tanhh'.*mean 'tanh'"):
        nn.init.calculate_gain("tanhh")
