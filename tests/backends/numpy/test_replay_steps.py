"""Replays of whole steps give the bits of the steps: every optimizer, network and model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import losses, nn, ops, optim
from flagstone.backend import Backend, open_backend
from flagstone.named import make
from flagstone.plugins import registry
from flagstone.tensors import Tensor
from flagstone_numpy.backend import NumpyBackend

CPU = open_backend("cpu")


def tensor(a: Any) -> Tensor:
    return fs.tensor(a, device="cpu")


def as_bytes(*tensors: Tensor) -> list[bytes]:
    return [f"{t.dtype_name}{t.shape}".encode() + t.numpy().tobytes() for t in tensors]


def replay_of(captured: Any) -> Any:
    return captured._entries[0][1]._replay


class Run:
    """Steps over a network, captured or not, on batches of two sizes with changing rates."""

    def __init__(self, build: Callable[[], nn.Layer], optimizer: str, captured: bool) -> None:
        self.layer = build().initialize(3, device="cpu")
        self.optimizer = make("optimizer", optimizer, self.layer, 0.01)
        self.step = fs.capture(self.one, strict=True) if captured else self.one

    def one(self, x: Tensor, y: Tensor, place: Tensor, lr: Tensor, scale: Tensor) -> Tensor:
        with nn.stream_position(place):
            out = self.layer(x)
        out = out[0] if isinstance(out, tuple) else out
        out = ops.reshape(out, (out.shape[0], -1))
        loss = losses.cross_entropy(out, y, reduction="sum")
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step(lr=lr, scale=scale)
        return loss

    def steps(self, shape: tuple[int, ...], number: int) -> list[bytes]:
        rng = np.random.default_rng(0)
        seen = []
        for i in range(number):
            n = 6 if i % 7 else 4
            x = tensor(rng.standard_normal((n, *shape)).astype(np.float32))
            y = tensor(rng.integers(0, 3, n))
            place = tensor(np.array([i, 5], np.uint64))
            lr, scale = (tensor(np.asarray(v, np.float32)) for v in (0.01 / (1 + i % 3), 1 / n))
            seen.append(self.step(x, y, place, lr, scale))
        states = self.optimizer.state_dict()
        buffers = [] if self.layer.flat_buffers is None else [self.layer.flat_buffers.values]
        found = as_bytes(self.layer.flat.values, *buffers, *seen)
        return [*found, *(states[name].tobytes() for name in sorted(states))]


def same(build: Callable[[], nn.Layer], optimizer: str, shape: tuple[int, ...], n: int) -> None:
    eager = Run(build, optimizer, captured=False).steps(shape, n)
    replayed = Run(build, optimizer, captured=True)
    assert replayed.steps(shape, n) == eager
    assert all(step.program is not None for _, step in replayed.step._entries)


def small() -> nn.Layer:
    return nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)
    )


OPTIMIZERS = [spec.name for spec in registry.specs("optimizer") if spec.name != "lbfgs"]
WRITTEN = [
    "adam(clip_norm=0.1)", "adam(clip_value=0.01)", "adamw(weight_decay=0.1, decay_biases=False)",
    "sgd(momentum=0.9, nesterov=True, weight_decay=0.01)", "sgd(momentum=0.9, dampening=0.1)",
    "sgd(clip_norm=0.5)", "sgd(weight_decay=0.01)", "lookahead(base='radam', k=3)",
    "sgd(groups={'*.weight': {'lr_scale': 0.5}})",
]  # fmt: skip


@pytest.mark.parametrize("optimizer", [*OPTIMIZERS, *WRITTEN])
def test_every_optimizer_over_200_steps(optimizer: str) -> None:
    same(small, optimizer, (6,), 200)


class Residual(nn.Layer):
    """Attention, and what is used twice."""

    def __init__(self) -> None:
        self.attention = nn.MultiheadAttention(8, 2)
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.attention(x, x, x)
        y = self.norm(x + (y[0] if isinstance(y, tuple) else y))
        return self.head(ops.mean(y, axis=1))


class Last(nn.Layer):
    """A recurrent layer's last output."""

    def __init__(self, inner: nn.Layer, features: int) -> None:
        self.inner, self.head = inner, nn.Linear(features, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inner(x)[0][:, -1])


NETWORKS: dict[str, tuple[Callable[[], nn.Layer], tuple[int, ...]]] = {
    "rnn": (lambda: Last(nn.RNN(4, 5), 5), (7, 4)),
    "lstm": (lambda: Last(nn.LSTM(4, 5, 2, dropout=0.2, bidirectional=True), 10), (7, 4)),
    "gru": (lambda: Last(nn.GRU(4, 5), 5), (7, 4)),
    "attention": (Residual, (5, 8)),
    "convolution": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
            nn.Dropout2d(0.2), nn.Conv2d(4, 5, 3), nn.LeakyReLU(), nn.AvgPool2d(2), nn.Flatten(),
            nn.Linear(5, 3),
        ),
        (8, 8, 2),
    ),
    "activations": (
        lambda: nn.Sequential(
            nn.Linear(6, 6), nn.GELU(), nn.Linear(6, 6), nn.ELU(), nn.Maxout(6, 6), nn.SiLU(),
            nn.Linear(6, 6), nn.Softplus(), nn.Linear(6, 6), nn.Sigmoid(), nn.Linear(6, 3),
        ),
        (6,),
    ),
    "resized and normalised": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Upsample(scale_factor=2.0),
            nn.InstanceNorm(4), nn.ReLU(), nn.Upsample(size=5, mode="bilinear"),
            nn.AdaptiveAvgPool2d(3), nn.RMSNorm(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 8),
            nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 3),
        ),
        (6, 6, 2),
    ),
    "wide enough for threads": (
        lambda: nn.Sequential(nn.Linear(900, 800), nn.ReLU(), nn.Linear(800, 3)), (900,)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_every_kind_of_network(name: str) -> None:
    build, shape = NETWORKS[name]
    same(build, "adam", shape, 30)


def test_frozen_layers() -> None:
    def build() -> nn.Layer:
        layer = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
        nn.freeze(layer[0])
        return layer

    same(build, "adamw(weight_decay=0.1)", (6,), 40)


def test_an_average_of_the_parameters() -> None:
    results = []
    for captured in (False, True):
        run = Run(small, "adam", captured=False)
        run.optimizer = average = optim.EMA(run.optimizer, decay=0.9)
        if captured:
            run.step = fs.capture(run.one, strict=True)
        found = run.steps((6,), 40)
        with average.averages():
            results.append([*found, *as_bytes(run.layer.flat.values)])
    assert results[0] == results[1]


IMAGES = ("cnn", "lenet", "resnet", "speedrun")
SMALL: dict[str, dict[str, Any]] = {"resnet": {"depth": 8}, "speedrun": {"widths": (8, 8, 8)}}
MODELS = [
    pytest.param(spec, id=spec.name, marks=[pytest.mark.slow] if spec.name in IMAGES else [])
    for spec in registry.specs("model")
    if spec.name != "ensemble"  # of models, each of which is here
]


@pytest.mark.parametrize("spec", MODELS)
def test_every_model(spec: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained for 200 steps through fit, with a last smaller batch, captured and not."""
    rng = np.random.default_rng(0)
    images = spec.name in IMAGES
    n = 38
    x = rng.standard_normal((n, *((8, 8) if images else (5,)))).astype(np.float32)
    y = x.reshape(n, -1)[:, 0] * 2 if spec.task == "regression" else rng.integers(0, 2, n)
    results = []
    for captured in (True, False):
        if not captured:
            monkeypatch.setattr(NumpyBackend, "capture", Backend.capture)
        model = fs.model(spec.name)
        if not hasattr(model, "optimizer"):
            pytest.skip("not trained in steps")
        model.set_params(**SMALL.get(spec.name, {}))
        model.set_params(epochs=23, batch_size=4, validation_fraction=0.1, device="cpu")
        if spec.name != "speedrun":  # which has an optimizer of its own
            model.set_params(optimizer="adam", lr=0.01)
        if spec.name == "linear":
            model.set_params(solver="sgd")
        model.fit(x, y)
        timeless = [{k: v for k, v in e.items() if k != "seconds"} for e in model.history_]
        results.append((as_bytes(model.layer_.flat.values), repr(timeless)))
        assert len(timeless) * 9 >= 200
    assert results[0] == results[1]


def test_predicting_many_examples_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((8100, 5))
    model = fs.model("mlp", epochs=1, optimizer="adam", device="cpu")
    model.fit(x[:200].astype(np.float32), (x[:200, 0] > 0).astype(int))
    made = []
    ordinary = NumpyBackend.capture

    def watched(self: Any, step: Any, *example: Any) -> Any:
        made.append(ordinary(self, step, *example))
        return made[-1]

    monkeypatch.setattr(NumpyBackend, "capture", watched)
    captured = model.predict_proba(x)
    assert [step.program is not None for step in made] == [True], "the last batch is filled up"
    assert captured.shape == (8100, 2)
    monkeypatch.setattr(NumpyBackend, "capture", Backend.capture)
    assert captured.tobytes() == model.predict_proba(x).tobytes()
    np.testing.assert_allclose(captured[-100:], model.predict_proba(x[-100:]), rtol=1e-6)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_nothing_goes_to_the_host_or_comes_from_it_in_a_step(optimizer: str) -> None:
    inside = False

    class Deaf(NumpyBackend):
        def to_numpy(self, a: Any) -> Any:
            assert not inside, "a step reads an array"
            return super().to_numpy(a)

        def asarray(self, x: Any, dtype: str | None = None) -> Any:
            assert not inside, "a step sends an array"
            return super().asarray(x, dtype)

        def synchronize(self) -> None:
            assert not inside, "a step waits for the device"

    backend = Deaf(CPU.device)
    layer = small().initialize(0, device=backend)
    made = make("optimizer", optimizer, layer, 0.01)

    def step(x: Tensor, y: Tensor, place: Tensor, scale: Tensor) -> Tensor:
        nonlocal inside
        inside = True
        made.zero_grad()
        with nn.stream_position(place):
            loss = losses.cross_entropy(layer(x), y)
        loss.backward()
        made.step(scale=scale)
        inside = False
        return loss

    captured = fs.capture(step, strict=True)
    rng = np.random.default_rng(0)
    for i in range(5):
        x, y = rng.standard_normal((6, 6)).astype(np.float32), rng.integers(0, 3, 6)
        place, scale = np.array([i, 0], np.uint64), np.asarray(0.5, np.float32)
        captured(*[Tensor(backend.asarray(a), backend) for a in (x, y, place, scale)])
    assert replay_of(captured) is not None


def test_one_value_beside_many_and_casts_to_the_same_dtype() -> None:
    """What is counted in every step: the sum of truth values as numbers. A cast that changes
    nothing is left out, unless the caller is given what it makes."""

    def step(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        right = ops.equal(ops.astype(x > 0.25, "float32"), y)
        both = x < y
        same = ops.astype(ops.reshape(y, (3, 7)), "float32")
        return (
            ops.sum(ops.astype(right, "float32")),
            ops.sum(ops.astype(both, "float32")) + ops.sum(ops.where(both, x, y)),
            ops.sum(same * ops.reshape(ops.sum(x), (1, 1)) + ops.reshape(ops.sum(y), (1,))),
        )

    captured = fs.capture(step, strict=True)
    rng = np.random.default_rng(0)
    for _ in range(6):
        x = tensor(rng.random((7, 3), np.float32))
        y = tensor(rng.integers(0, 2, (7, 3)).astype(np.float32))
        assert as_bytes(*captured(x, y)) == as_bytes(*step(x, y))
    assert replay_of(captured).source.count("copyto") == 5  # three truth values, and ``where``


def test_a_cast_that_is_returned_is_the_callers() -> None:
    kept = tensor(np.ones((2, 3), np.float32))
    captured = fs.capture(
        lambda x: (ops.astype(ops.reshape(kept, (3, 2)), "float32"), ops.sum(x * kept)), strict=True
    )
    given = [captured(kept)[0] for _ in range(5)]
    kept.array[...] = 2
    assert all(float(ops.sum(one).item()) == 6 for one in given)
    assert float(ops.sum(captured(kept)[0]).item()) == 12


def test_sums_of_one_value_are_those_of_numpy() -> None:
    """float32, float64 and what overflows, one value and several."""
    for dtype, big in (("float32", 3e38), ("float64", 1.7e308)):
        for shape in ((), (1,), (2,)):
            total = tensor(np.zeros(shape, dtype))

            def step(x: Tensor, total: Tensor = total) -> None:
                ops.accumulate(total, x * 1.0)

            captured = fs.capture(step, strict=True)
            expected = np.zeros(shape, dtype)
            rng = np.random.default_rng(0)
            with np.errstate(over="ignore"):
                for x in [*rng.standard_normal((20, *shape)).astype(dtype), big, big]:
                    x = np.full(shape, x, dtype)
                    captured(tensor(x))
                    expected = expected + x
            assert total.numpy().tobytes() == np.asarray(expected, dtype).tobytes()
