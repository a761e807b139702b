"""Captured steps on a card: the numbers of the steps, and nothing left behind."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import losses, nn, ops, optim
from flagstone.backend import Backend, open_backend
from flagstone.named import make
from flagstone.ops.door import ALL_OPS, op
from flagstone.plugins import registry
from flagstone.tensors import Tensor
from flagstone.training.streaming import StreamedData

RNG = np.random.default_rng(5)
X = RNG.standard_normal((330, 6)).astype(np.float32)
Y = (X[:, 0] + X[:, 1] > 0).astype(int) + (X[:, 2] > 1)
IMAGES = RNG.uniform(0, 1, (66, 8, 8)).astype(np.float32)

pytestmark = pytest.mark.gpu


@pytest.fixture
def card() -> Any:
    return open_backend("cuda")


def eager(monkeypatch: pytest.MonkeyPatch, card: Any) -> None:
    monkeypatch.setattr(type(card), "capture", Backend.capture)


def result(model: Any, x: Any, y: Any) -> tuple[bytes, str]:
    model.fit(x, y)
    timeless = [{k: v for k, v in e.items() if k != "seconds"} for e in model.history_]
    return model.layer_.flat.values.numpy().tobytes(), repr(timeless)


OPTIMIZERS = [spec.name for spec in registry.specs("optimizer") if spec.name != "lbfgs"]


@pytest.mark.parametrize("optimizer", [*OPTIMIZERS, "adam(clip_norm=0.1)"])
def test_every_optimizer_over_200_steps(
    card: Any, optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for captured in (True, False):
        if not captured:
            eager(monkeypatch, card)
        layer = nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)
        ).initialize(3, device="cuda")
        made = make("optimizer", optimizer, layer, 0.01)

        def step(x: Tensor, y: Tensor, place: Tensor, layer: Any = layer, o: Any = made) -> Tensor:
            with nn.stream_position(place):
                loss = losses.cross_entropy(layer(x), y)
            o.zero_grad()
            loss.backward()
            o.step()
            return loss

        do = fs.capture(step, strict=True)
        seen = []
        for i in range(200):
            rows = slice(i, i + (6 if i % 7 else 4))
            arrays = (X[rows], Y[rows], np.array([i, 0], np.uint64))
            seen.append(do(*[Tensor(card.asarray(a), card) for a in arrays]))
        states = {name: a.tobytes() for name, a in made.state_dict().items()}
        values = [t.numpy().tobytes() for t in (*layer.parameters(), *seen)]
        found.append((values, states))
    assert found[0] == found[1]


@pytest.mark.parametrize("name", [s.name for s in registry.specs("model") if s.name != "ensemble"])
def test_every_model_over_200_steps(card: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a last, smaller batch, which is a graph of its own."""
    model: Any = fs.model(name)
    if not hasattr(model, "optimizer"):
        pytest.skip("not trained in steps")
    x = IMAGES if model.takes_images_only else X[:66]
    y = x.reshape(66, -1)[:, 0] if registry.find("model", name).task == "regression" else Y[:66] > 0
    found = []
    for captured in (True, False):
        if not captured:
            eager(monkeypatch, card)
        model = fs.model(name)
        model.set_params(device="cuda", epochs=23, batch_size=7)
        if name != "speedrun":  # which has an optimizer of its own
            model.set_params(optimizer="adam", lr=0.01)
        if name == "linear":
            model.set_params(solver="sgd")
        found.append(result(model, x, y))
    assert found[0] == found[1]


def test_steps_are_graphs_and_their_memory_comes_back(card: Any) -> None:
    layer = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 3))
    layer.initialize(0, device="cuda")
    optimizer = optim.Adam(layer, 0.01)
    data = [Tensor(card.asarray(a), card) for a in (X, Y)]
    table = Tensor(card.asarray(np.arange(320).reshape(40, 8)), card)

    def step(rows: Tensor) -> None:
        optimizer.zero_grad()
        losses.cross_entropy(layer(ops.take(data[0], rows)), ops.take(data[1], rows)).backward()
        optimizer.step()

    captured = fs.capture(step, strict=True)
    assert list(captured.sweep((table,), 0, 40))[-1] == 40
    assert captured.reason is None
    held = card.memory().used
    captured.forget()
    gc.collect()
    assert card.memory().used <= held
    assert not len(card._rooms)


def test_an_op_that_calls_a_library_is_named(card: Any) -> None:
    @op(differentiable=False)
    def inverse(xp: Any, x: Any) -> Any:
        return xp.linalg.inv(x)

    x = Tensor(card.asarray(np.eye(3, dtype=np.float32)), card)
    captured = fs.capture(lambda x: inverse(ops.exp(x)))
    try:
        captured(x)
        captured(x)
        with pytest.warns(RuntimeWarning, match="inverse: a CUDA graph cannot hold"):
            captured(x)
        np.testing.assert_array_equal(captured(x).numpy(), inverse(ops.exp(x)).numpy())
    finally:
        del ALL_OPS["inverse"]


def test_streamed_data_give_the_bits_of_data_on_the_card(
    card: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flagstone.training import streaming

    found = []
    for streamed in (False, True):
        if streamed:
            monkeypatch.setattr(streaming, "SHARE", 1 << 60)
        kept: list[Any] = []

        class Keep(fs.Callback):
            def on_train_end(self, trainer: Any, kept: Any = kept) -> None:
                kept.append(trainer._data)

        model: Any = fs.model("mlp", device="cuda", epochs=4, batch_size=16, optimizer="adam")
        model.fit(X, Y, callbacks=[Keep()])
        assert isinstance(kept[0], StreamedData) is streamed
        found.append(model.layer_.flat.values.numpy().tobytes())
    assert found[0] == found[1]


def test_predicting_many_examples(card: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = fs.model("mlp", device="cuda", epochs=1, optimizer="adam")
    model.fit(X, Y)
    many = np.tile(X, (28, 1))
    captured = model.predict_proba(many)
    eager(monkeypatch, card)
    assert model.predict_proba(many).tobytes() == captured.tobytes()
