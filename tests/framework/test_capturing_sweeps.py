"""Sweeps over tables, optimizers' attributes, and replays that find out late that they cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn, ops, optim
from flagstone.backend import Backend
from flagstone.capturing import Recorded, UnrepeatableError
from flagstone.devices import Device
from flagstone.errors import CaptureError

RNG = np.random.default_rng(0)


def numbers(*shape: int) -> fs.Tensor:
    return fs.tensor(RNG.standard_normal(shape).astype(np.float32), device="cpu")


def bits(*tensors: fs.Tensor) -> bytes:
    return b"".join(t.numpy().tobytes() for t in tensors)


class Running:
    """A step that adds a product of its arguments up, and notes how often Python ran it."""

    def __init__(self) -> None:
        self.sum = fs.tensor(np.zeros(3, np.float32), device="cpu")
        self.runs = 0

    def __call__(self, x: fs.Tensor, scale: fs.Tensor, nothing: None, factor: fs.Tensor) -> None:
        assert nothing is None
        self.runs += 1
        ops.accumulate(self.sum, x * scale * factor)


def test_a_sweep_does_what_calls_with_the_rows_do() -> None:
    tables = (numbers(10, 3), numbers(10), None)
    factor = numbers()
    called, swept = Running(), Running()
    for i in range(2, 9):
        called(tables[0][i], tables[1][i], None, factor)
    step = fs.capture(swept, strict=True)
    assert list(step.sweep(tables, 2, 9, factor)) == [3, 4, 5, 6, 7, 8, 9]
    assert bits(called.sum) == bits(swept.sum)
    assert swept.runs == 2, "from the third step on it is replayed"
    assert list(step.sweep(tables, 4, 4, factor)) == []


class Sweeping:
    """A replay that does up to four steps of a sweep at once."""

    def __init__(self, program: Any) -> None:
        self.run = program.run
        self.asked: list[tuple[int, int]] = []

    def __call__(self, *arrays: Any) -> Any:
        return self.run(*arrays)

    def sweep(self, tables: Any, first: int, last: int, rest: Any) -> Iterator[int]:
        self.asked.append((first, last))
        while first < last:
            for _ in range(min(4, last - first)):
                self.run(*[t[first, ...] for t in tables], *rest)
                first += 1
            yield first


class SweepingBackend(Backend):
    """A backend whose replays sweep, over NumPy."""

    name = "sweeping"
    xp = np

    def capture(self, step: Callable[..., Any], *_example: Any) -> Callable[..., Any]:
        return Recorded(step, self, Sweeping)


@pytest.fixture
def sweeping() -> SweepingBackend:
    return SweepingBackend(Device("sweeping"))


def test_a_backend_may_do_several_steps_at_once(sweeping: SweepingBackend) -> None:
    def make() -> tuple[Any, list[fs.Tensor]]:
        running = Running()
        running.sum = running.sum.to(sweeping)
        return running, [numbers(11, 3).to(sweeping), numbers(11).to(sweeping)]

    running, (x, scale) = make()
    factor = numbers().to(sweeping)
    step = fs.capture(running, device=sweeping, strict=True)
    assert list(step.sweep((x, scale, None), 0, 11, factor)) == [1, 2, 6, 10, 11]
    assert list(step.sweep((x, scale, None), 0, 9, factor)) == [4, 8, 9], "it is known by now"
    plain = Running()
    plain.sum = plain.sum.to(sweeping)
    for i in [*range(11), *range(9)]:
        plain(x[i], scale[i], None, factor)
    assert bits(running.sum) == bits(plain.sum)
    assert step._entries[0][1]._replay.asked == [(2, 11), (0, 9)]


def test_what_changes_within_a_sweep_is_recorded_anew(sweeping: SweepingBackend) -> None:
    layer = nn.Linear(3, 2).initialize(0, device=sweeping)
    optimizer = optim.SGD(layer, 0.1)
    other = nn.Linear(3, 2).initialize(0, device=sweeping)
    twin = optim.SGD(other, 0.1)

    def of(layer: Any, optimizer: Any) -> Callable[..., None]:
        def step(x: fs.Tensor) -> None:
            optimizer.zero_grad()
            ops.sum(ops.exp(layer(x))).backward()
            optimizer.step()

        return step

    table = numbers(20, 4, 3).to(sweeping)
    seen = []
    for i in fs.capture(of(layer, optimizer), strict=True).sweep((table,), 0, 20):
        seen.append(i)
        if i == 10:
            optimizer.weight_decay = 0.5
    assert seen == [1, 2, 6, 10, 11, 12, 16, 20]
    plain = of(other, twin)
    for i in range(20):
        twin.weight_decay = 0.5 if i >= 10 else 0.0
        plain(table[i])
    assert bits(*layer.parameters()) == bits(*other.parameters())


@pytest.mark.parametrize(
    ("make", "name", "value"),
    [
        (lambda layer: optim.SGD(layer, 0.1), "weight_decay", 0.1),
        (lambda layer: optim.SGD(layer, 0.1, clip_norm=1.0), "clip_norm", None),
        (lambda layer: optim.Adam(layer, 0.1), "betas", (0.5, 0.5)),
        (lambda layer: optim.EMA(optim.Adam(layer, 0.1), decay=0.9), "decay", 0.5),
        (lambda layer: optim.EMA(optim.Adam(layer, 0.1)), "optimizer.eps", 0.1),
    ],
)
def test_an_attribute_of_an_optimizer_that_is_set_holds_from_the_next_step_on(
    make: Any, name: str, value: Any
) -> None:
    found = []
    for captured in (False, True):
        layer = nn.Linear(4, 3).initialize(0)
        optimizer = make(layer)

        def step(x: fs.Tensor, layer: Any = layer, optimizer: Any = optimizer) -> None:
            optimizer.zero_grad()
            ops.sum(ops.exp(layer(x))).backward()
            optimizer.step()

        run = fs.capture(step, strict=True) if captured else step
        rng = np.random.default_rng(1)
        for i in range(12):
            if i == 6:
                *path, last = name.split(".")
                setattr(getattr(optimizer, path[0]) if path else optimizer, last, value)
            run(fs.tensor(rng.standard_normal((5, 4)).astype(np.float32), device="cpu"))
        states = optimizer.state_dict()
        found.append([bits(*layer.parameters()), *(states[n].tobytes() for n in sorted(states))])
    assert found[0] == found[1]


def test_setting_what_is_set_already_records_nothing() -> None:
    optimizer = optim.Adam(nn.Linear(2, 2), 0.1)
    before = optimizer.settings
    optimizer.weight_decay, optimizer.betas, optimizer.lr = 0.0, (0.9, 0.999), 0.5
    assert optimizer.settings == before
    optimizer.weight_decay = 0.1
    assert optimizer.settings == before + 1


def test_one_tensor_as_two_arguments() -> None:
    minus = fs.capture(lambda x, y: x - y, strict=True)
    a, b = numbers(3), numbers(3)
    for _ in range(4):
        assert bits(minus(a, a)) == bits(a - a)
    assert bits(minus(a, b)) == bits(a - b)
    assert bits(minus(b, b)) == bits(a - a)
    minus = fs.capture(lambda x, y: x - y, strict=True)
    for _ in range(4):
        assert bits(minus(a, b)) == bits(a - b)
    assert bits(minus(a, a)) == bits(a - a)


class Once:
    """A replay that does the step once and then finds that it cannot be repeated."""

    sweep = None

    def __init__(self, program: Any) -> None:
        self.run = program.run

    def __call__(self, *arrays: Any) -> Any:
        raise UnrepeatableError("exp: too hot", self.run(*arrays))


class OnceBackend(Backend):
    """A backend that cannot repeat anything, over NumPy."""

    name = "once"
    xp = np

    def capture(self, step: Callable[..., Any], *_example: Any) -> Callable[..., Any]:
        return Recorded(step, self, Once)


def test_a_replay_that_finds_out_in_its_first_run_loses_no_step() -> None:
    backend = OnceBackend(Device("once"))
    total = fs.tensor(np.zeros(2, np.float32), device=backend)
    x = fs.tensor(np.ones(2, np.float32), device=backend)

    def step(x: fs.Tensor) -> fs.Tensor:
        ops.accumulate(total, x)
        return ops.exp(x)

    captured = fs.capture(step)
    for i in range(6):
        if i == 2:
            with pytest.warns(RuntimeWarning, match="cannot be captured: exp: too hot"):
                result = captured(x)
        else:
            result = captured(x)
        assert bits(result) == bits(ops.exp(x))
        np.testing.assert_array_equal(total.numpy(), i + 1)
    assert isinstance(captured.reason, CaptureError)


def test_captures_can_be_forgotten() -> None:
    twice = fs.capture(lambda x: x + x, strict=True)
    for _ in range(3):
        twice(numbers(2))
    twice.forget()
    assert not twice._entries
    x = numbers(2)
    assert bits(twice(x)) == bits(x + x)


def test_a_first_run_that_differs_costs_no_more_than_itself() -> None:
    total = numbers(3)
    runs = 0

    def step(x: fs.Tensor) -> None:
        nonlocal runs
        runs += 1
        ops.accumulate(total, x)
        ops.accumulate(total, ops.exp(x) if runs == 1 else ops.tanh(x))

    captured = fs.capture(step, strict=True)
    for _ in range(5):
        captured(numbers(3))
    assert runs == 3
