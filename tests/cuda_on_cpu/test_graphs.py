"""Captured steps on the simulated card: graphs of the launches that the step itself makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import losses, nn, ops
from flagstone.backend import Backend
from flagstone.named import make
from flagstone.plugins import registry
from flagstone.tensors import Tensor
from flagstone_cupy import launch


def as_bytes(*tensors: Tensor) -> list[bytes]:
    return [f"{t.dtype_name}{t.shape}".encode() + t.numpy().tobytes() for t in tensors]


class Run:
    """Steps over a network, captured or not, on batches of two sizes with changing rates."""

    def __init__(
        self, backend: Backend, build: Callable[[], nn.Layer], optimizer: str, captured: bool
    ) -> None:
        self.backend = backend
        self.layer = build().initialize(3, device=str(backend.device))
        self.optimizer = make("optimizer", optimizer, self.layer, 0.01)
        self.step: Any = fs.capture(self.one, strict=True) if captured else self.one

    def one(self, x: Tensor, y: Tensor, place: Tensor, lr: Tensor, scale: Tensor) -> Tensor:
        with nn.stream_position(place):
            out = self.layer(x)
        loss = losses.cross_entropy(out, y, reduction="sum")
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step(lr=lr, scale=scale)
        return loss

    def batch(self, i: int, shape: tuple[int, ...]) -> list[Tensor]:
        rng = np.random.default_rng(i)
        n = 6 if i % 7 else 4
        arrays = (
            rng.standard_normal((n, *shape)).astype(np.float32), rng.integers(0, 3, n),
            np.array([i, 5], np.uint64), np.array(0.01 / (1 + i % 3), np.float32),
            np.array(1 / n, np.float32),
        )  # fmt: skip
        return [Tensor(self.backend.asarray(a), self.backend) for a in arrays]

    def steps(self, shape: tuple[int, ...], number: int) -> list[bytes]:
        seen = [self.step(*self.batch(i, shape)) for i in range(number)]
        states = self.optimizer.state_dict()
        buffers = [] if self.layer.flat_buffers is None else [self.layer.flat_buffers.values]
        found = as_bytes(*self.layer.parameters(), *buffers, *seen)
        return [*found, *(states[name].tobytes() for name in sorted(states))]


def small() -> nn.Layer:
    return nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)
    )


def same(
    backend: Backend, build: Callable[[], nn.Layer], optimizer: str, shape: Any, n: int
) -> None:
    eager = Run(backend, build, optimizer, captured=False).steps(shape, n)
    replayed = Run(backend, build, optimizer, captured=True)
    assert replayed.steps(shape, n) == eager
    assert all(step._replay._graph is not None for _, step in replayed.step._entries)


def test_200_steps(simulated: Backend) -> None:
    same(simulated, small, "adam", (6,), 200)


def test_sizes_that_change_and_normalised_examples(simulated: Backend) -> None:
    """What runs in generic forms, and fused forms."""

    def build() -> nn.Layer:
        return nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Upsample(scale_factor=2.0),
            nn.Upsample(size=5, mode="bilinear"), nn.AdaptiveAvgPool2d(3), nn.RMSNorm(4),
            nn.ReLU(), nn.Flatten(), nn.Linear(36, 3), nn.LayerNorm(3), nn.ReLU(),
        )  # fmt: skip

    same(simulated, build, "adam", (6, 6, 2), 24)


OPTIMIZERS = [spec.name for spec in registry.specs("optimizer") if spec.name != "lbfgs"]


@pytest.mark.parametrize("optimizer", [*OPTIMIZERS, "sgd(momentum=0.9, clip_norm=0.5)"])
def test_every_optimizer(simulated: Backend, optimizer: str) -> None:
    found = []
    for captured in (False, True):
        run = Run(simulated, small, optimizer, captured)
        losses = [run.step(*run.batch(1 + i, (6,))) for i in range(6)]
        states = run.optimizer.state_dict()
        found.append([as_bytes(*run.layer.parameters(), *losses), *map(bytes, states.values())])
    assert found[0] == found[1]


def shown(launches: list[launch.Launch]) -> list[Any]:
    """What a launch is, wherever its arrays lie."""

    def argument(a: Any) -> Any:
        if isinstance(a, np.ndarray) and a.dtype.names is None:
            return a.dtype, a.shape
        return a.dtype, a.tobytes()

    return [
        (str(m.kernel), m.grid, m.block, m.shared, [argument(a) for a in m.arguments])
        for m in launches
    ]


def test_a_graph_holds_the_launches_of_the_step(simulated: Backend, card: Any) -> None:
    plain = Run(simulated, small, "adam", captured=False)
    captured = Run(simulated, small, "adam", captured=True)
    for i in range(4):
        captured.step(*captured.batch(1 + i, (6,)))
    plain.step(*plain.batch(1, (6,)))  # which makes the gradients' array
    with launch.recording() as eager:
        plain.step(*plain.batch(1, (6,)))
    with launch.recording() as replayed:
        captured.step(*captured.batch(1, (6,)))
    assert not replayed, "a replay asks for no launch by itself"
    ((capture,),) = [room.captures for room in card.graphs.rooms]
    assert shown(capture.launches) == shown(eager)
    assert len(eager) > 20


def test_a_sweep_takes_several_steps_at_a_launch(simulated: Backend, card: Any) -> None:
    n, size = 45, 6
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((n * size, 6)).astype(np.float32), rng.integers(0, 3, n * size)
    rows = rng.permutation(n * size).reshape(n, size)
    places = np.array([[i, 2] for i in range(n)], np.uint64)
    rates = np.linspace(0.01, 0.001, n).astype(np.float32)
    tables = [Tensor(simulated.asarray(a), simulated) for a in (rows, places, rates)]
    data = [Tensor(simulated.asarray(a), simulated) for a in (x, y)]
    scale = Tensor(simulated.asarray(np.array(1 / size, np.float32)), simulated)
    found = []
    for captured in (False, True):
        run = Run(simulated, small, "adam", captured=False)

        def step(rows: Tensor, place: Tensor, lr: Tensor, scale: Tensor, run: Run = run) -> None:
            run.step(*[ops.take(d, rows) for d in data], place, lr, scale)

        if captured:
            swept = fs.capture(step, strict=True)
            seen = list(swept.sweep(tables, 0, n, scale))
            (room,) = card.graphs.rooms
            assert len(room.captures) == 3  # a call, several steps, one step
            several = seen[5] - seen[4]
            assert seen == [
                1,
                2,
                3,
                4,
                *range(4 + several, n, several),
                *seen[seen.index(44) + 1 :],
            ]
            assert several == 4
            assert swept.launches == 1 / several
        else:
            for i in range(n):
                eager: Any = step
                eager(*[t[i] for t in tables], scale)
        found.append(as_bytes(*run.layer.parameters()))
    assert found[0] == found[1]


def test_two_epochs_and_a_call_between_their_steps(simulated: Backend) -> None:
    """The graph of a single call may write where a sweep's tables lie."""
    total = Tensor(simulated.asarray(np.zeros(3, np.float32)), simulated)
    rng = np.random.default_rng(0)
    table = Tensor(simulated.asarray(rng.standard_normal((70, 3)).astype(np.float32)), simulated)
    other = Tensor(simulated.asarray(rng.standard_normal((70, 3)).astype(np.float32)), simulated)
    single = Tensor(simulated.asarray(np.ones(3, np.float32)), simulated)

    def step(x: Tensor) -> Tensor:
        y = ops.exp(x) * 2.0
        ops.accumulate(total, ops.relu(y + x))
        return y

    captured = fs.capture(step, strict=True)
    seen = []
    for t, first in ((table, 0), (other, 3)):
        for i in captured.sweep((t,), first, 70):
            seen.append((t, i))
            result = captured(single)
    found, total.array[...] = total.numpy().tobytes(), 0
    done = {id(table): 0, id(other): 3}
    for t, i in seen:
        for row in range(done[id(t)], i):
            step(t[row])
        done[id(t)] = i
        assert result.numpy().tobytes() == step(single).numpy().tobytes()
    assert total.numpy().tobytes() == found


def test_an_argument_that_is_written_to_is_the_callers(simulated: Backend, card: Any) -> None:
    total = Tensor(simulated.asarray(np.zeros((2, 3), np.float32)), simulated)

    def step(into: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ops.accumulate(into, x)
        return into, total, ops.exp(x)

    captured = fs.capture(step, strict=True)
    x = Tensor(simulated.asarray(np.arange(3, dtype=np.float32)), simulated)
    results = []
    for i in range(6):
        row = Tensor(total.array[i % 2], simulated)
        into, same, exp = captured(row, x)
        assert into.array is row.array if i < 2 else np.shares_memory(into.array, row.array)
        assert same.array is total.array
        results.append(exp)
    np.testing.assert_array_equal(total.numpy(), 3 * np.arange(3) * np.ones((2, 1)))
    for exp in results:
        np.testing.assert_allclose(exp.numpy(), np.exp(np.arange(3)), rtol=1e-6)
    assert captured._entries[0][1].sweep is None
    assert list(captured.sweep((total, total), 0, 2)) == [1, 2]


def test_what_a_graph_cannot_hold_is_named_and_runs_as_it_is(simulated: Backend, card: Any) -> None:
    card.graphs.refused.add("exp")
    total = Tensor(simulated.asarray(np.zeros(3, np.float32)), simulated)
    x = Tensor(simulated.asarray(np.ones(3, np.float32)), simulated)

    def step(x: Tensor) -> Tensor:
        ops.accumulate(total, x)
        return ops.exp(ops.relu(x))

    captured = fs.capture(step)
    for i in range(5):
        if i == 2:
            with pytest.warns(RuntimeWarning, match=r"exp: a CUDA graph cannot hold .*a library"):
                result = captured(x)
        else:
            result = captured(x)
        np.testing.assert_allclose(result.numpy(), np.exp(np.ones(3)), rtol=1e-6)
        np.testing.assert_array_equal(total.numpy(), i + 1)
    assert not card.graphs.rooms, "its memory was given back"


def test_memory_goes_with_the_captures(simulated: Backend, card: Any) -> None:
    captured = fs.capture(ops.exp, strict=True)
    x = Tensor(simulated.asarray(np.ones((2, 3), np.float32)), simulated)
    for _ in range(4):
        captured(x)
    assert len(card.graphs.rooms) == 1
    captured.forget()
    assert not card.graphs.rooms


MODELS = [
    pytest.param(spec, id=spec.name) for spec in registry.specs("model") if spec.name != "ensemble"
]


@pytest.mark.parametrize("spec", MODELS)
def test_every_model(
    spec: Any, simulated: Backend, card: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trained through fit, with a last smaller batch and validation, captured and not."""
    model: Any = fs.model(spec.name)
    if not hasattr(model, "optimizer"):
        pytest.skip("not trained in steps")
    rng = np.random.default_rng(0)
    images = model.takes_images_only
    deep = spec.name in ("resnet", "speedrun")
    n = 4 if deep else 13 if images else 29
    x = rng.standard_normal((n, *((8, 8) if images else (5,)))).astype(np.float32)
    y = x.reshape(n, -1)[:, 0] * 2 if spec.task == "regression" else rng.integers(0, 2, n)
    found = []
    for captured in (True, False):
        if not captured:
            monkeypatch.setattr(type(simulated), "capture", Backend.capture)
        model = fs.model(spec.name)
        if spec.name == "resnet":
            model.set_params(depth=8)
        if spec.name == "speedrun":
            model.set_params(widths=(8, 8, 8))
        model.set_params(epochs=5 if deep else 3, batch_size=3 if images else 8)
        model.set_params(validation_fraction=0.25, device="simulated")
        if spec.name != "speedrun":  # which has an optimizer of its own
            model.set_params(optimizer="adam", lr=0.01)
        if spec.name in ("linear", "logistic"):
            model.set_params(solver="sgd")
        model.fit(x, y)
        timeless = [{k: v for k, v in e.items() if k != "seconds"} for e in model.history_]
        found.append((as_bytes(*model.layer_.parameters()), repr(timeless)))
        if captured:
            assert card.graphs.captured >= 1
    assert found[0] == found[1]


def test_predicting_in_batches_of_one_size(
    simulated: Backend, card: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flagstone.estimator import predictor

    monkeypatch.setattr(predictor, "PREDICTION_BATCH", 20)
    x = np.random.default_rng(0).standard_normal((165, 5)).astype(np.float32)
    model: Any = fs.model("mlp", epochs=1, optimizer="adam", device="simulated")
    model.fit(x[:40], (x[:40, 0] > 0).astype(int))
    made = card.graphs.captured
    captured = model.predict_proba(x)
    assert card.graphs.captured == made + 1
    monkeypatch.setattr(type(simulated), "capture", Backend.capture)
    assert model.predict_proba(x).tobytes() == captured.tobytes()
    np.testing.assert_allclose(model.predict_proba(x[160:]), captured[160:], rtol=1e-6)
    assert len(captured) == 165


def test_a_fit_gives_its_graphs_memory_back(simulated: Backend, card: Any) -> None:
    x = np.random.default_rng(0).standard_normal((60, 5)).astype(np.float32)
    y = (x[:, 0] > 0).astype(int)
    model: Any = fs.model("mlp", epochs=3, batch_size=8, optimizer="adam", device="simulated")
    model.fit(x, y, validation_data=(x, y))
    assert card.graphs.captured >= 2
    assert not card.graphs.rooms
