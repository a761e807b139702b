"""L-BFGS takes PyTorch's steps, finds minima, resumes exactly, and says what it cannot do."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn, ops, optim
from flagstone.errors import ConfigurationError, InputError
from flagstone.nn import Parameter
from flagstone.nn.init import zeros


class Point(nn.Layer):
    """Two numbers."""

    def __init__(self) -> None:
        self.x = Parameter((2,), zeros)


def a_point(x: float, y: float) -> Point:
    point = Point()
    point.initialize(0, dtype="float64")
    point.load_state_dict({"x": np.array([x, y])})
    return point


def rosenbrock(point: Point) -> fs.Tensor:
    x, y = point.x[0], point.x[1]
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def closure_of(
    optimizer: optim.Optimizer, loss: Callable[[], fs.Tensor]
) -> Callable[[], fs.Tensor]:
    def closure() -> fs.Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    return closure


def test_the_minimum_of_rosenbrocks_function() -> None:
    point = a_point(-1.2, 1.0)
    optimizer = optim.LBFGS(point, max_iter=100, tolerance_change=0.0)
    start = optimizer.step(closure_of(optimizer, lambda: rosenbrock(point)))
    assert start.item() == pytest.approx(24.2)  # the loss before the step
    np.testing.assert_allclose(point.x.numpy(), [1.0, 1.0], rtol=0, atol=1e-8)


def data(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((60, 4))
    return x, (x @ [1.0, -2.0, 0.5, 0.0] + rng.standard_normal(60) > 0).astype(float)


def logistic_loss(layer: nn.Layer, x: np.ndarray, y: np.ndarray) -> fs.Tensor:
    out = ops.reshape(layer(fs.tensor(x)), (len(x),))
    return fs.losses.binary_cross_entropy_with_logits(out, fs.tensor(y))


def newton(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The logistic optimum, by Newton's method: the slopes, then the intercept."""
    x = np.column_stack([x, np.ones(len(x))])
    w = np.zeros(x.shape[1])
    for _ in range(30):
        p = 1 / (1 + np.exp(-x @ w))
        w -= np.linalg.solve((x.T * (p * (1 - p))) @ x, x.T @ (p - y))
    return w


def test_a_logistic_optimum() -> None:
    x, y = data()
    layer = nn.Linear(4, 1).initialize(0, dtype="float64")
    optimizer = optim.LBFGS(layer, max_iter=200, tolerance_grad=1e-10, tolerance_change=0.0)
    optimizer.step(closure_of(optimizer, lambda: logistic_loss(layer, x, y)))
    state = layer.state_dict()
    found = np.concatenate([state["weight"].ravel(), state["bias"]])
    np.testing.assert_allclose(found, newton(x, y), rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    ("options", "dtype"),
    [
        ({}, "float64"),
        ({}, "float32"),
        ({"history_size": 3, "max_iter": 7}, "float64"),
        ({"history_size": 1, "max_eval": 5, "lr": 0.3}, "float64"),
        ({"line_search_fn": None, "lr": 0.2}, "float64"),
    ],
)
def test_torchs_steps(options: dict[str, Any], dtype: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch, the reference, is not installed")
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((20, 3)).astype(dtype), rng.standard_normal((20, 2)).astype(dtype)
    ours = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)).initialize(0, dtype=dtype)
    theirs = torch.nn.Sequential(
        torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2)
    ).to(getattr(torch, dtype))  # fmt: skip
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in ours.state_dict().items()})
    options = {"line_search_fn": "strong_wolfe", **options}
    optimizer = optim.LBFGS(ours, **options)
    reference = torch.optim.LBFGS(theirs.parameters(), **options)
    closure = closure_of(optimizer, lambda: fs.losses.mse(ours(fs.tensor(x)), fs.tensor(y)))

    def their_closure() -> Any:
        reference.zero_grad()
        loss = torch.nn.functional.mse_loss(theirs(torch.from_numpy(x)), torch.from_numpy(y))
        loss.backward()
        return loss

    # Every step follows from all before it, so roundings grow: few steps, and wider in float32.
    tolerance = 1e-7 if dtype == "float64" else 2e-2
    for _ in range(3 if dtype == "float64" else 1):
        loss, their_loss = optimizer.step(closure), reference.step(their_closure)
        assert loss.item() == pytest.approx(their_loss.item(), rel=tolerance)
    for name, value in theirs.state_dict().items():
        np.testing.assert_allclose(
            ours.state_dict()[name], value.numpy(), rtol=tolerance, atol=tolerance
        )


def test_a_restored_state_goes_on_bit_for_bit() -> None:
    point, other = a_point(-1.2, 1.0), a_point(0.0, 0.0)
    optimizer = optim.LBFGS(point, max_iter=6, history_size=4)
    optimizer.step(closure_of(optimizer, lambda: rosenbrock(point)))
    state = optimizer.state_dict()
    assert state["moves"].shape == state["changes"].shape == (4, 16)
    other.load_state_dict(point.state_dict())
    again = optim.LBFGS(other, max_iter=6, history_size=4)
    again.load_state_dict(state)
    for p, o in ((point, optimizer), (other, again)):
        o.step(closure_of(o, lambda p=p: rosenbrock(p)))
    np.testing.assert_array_equal(point.x.numpy(), other.x.numpy())
    assert abs(point.x.numpy() - 1).max() > 1e-4  # there was some way to go


def test_a_fresh_state_is_restored_too() -> None:
    optimizer = optim.LBFGS(a_point(0, 0))
    optimizer.load_state_dict(optim.LBFGS(a_point(0, 0)).state_dict())


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"moves": np.ones((1, 16))},
        {"moves": np.ones((1, 16)), "changes": np.ones((2, 16))},
        {"moves": np.ones((5, 16)), "changes": np.ones((5, 16))},
        {"moves": np.ones((1, 2)), "changes": np.ones((1, 2))},
        {"moves": np.ones((1, 16)), "changes": np.ones((1, 16)), "gradient": np.ones(16)},
    ],
)
def test_a_wrong_state_is_refused(state: dict[str, Any]) -> None:
    optimizer = optim.LBFGS(a_point(0, 0), history_size=4)
    with pytest.raises(InputError, match=r"LBFGS expected states moves and changes of shape \(pai"):
        optimizer.load_state_dict(state)


def test_a_loss_that_is_infinite_ahead_is_stepped_back_from() -> None:
    """Beyond the barrier at 0 the loss is not a number."""
    point = a_point(0.1, 1.0)
    optimizer = optim.LBFGS(point, lr=100.0, max_iter=60)

    def barrier() -> fs.Tensor:
        return (point.x - ops.log(point.x)).sum()  # its minimum is at 1, and 1

    with np.errstate(invalid="ignore", divide="ignore"):
        optimizer.step(closure_of(optimizer, barrier))
    np.testing.assert_allclose(point.x.numpy(), [1.0, 1.0], rtol=0, atol=1e-5)


def test_at_a_minimum_nothing_moves() -> None:
    point = a_point(1.0, 1.0)
    optimizer = optim.LBFGS(point)
    assert optimizer.step(closure_of(optimizer, lambda: rosenbrock(point))).item() == 0
    np.testing.assert_array_equal(point.x.numpy(), [1.0, 1.0])


def test_what_it_cannot_do_is_said() -> None:
    point = a_point(0, 0)
    optimizer = optim.LBFGS(point)
    with pytest.raises(ConfigurationError, match="LBFGS: step expected a closure"):
        optimizer.step()
    with pytest.raises(InputError, match=r"expected to return a loss of shape \(\); got NoneType"):
        optimizer.step(lambda: None)  # type: ignore[arg-type,return-value]  # the mistake
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(InputError, match="expected to return a finite loss; got nan"),
    ):
        optimizer.step(closure_of(optimizer, lambda: ops.log(point.x[0] - 1.0)))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"max_iter": 0}, "LBFGS: max_iter expected a positive integer; got 0"),
        ({"max_eval": 0.5}, "LBFGS: max_eval expected a positive integer; got 0.5"),
        ({"history_size": -1}, "LBFGS: history_size expected a positive integer; got -1"),
        ({"tolerance_grad": -1}, "LBFGS: tolerance_grad expected a finite number >= 0; got -1"),
        ({"line_search_fn": "armijo"}, "LBFGS: line_search_fn expected 'strong_wolfe' or None"),
    ],
)
def test_a_bad_option_is_named(option: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        optim.LBFGS(a_point(0, 0), **option)


def test_iterations_one_by_one_are_those_of_a_step() -> None:
    """And the loss is evaluated no more often than in one step of as many."""
    point, other = a_point(-1.2, 1.0), a_point(-1.2, 1.0)
    together = optim.LBFGS(point, max_iter=12, max_eval=1000)
    one_by_one = optim.LBFGS(other, max_eval=1000)
    calls = {"step": 0, "iterate": 0}

    def counted(name: str, p: Point) -> Callable[[], fs.Tensor]:
        def loss() -> fs.Tensor:
            calls[name] += 1
            return rosenbrock(p)

        return loss

    together.step(closure_of(together, counted("step", point)))
    closure = closure_of(one_by_one, counted("iterate", other))
    done = [one_by_one.iterate(closure) for _ in range(12)]
    np.testing.assert_array_equal(point.x.numpy(), other.x.numpy())
    assert calls["step"] == calls["iterate"] == sum(d.evaluations for d in done)
    assert done[-1].loss == rosenbrock(other).item()
    assert [d.loss for d in done] == sorted((d.loss for d in done), reverse=True)
    while not one_by_one.iterate(closure).converged:
        pass
    np.testing.assert_allclose(other.x.numpy(), [1.0, 1.0], rtol=0, atol=1e-4)


def test_iterations_go_on_after_restoring() -> None:
    point, other = a_point(-1.2, 1.0), a_point(0.0, 0.0)
    optimizer, again = optim.LBFGS(point), optim.LBFGS(other)
    for _ in range(5):
        optimizer.iterate(closure_of(optimizer, lambda: rosenbrock(point)))
    other.load_state_dict(point.state_dict())
    again.load_state_dict(optimizer.state_dict())
    for _ in range(5):
        optimizer.iterate(closure_of(optimizer, lambda: rosenbrock(point)))
        again.iterate(closure_of(again, lambda: rosenbrock(other)))
    np.testing.assert_array_equal(point.x.numpy(), other.x.numpy())


@pytest.mark.parametrize("decay_biases", [True, False])
def test_weight_decay_is_half_the_squares(decay_biases: bool) -> None:
    """The optimum of the loss plus ``0.3 / 2 * sum(p**2)``, by Newton's method."""
    x, y = data()
    columns = np.column_stack([x, np.ones(len(x))])
    decay = np.diag([0.3] * 4 + [0.3 if decay_biases else 0.0])
    w = np.zeros(5)
    for _ in range(30):
        p = 1 / (1 + np.exp(-columns @ w))
        hessian = (columns.T * (p * (1 - p))) @ columns / len(x) + decay
        w -= np.linalg.solve(hessian, columns.T @ (p - y) / len(x) + decay @ w)
    layer = nn.Linear(4, 1).initialize(0, dtype="float64")
    options = {"weight_decay": 0.3, "decay_biases": decay_biases}
    optimizer = optim.LBFGS(layer, tolerance_grad=1e-10, tolerance_change=0.0, **options)
    for _ in range(3):
        optimizer.step(closure_of(optimizer, lambda: logistic_loss(layer, x, y)))
    state = layer.state_dict()
    np.testing.assert_allclose([*state["weight"].ravel(), *state["bias"]], w, rtol=0, atol=1e-8)


def test_a_quadratic_whose_inverse_is_known_takes_one_iteration() -> None:
    scale = np.array([1.0, 1e6])
    point = a_point(3.0, -2.0)
    optimizer = optim.LBFGS(point, tolerance_grad=1e-9)
    inverse = np.zeros(16)
    inverse[:2] = 1 / scale
    optimizer.precondition = lambda g: g * fs.tensor(inverse)
    optimizer.iterate(closure_of(optimizer, lambda: 0.5 * (point.x**2 * fs.tensor(scale)).sum()))
    np.testing.assert_allclose(point.x.numpy(), [0.0, 0.0], atol=1e-12)
