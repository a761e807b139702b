"""Steps of tiny models in one block: the numbers of the ordinary kernels, and of NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import losses, nn, ops, optim
from flagstone.backend import Backend, open_backend
from flagstone.capturing import Recorded
from flagstone.tensors import Tensor
from flagstone_cupy import persistent
from flagstone_cupy.kernels import persistent as kernel
from flagstone_cupy.persistent import PersistentReplay
from flagstone_cupy.persistent_program import UnservedError
from flagstone_cupy.signature import local_sources

RNG = np.random.default_rng(11)
X = RNG.standard_normal((20, 3))
CLASSES = np.arange(20) % 3
Replays = list[PersistentReplay]


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many steps each launch did."""
    seen: list[int] = []
    run = kernel.run

    def counted(program: Any, parts: Any, values: int, widest: int, steps: int, *rest: Any) -> None:
        seen.append(steps)
        run(program, parts, values, widest, steps, *rest)

    monkeypatch.setattr(kernel, "run", counted)
    return seen


@pytest.fixture
def replays(simulated: Backend, monkeypatch: pytest.MonkeyPatch) -> Replays:
    """The simulated backend replays every step in one block; which it does is in the list."""
    made: Replays = []

    def build(program: Any) -> PersistentReplay:
        made.append(PersistentReplay(program))
        return made[-1]

    def capture(step: Any, *_: Any) -> Recorded:
        return Recorded(step, simulated, build)

    monkeypatch.setattr(simulated, "capture", capture, raising=False)
    return made


def perceptron(activation: str, optimizer: str, hidden: tuple[int, ...] = (4,)) -> Any:
    given = {"hidden": hidden, "activation": activation, "optimizer": optimizer}
    return "mlp", CLASSES, given


MODELS = {
    "XOR's size, relu": perceptron("relu", "adam"),
    "two layers, sigmoid": perceptron("sigmoid", "sgd(momentum=0.9)", (5, 4)),
    "tanh": perceptron("tanh", "adamw(weight_decay=0.01)"),
    "nesterov": perceptron("relu", "sgd(momentum=0.9, nesterov=True, weight_decay=0.1)"),
    "softmax": ("softmax", CLASSES, {"solver": "sgd"}),
    "logistic": ("logistic", CLASSES % 2, {"solver": "sgd", "optimizer": "adam"}),
    "linear": ("linear", X @ [1.0, 2.0, 3.0], {"solver": "sgd", "l2": 0.1}),
    "all rows a step": ("linear", X @ [1.0, 2.0, 3.0], {"solver": "sgd", "batch_size": None}),
}


def fitted(name: str, y: Any, **given: Any) -> Any:
    model: Any = fs.model(name, **given)
    return model.fit(X, y)


NUMPYS = ("tanh", "logistic", "two layers, sigmoid")  # ops that NumPy does in the uncaptured run


@pytest.mark.covers("persistent.cu:persistent")
@pytest.mark.parametrize("which", MODELS)
def test_models_train_to_the_same_numbers(
    which: str, replays: Replays, launches: list[int]
) -> None:
    """Those of the ordinary kernels, bit for bit where it is they that are called, and NumPy's."""
    name, y, given = MODELS[which]
    schedule = "cosine(warmup=0.1)" if name == "mlp" else "constant"
    given = {"epochs": 6, "batch_size": 6, "schedule": schedule, **given}
    here = fitted(name, y, device="cpu", **given)
    there = fitted(name, y, device="simulated", **given)
    if given["batch_size"] is not None:
        assert len(replays) == 2  # the last batch has two rows
        assert launches[-4:] == [3, 1, 3, 1]  # an epoch's steps of six rows are one launch
    rtol = 1e-11 if there.layer_.dtype_name == "float64" else 2e-5
    for values, expected in ((there.layer_.state_dict(), here.layer_.state_dict()),):
        for key, value in expected.items():
            np.testing.assert_allclose(values[key], value, rtol=rtol, atol=rtol)
    for one, other in zip(there.history_, here.history_, strict=True):
        assert one["train"] == pytest.approx(other["train"], rel=rtol)


@pytest.mark.parametrize("which", [name for name in MODELS if name not in NUMPYS])
def test_bits_of_the_ordinary_kernels(which: str, replays: Replays, simulated: Backend) -> None:
    name, y, given = MODELS[which]
    given = {"epochs": 4, "batch_size": 6, "device": "simulated", **given}
    replayed = fitted(name, y, **given).layer_.state_dict()
    assert replays
    simulated.capture = lambda step, *_: step  # type: ignore[method-assign]  # as it is
    for key, value in fitted(name, y, **given).layer_.state_dict().items():
        np.testing.assert_array_equal(replayed[key], value, err_msg=key)


# A step of one's own


class Xor:
    """A perceptron and a step that learns XOR."""

    def __init__(self, backend: Backend, loss: str = "mse", rows: int = 8) -> None:
        self.loss = getattr(losses, loss)
        last = [nn.Sigmoid()] if loss == "mse" else []
        layer = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1), *last)
        self.layer = layer.initialize(3, device=str(backend.device))
        self.optimizer = optim.Adam(layer, 0.1)
        table = np.array([[0, 0], [0, 1], [1, 0], [1, 1]] * (rows // 4), "float32")
        self.x = self.on(backend, table)
        self.y = self.on(backend, (table.sum(1, keepdims=True) == 1).astype("float32"))
        self.total = self.on(backend, np.zeros((), "float32"))

    @staticmethod
    def on(backend: Backend, a: Any) -> Tensor:
        return Tensor(backend.asarray(np.array(a)), backend)

    def step(self, rows: Tensor, lr: Tensor) -> Tensor:
        x, y = ops.take(self.x, rows), ops.take(self.y, rows)
        self.optimizer.zero_grad()
        loss = self.loss(self.layer(x), y)
        loss.backward()
        self.optimizer.step(lr=lr)
        ops.accumulate(self.total, loss.detach())
        return loss.detach()

    def state(self) -> list[Any]:
        values = [*self.layer.state_dict().values(), self.total.numpy()]
        return [np.array(v) for v in values]


STEPS = 14
ROWS = np.stack([np.random.default_rng(i).permutation(8)[:4] for i in range(STEPS)])
RATES = np.linspace(0.2, 0.01, STEPS).astype("float32")


def trained(backend: Backend, how: str, loss: str = "mse") -> list[Any]:
    """XOR after its steps: one call each, or a sweep over tables on the device."""
    xor = Xor(backend, loss)
    rows, rates = xor.on(backend, ROWS), xor.on(backend, RATES)
    step = fs.capture(xor.step, device=backend, strict=True)
    if how == "calls":
        for i in range(STEPS):
            step(Tensor(rows.array[i], backend), Tensor(rates.array[i, ...], backend))
    else:
        assert list(step.sweep([rows, rates], 0, STEPS))[-1] == STEPS
    return xor.state()


def test_many_steps_are_one_launch(
    replays: Replays, launches: list[int], simulated: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_by_one = trained(simulated, "calls")
    assert len(replays) == 1
    launches.clear()
    at_once = trained(simulated, "sweep")
    assert launches == [STEPS - 3]  # three were recorded
    monkeypatch.setattr(persistent, "MOST_STEPS", 5)
    in_pieces = trained(simulated, "sweep")
    assert launches[1:] == [5, 5, 1]
    for a, b, c in zip(one_by_one, at_once, in_pieces, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)


@pytest.mark.parametrize("loss", ["mse", "binary_cross_entropy_with_logits"])
def test_it_learns_xor_as_numpy_does(loss: str, replays: Replays, simulated: Backend) -> None:
    found = trained(simulated, "sweep", loss)
    assert len(replays) == 1
    for a, b in zip(found, trained(open_backend("cpu"), "calls", loss), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def test_a_step_returns_what_it_returns(replays: Replays, simulated: Backend) -> None:
    xor = Xor(simulated)
    rows, lr = xor.on(simulated, ROWS[0]), xor.on(simulated, RATES[0])
    step = fs.capture(xor.step, device=simulated, strict=True)
    found = [float(step(rows, lr).item()) for _ in range(6)]
    assert len(replays) == 1
    assert found == sorted(found, reverse=True)
    assert float(xor.total.item()) == pytest.approx(sum(found), rel=1e-6)


def test_rows_that_are_not_there_are_not_a_number(replays: Replays, simulated: Backend) -> None:
    xor = Xor(simulated)
    step = fs.capture(xor.step, device=simulated, strict=True)
    lr = xor.on(simulated, RATES[0])
    for _ in range(3):
        step(xor.on(simulated, ROWS[0]), lr)
    assert np.isnan(step(xor.on(simulated, np.array([0, 1, 2, 8])), lr).item())


# The rule


def of(function: Callable[[Tensor], Any], *shape: int) -> Callable[[Backend], Callable[[], Any]]:
    def make(backend: Backend) -> Callable[[], Any]:
        x = Xor.on(backend, np.ones(shape, "float32"))
        return lambda: function(x)

    return make


def rewritten(backend: Backend) -> Callable[[], Any]:
    """Rows of an array of which another part changes."""
    whole, rows = Xor.on(backend, np.ones(6, "float32")), Xor.on(backend, np.array([1, 0]))
    table = Tensor(whole.array[:4].reshape(2, 2), backend)

    def step() -> Tensor:
        ops.accumulate(whole, whole)
        return ops.take(table, rows)

    return step


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (of(lambda x: ops.linear(x, x), 60, 60), "216000 multiply-adds"),
        (of(lambda x: ops.max_pool2d(x, 2), 1, 2, 2, 1), "max_pool has no instruction"),
        (of(lambda x: ops.sum(x * 2.0), 600), "a sum of 600 values"),
        (rewritten, "rows of what the step writes to"),
        (of(lambda x: ops.linear(x, x), 2, 600), "a sum of 600 products"),
        (of(lambda x: x * 2.0, 9000), "bytes of shared memory"),
        (of(lambda x: ops.matmul(x, x), 2, 3, 3), "a product of batches"),
        (of(lambda x: x**3.0, 3), "a power other than 2"),
        (of(lambda x: ops.astype(x, "float64"), 3), "float32 as float64"),
        (of(lambda x: ops.astype(x, "int64"), 3), "float32 as int64"),
        (of(lambda x: x + ops.sum(x, axis=1, keepdims=True), 2, 2, 2), "broadcast to"),
    ],
)
def test_other_steps_are_left_to_graphs(
    make: Any, reason: str, simulated: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs: list[Any] = []

    def build(program: Any) -> Any:
        programs.append(program)
        return program.run

    def capture(step: Any, *_: Any) -> Recorded:
        return Recorded(step, simulated, build)

    monkeypatch.setattr(simulated, "capture", capture, raising=False)
    step = fs.capture(make(simulated), device=simulated, strict=True)
    for _ in range(3):
        step()
    with pytest.raises(UnservedError, match=reason):
        PersistentReplay(programs[0])
    assert persistent.replay_of(programs[0]) is None


# Planted bugs


def learns(backend: Backend, card: Any) -> None:
    """A few steps of XOR, and the ordinary kernels' numbers."""
    card.seeds = (0, 1)
    found = trained(backend, "sweep")
    assert all(np.isfinite(a).all() for a in found), "a value is not finite"
    capture, backend.capture = backend.capture, lambda step, *_: step  # type: ignore[method-assign]
    card.seeds = (0,)
    try:
        expected = trained(backend, "calls")
    finally:
        backend.capture = capture  # type: ignore[method-assign]  # as it was
    for a, b in zip(found, expected, strict=True):
        assert np.allclose(a, b, rtol=1e-4, atol=1e-5), "a value is wrong"


BUGS = {
    "an instruction reads what the one before still writes": (
        "__syncthreads();  // before the next instruction reads or overwrites", ""),
    "the program is read before it is there": ("__syncthreads();  // the program is there", ""),
    "one step less": ("++step < steps)", "++step < steps - 1)"),
    "threads past the end of a table": ("i < rows * columns; i +=", "i <= rows * columns; i +="),
    "the bias of the first column": ("sum += x[at[10] + j];", "sum += x[at[10]];"),
    "sums without some lanes": ("part = warp_sum(part);\n", "part = part * 1;\n"),
    "every thread counts": ("if (threadIdx.x == 0 && !left_out(x + at[1]))", "if (true)"),
    "state is not taken back": ("to[i] = x[at[0] + i];", "if (i) to[i] = x[at[0] + i];"),
}  # fmt: skip


@pytest.mark.parametrize("what", BUGS)
def test_a_planted_bug_is_caught(
    what: str, replays: Replays, card: Any, simulated: Backend, simulator: Any
) -> None:
    source, (old, new) = "persistent.cu", BUGS[what]
    text = local_sources(source)[source]
    assert text.count(old) == 1, "the source changed; plant this bug where it is now"
    changed = {source: text.replace(old, new)}
    card.libraries[source] = simulator.Library(source, changed, [kernel.PERSISTENT["float"]])
    with pytest.raises(AssertionError):
        learns(simulated, card)


def test_without_a_bug_nothing_is_caught(replays: Replays, card: Any, simulated: Backend) -> None:
    learns(simulated, card)
