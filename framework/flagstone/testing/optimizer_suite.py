"""The checks of an optimizer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from flagstone import losses, nn
from flagstone.backend import Backend
from flagstone.errors import FlagstoneError
from flagstone.nn import Layer
from flagstone.optim.wrapper import Wrapper
from flagstone.tensors import Tensor
from flagstone.testing.comparing import FLOATS, given, on, only_dtype, require_close, require_same
from flagstone.testing.host_reads import GUARDED, REFERENCE, check_backend, in_step
from flagstone.testing.randomness import SEEDS, global_seed
from flagstone.testing.refusals import refuses
from flagstone.testing.suite import Suite, skip

Values = dict[str, Any]


class OptimizerSuite(Suite):
    """The checks of an optimizer: ``target(layer, lr, **params)``.

    Attributes:
        lr: a learning rate at which it goes down a small problem.
        params: its other options.
        steps: how many steps it needs to do so.
    """

    kind: ClassVar[str] = "optimizer"
    lr: float = 0.02
    params: Mapping[str, Any] = {}
    steps: int = 40

    def make(self, layer: Layer) -> Any:
        """The optimizer over ``layer``."""
        return self.target(layer, self.lr, **self.params)

    @property
    def by_closure(self) -> bool:
        """Whether its step evaluates the loss itself, as L-BFGS does."""
        step = getattr(self.target, "step", None)  # a function that makes one has none
        return step is not None and "closure" in inspect.signature(step).parameters

    def problem(self, dtype: str = "float32", backend: Backend | None = None) -> Problem:
        """A small regression, with the optimizer."""
        return Problem(self, backend or self.opened, dtype)

    def test_descends(self) -> None:
        """The loss of a small problem falls."""
        problem = self.problem()
        first = problem.loss()
        problem.run(self.steps)
        last = problem.loss()
        if not last < first:
            raise AssertionError(
                f"expected a loss below {first:.4g} after {self.steps} steps at lr {self.lr}; "
                f"got {last:.4g}"
            )

    def test_save_and_resume(self) -> None:
        """Going on from ``state_dict`` gives exactly what never stopping gives."""
        straight = self.problem()
        straight.run(7)
        stopped = self.problem()
        stopped.run(4)
        state, values = stopped.optimizer.state_dict(), stopped.layer.state_dict()
        stopped.run(1)  # a state_dict is a copy: what happens later does not change it
        resumed = self.problem()
        resumed.run(2)  # it had a state of its own
        resumed.layer.load_state_dict(values)
        resumed.optimizer.load_state_dict(state)
        resumed.run(3)
        _require_equal(resumed, straight, "after 4 steps, a restored state and 3 more,")

    def test_determinism(self) -> None:
        """Equal runs give equal parameters; nothing is drawn from global random generators."""
        found = []
        for seed in SEEDS:
            with global_seed(seed):
                problem = self.problem()
                problem.run(5)
                found.append(problem)
        _require_equal(found[1], found[0], "a second run")

    def test_dtypes(self) -> None:
        """Parameters and states keep the dtype of the parameters; nothing is widened."""
        for dtype in FLOATS:
            with given(dtype), only_dtype(dtype):
                problem = self.problem(dtype)
                problem.run(3)
            for name, value in problem.arrays().items():
                if value.dtype.kind == "f" and value.dtype != dtype:
                    raise AssertionError(f"{name}: expected {dtype}; got {value.dtype}")

    def test_rate_and_scale(self) -> None:
        """``step(lr=, scale=)`` is a step at that rate with gradients times that scale."""
        if self.by_closure:
            skip("its step takes a closure")
        plain, given_rate = self.problem("float64"), self.problem("float64")
        for problem in (plain, given_rate):
            problem.run(1)
        plain.optimizer.lr = self.lr / 2
        plain.backward()
        plain.optimizer.step()
        given_rate.backward(times=4.0)
        rate, scale = (
            Tensor(problem_scalar(given_rate, value), given_rate.backend)
            for value in (self.lr / 2, 0.25)
        )
        given_rate.optimizer.step(lr=rate, scale=scale)
        for name, value in plain.layer.state_dict().items():
            require_close(
                given_rate.layer.state_dict()[name], value, 1e-9,
                f"{name} after step(lr={self.lr / 2}, scale=0.25) with gradients times 4",
            )  # fmt: skip

    def test_left_out(self) -> None:
        """If it says that it leaves a step out (``leaves_out``), a scale of NaN changes nothing."""
        problem = self.problem()
        optimizer = problem.optimizer
        if not optimizer.leaves_out or isinstance(optimizer, Wrapper):
            return  # a wrapper goes by the loss scale of a precision
        problem.run(2)
        before = problem.arrays()
        problem.backward()
        optimizer.step(scale=Tensor(problem_scalar(problem, np.nan), problem.backend))
        for name, value in problem.arrays().items():
            require_same(value, before[name], f"{name} after a step of scale NaN")

    def test_frozen(self) -> None:
        """A frozen parameter stays as it is."""
        problem = self.problem(dtype="float32")
        frozen = self.problem(dtype="float32")
        layer = frozen.layer
        name, p = next(layer.named_parameters())
        p.requires_grad = False
        frozen.optimizer = self.make(layer)
        before = layer.state_dict()[name]
        frozen.run(3)
        require_same(layer.state_dict()[name], before, f"{name}, frozen, after 3 steps")
        problem.run(3)
        if np.array_equal(problem.layer.state_dict()[name], before):
            raise AssertionError(f"{name}: expected to be changed by 3 steps; got the same values")

    def test_groups(self) -> None:
        """A group's rate and weight decay hold for its parameters."""
        named = inspect.signature(self.target).parameters
        takes_more = any(p.kind is p.VAR_KEYWORD for p in named.values())
        if self.by_closure or not ("groups" in named or takes_more):
            skip("it takes no groups")
        after = {}
        for option, value in (("lr_scale", 1.0), ("lr_scale", 0.0), ("weight_decay", 0.5)):
            problem = self.problem("float64")
            name = next(name for name, p in problem.layer.named_parameters() if p.ndim > 1)
            before = problem.layer.state_dict()[name]
            groups = {name: {option: value}}
            problem.optimizer = self.target(problem.layer, self.lr, **self.params, groups=groups)
            problem.run(2)
            after[option, value] = problem.layer.state_dict()[name]
        require_same(after["lr_scale", 0.0], before, f"{name} after 2 steps at lr_scale 0")
        if np.array_equal(after["weight_decay", 0.5], after["lr_scale", 1.0]):
            raise AssertionError(
                f"{name}: expected other values with a weight_decay of 0.5 for it; got those "
                "without. Use self.decays, or pass decays=self.decays to the update"
            )

    def test_parity(self) -> None:
        """The device and NumPy without kernels give the same parameters."""
        with check_backend(REFERENCE) as reference:
            expected, found = self.problem("float64", reference), self.problem("float64")
            expected.run(5)
            found.run(5)
        for name, value in expected.layer.state_dict().items():
            what = f"{name} after 5 steps on {found.backend.device}"
            require_close(found.layer.state_dict()[name], value, 1e-8, what)

    def test_capture_safe(self) -> None:
        """A step reads no value on the host, so that a device can record and replay it."""
        if self.by_closure:
            skip("its step takes a closure and decides on the host; the trainer cannot use it")
        with check_backend(GUARDED) as backend:
            problem = self.problem("float32", backend)
            problem.run(1)
            rate = Tensor(problem_scalar(problem, self.lr), backend)
            for _ in range(6):
                problem.backward()
                with in_step():
                    problem.optimizer.step(lr=rate)

    def test_error_messages(self) -> None:
        """Bad options and states of another optimizer are refused with flagstone's errors."""
        problem = self.problem()
        problem.run(1)
        refuses(
            "lr=-1.0", lambda: self.target(problem.layer, -1.0, **self.params), FlagstoneError, "lr"
        )
        refuses("a layer that is a list", lambda: self.make([]), FlagstoneError, "layer")  # type: ignore[arg-type]  # on purpose
        state = problem.optimizer.state_dict()
        load: Callable[[Any], Any] = problem.optimizer.load_state_dict
        refuses("a state too many", lambda: load({**state, "no_such_state": 0}), FlagstoneError)
        if state:
            name = next(iter(state))
            lacking = {key: value for key, value in state.items() if key != name}
            refuses(f"a state without {name!r}", lambda: load(lacking), FlagstoneError)


class Problem:
    """A small regression and an optimizer over its layer."""

    def __init__(self, suite: OptimizerSuite, backend: Backend, dtype: str) -> None:
        rng = np.random.default_rng(5)
        x = rng.standard_normal((8, 4))
        y = np.stack([x[:, 0] - 2 * x[:, 1], x[:, 2] * x[:, 3], x.sum(axis=1)], axis=1)
        self.backend = backend
        self.layer: Layer = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
        self.layer.initialize(1, device=str(backend.device), dtype=dtype)
        self.x, self.y = on(backend, [x.astype(dtype), y.astype(dtype)])
        self.by_closure = suite.by_closure
        self.optimizer = suite.make(self.layer)

    def backward(self, times: float = 1.0) -> Tensor:
        """Leave gradients; the loss."""
        self.optimizer.zero_grad()
        loss = losses.mse(self.layer(self.x), self.y)
        (loss * times).backward()
        return loss

    def run(self, steps: int) -> None:
        """So many steps."""
        for _ in range(steps):
            if self.by_closure:
                self.optimizer.step(self.backward)
            else:
                self.backward()
                self.optimizer.step()

    def loss(self) -> float:
        """The loss now."""
        return float(losses.mse(self.layer(self.x), self.y).item())

    def arrays(self) -> Values:
        """Parameters and states."""
        states = {f"state {k}": np.asarray(v) for k, v in self.optimizer.state_dict().items()}
        return {**self.layer.state_dict(), **states}


def problem_scalar(problem: Problem, value: float) -> Any:
    """A number on the problem's device, of its dtype."""
    return problem.backend.asarray(np.asarray(value, problem.layer.dtype_name))


def _require_equal(found: Problem, expected: Problem, what: str) -> None:
    one, other = found.arrays(), expected.arrays()
    if one.keys() != other.keys():
        raise AssertionError(
            f"{what}: expected the states {', '.join(other)}; got {', '.join(one)}"
        )
    for name, value in other.items():
        require_same(one[name], value, f"{what} {name}")
