"""The training loop: what a step does, what it reads, and when it ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn, ops, random
from flagstone.backend import open_backend
from flagstone.errors import ConfigurationError, InputError, RunError, ShapeError
from flagstone.named import make
from flagstone.training import Callback, Trainer
from flagstone.training.objective import L2, CrossEntropy, Objective


class Linear64(Objective):
    """A squared error whose gradients are easy to write by hand."""

    def losses(self, out: Any, y: Any) -> Any:
        return fs.losses.mse(out, y, reduction="none")


def linear(features: int = 3) -> nn.Layer:
    return nn.Linear(features, 1).initialize(0, dtype="float64")


def table(n: int = 10) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return rng.standard_normal((n, 3)), rng.standard_normal((n, 1))


def by_hand(
    x: np.ndarray,
    y: np.ndarray,
    epochs: int,
    batch: int,
    lr: float,
    weight: Any = None,
    l2: Any = 0,
) -> tuple[np.ndarray, list[float]]:
    """Mini-batch gradient descent in NumPy: parameters and the loss of every epoch."""
    layer = linear()
    w, b = layer.weight.numpy()[0].copy(), layer.bias.numpy().copy()
    weight = np.ones(len(x)) if weight is None else weight
    history = []
    for epoch in range(epochs):
        blocks = -(-len(x) // 4)
        words = random.bits(random.key(0, "shuffle"), (0, epoch), 0, blocks)[: len(x)]
        order = random.permutation(words) if batch < len(x) else np.arange(len(x))
        total = 0.0
        for start in range(0, len(x), batch):
            rows = order[start : start + batch]
            error = x[rows] @ w + b - y[rows, 0]
            total += float(weight[rows] @ error**2) + len(rows) * l2 * float(w @ w)
            share = weight[rows] / len(rows)
            w, b = (
                w - lr * (2 * (share * error) @ x[rows] + 2 * l2 * w),
                b - lr * 2 * (share * error).sum(),
            )
        history.append(total / weight.sum())
    return np.append(w, b), history


def values(layer: Any) -> np.ndarray:
    return np.append(layer.weight.numpy()[0], layer.bias.numpy())


@pytest.mark.parametrize("batch", [1, 3, 4, 10, 99])
def test_the_loop_is_gradient_descent_over_the_streams_order(batch: int, make_trainer: Any) -> None:
    """Batches of 3 and 4 leave a smaller last one, whose gradient is divided by its own size."""
    x, y = table()
    layer = linear()
    trainer = make_trainer(
        layer, optimizer="sgd", lr=0.05, epochs=3, batch_size=batch, objective=Linear64()
    )
    trainer.fit(x, y)
    expected, history = by_hand(x, y, 3, min(batch, 10), 0.05)
    np.testing.assert_allclose(values(layer), expected, rtol=1e-12)
    given = [epoch["train"]["loss"] for epoch in trainer.history]
    np.testing.assert_allclose(given, history, rtol=1e-12)
    assert [epoch["epoch"] for epoch in trainer.history] == [1, 2, 3]
    assert all(epoch["lr"] == 0.05 and epoch["seconds"] > 0 for epoch in trainer.history)


def test_weights_and_a_penalty(make_trainer: Any) -> None:
    x, y = table()
    weight = np.arange(10.0) + 0.5
    weight /= weight.mean()
    layer = linear()
    trainer = make_trainer(
        layer, optimizer="sgd", lr=0.02, epochs=2, batch_size=4, objective=L2(Linear64(), 0.1)
    )
    trainer.fit(x, y, weight=weight)
    expected, history = by_hand(x, y, 2, 4, 0.02, weight, 0.1)
    np.testing.assert_allclose(values(layer), expected, rtol=1e-12)
    given = [epoch["train"]["loss"] for epoch in trainer.history]
    np.testing.assert_allclose(given, history, rtol=1e-12)


def test_a_batch_of_two_halves_gives_the_same_update(make_trainer: Any) -> None:
    """Gradients are sums, divided once: so workers can share a batch."""
    x, y = table(8)
    whole = linear()
    make_trainer(
        whole, optimizer="adam", epochs=1, batch_size=None, objective=Linear64()
    ).fit(x, y)  # fmt: skip

    layer = linear()
    optimizer = make("optimizer", "adam", layer, 0.01)
    objective = Linear64()
    for half in (slice(0, 3), slice(3, 8)):
        objective.losses(layer(fs.tensor(x[half])), fs.tensor(y[half])).sum().backward()
    optimizer.step(scale=fs.tensor(np.asarray(1 / 8)))
    np.testing.assert_allclose(values(layer), values(whole), rtol=1e-13)


def test_the_rate_follows_the_schedule(make_trainer: Any, make_data: Any) -> None:
    trainer = make_trainer(schedule="cosine(warmup=4)", lr=0.5, optimizer="sgd", epochs=3)
    trainer.fit(*make_data())
    schedule = make("schedule", "cosine(warmup=4)")
    steps = 4
    expected = [0.5 * schedule.factor(i * steps + 3, 12, steps) for i in range(3)]
    assert [epoch["lr"] for epoch in trainer.history] == pytest.approx(expected)


@pytest.mark.filterwarnings("ignore:.*cannot be captured. it reads")  # to look at its values
def test_every_example_is_seen_once_an_epoch_and_in_another_order_each(make_trainer: Any) -> None:
    seen: list[np.ndarray] = []

    class Look(nn.Layer):
        def __init__(self) -> None:
            self.inner = nn.Linear(1, 1)

        def forward(self, x: Any) -> Any:
            if self.training:
                seen.append(x.numpy()[:, 0].copy())
            return self.inner(x)

    x = np.arange(10.0)[:, None]
    layer = Look().initialize(0, dtype="float64")
    make_trainer(
        layer, optimizer="sgd", lr=0.0, epochs=2, batch_size=4, objective=Linear64(), seed=5
    ).fit(x, x)
    assert [len(batch) for batch in seen] == [4, 4, 2] * 2
    first, second = np.concatenate(seen[:3]), np.concatenate(seen[3:])
    assert not np.array_equal(first, second)
    for epoch, order in enumerate((first, second)):
        words = random.bits(random.key(5, "shuffle"), (0, epoch), 0, 3)[:10]
        np.testing.assert_array_equal(order, random.permutation(words))
        np.testing.assert_array_equal(np.sort(order), np.arange(10))


@pytest.mark.filterwarnings("ignore:.*cannot be captured. it reads")  # to look at its values
def test_masks_differ_from_step_to_step_and_repeat_with_the_seed(
    make_trainer: Any, make_data: Any
) -> None:
    masks: list[np.ndarray] = []

    class Look(nn.Layer):
        def __init__(self) -> None:
            self.drop, self.inner = nn.Dropout(0.5), nn.Linear(6, 3)

        def forward(self, x: Any) -> Any:
            y = self.drop(x)
            if self.training:
                masks.append(y.numpy() == 0)
            return self.inner(y)

    x, y = make_data(32)
    for _ in range(2):
        make_trainer(Look().initialize(0), epochs=2).fit(x, y)
    one, other = masks[:4], masks[4:]
    np.testing.assert_array_equal(one, other)
    for i in range(4):
        for j in range(i):
            assert not np.array_equal(one[i], one[j])


def test_a_step_reads_nothing_from_the_device(make_data: Any, make_network: Any) -> None:
    ordinary = open_backend("cpu")
    inside = False

    class Watched(type(ordinary)):  # type: ignore[misc]  # whichever class serves the CPU
        def to_numpy(self, a: Any) -> Any:
            assert not inside, "a step read the device"
            return super().to_numpy(a)

        def synchronize(self) -> None:
            assert not inside, "a step waited for the device"
            super().synchronize()

        def capture(self, step: Any, *example: Any) -> Any:
            def watched(*arguments: Any) -> Any:
                nonlocal inside
                assert all(a is None or isinstance(a, fs.Tensor) for a in arguments)
                inside = True
                try:
                    return step(*arguments)
                finally:
                    inside = False

            return watched

    backend = Watched(ordinary.device)
    x, y = make_data()
    layer = make_network(device=backend)
    assert layer.backend is backend
    trainer = Trainer(
        layer, L2(CrossEntropy(), 0.01), make("optimizer", "adam(clip_norm=1.0)", layer, 0.01),
        epochs=2, batch_size=16, schedule=make("schedule", "cosine"), patience=3,
    )  # fmt: skip
    trainer.fit(x, y, weight=np.ones(len(x)), validation=(x, y))
    plain = Trainer(
        twin := make_network(), L2(CrossEntropy(), 0.01),
        make("optimizer", "adam(clip_norm=1.0)", twin, 0.01),
        epochs=2, batch_size=16, schedule=make("schedule", "cosine"), patience=3,
    )  # fmt: skip
    plain.fit(x, y, weight=np.ones(len(x)), validation=(x, y))
    assert trainer.history[-1]["train"] == plain.history[-1]["train"]
    inside = True  # and the test itself sees what it should
    with pytest.raises(AssertionError, match="a step read the device"):
        layer.flat.values.numpy()


def test_the_history_is_what_evaluating_gives(make_trainer: Any, make_data: Any) -> None:
    """With rate 0 the parameters stay, so every epoch's means are those of the whole data."""
    x, y = make_data(41)
    layer = nn.Sequential(nn.Linear(6, 3)).initialize(0, dtype="float64")
    trainer = make_trainer(layer, optimizer="sgd", lr=0.0, epochs=2, batch_size=7)
    trainer.fit(x, y, validation=(x, y))
    logits = layer(fs.tensor(x.astype(np.float64))).numpy()
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    expected = {
        "loss": -log_p[np.arange(41), y].mean(), "accuracy": (logits.argmax(axis=1) == y).mean()
    }  # fmt: skip
    for epoch in trainer.history:
        for part in ("train", "validation"):
            assert epoch[part] == pytest.approx(expected, rel=1e-12)


def test_evaluating_leaves_layer_and_mode_alone(make_trainer: Any, make_data: Any) -> None:
    x, y = make_data(30)
    trainer = make_trainer(epochs=1)
    trainer.fit(x, y, validation=(x, y))
    before = trainer.layer.state_dict()
    from flagstone.training.device_data import DeviceData

    held = DeviceData(x, y, None, trainer.backend, "float32")
    for mode in (True, False):
        trainer.layer.train(mode)
        assert trainer.evaluate(held) == trainer.evaluate(held)  # dropout and batch do not matter
        assert trainer.layer.training is mode
    for name, value in trainer.layer.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_many_examples_are_evaluated_in_parts(make_trainer: Any) -> None:
    x = np.random.default_rng(0).standard_normal((2500, 3))
    y = x[:, :1]
    layer = linear()
    trainer = make_trainer(layer, optimizer="sgd", lr=0.0, epochs=1, objective=Linear64())
    trainer.fit(x, y, validation=(x, y))
    error = layer(fs.tensor(x)).numpy() - y
    assert trainer.history[0]["validation"]["loss"] == pytest.approx((error**2).mean(), rel=1e-12)


# Early stopping


@pytest.mark.parametrize("watched", ["validation", "train"])
def test_patience_stops_and_goes_back_to_the_best(
    watched: str, make_trainer: Any, make_data: Any
) -> None:
    states: dict[int, dict[str, Any]] = {}

    class Keep(Callback):
        def on_epoch_end(self, trainer: Any, epoch: int, metrics: Any) -> None:
            states[epoch] = trainer.layer.state_dict()

    x, y = make_data(30)
    rng = np.random.default_rng(9)
    held_out = (rng.standard_normal((20, 6)).astype(np.float32), rng.integers(0, 3, 20))
    trainer = make_trainer(epochs=60, patience=3, lr=0.3, callbacks=[Keep()])
    trainer.fit(x, y, validation=held_out if watched == "validation" else None)
    losses = [epoch[watched]["loss"] for epoch in trainer.history]
    best = int(np.argmin(losses)) + 1
    assert trainer.epoch == len(losses) == best + 3 < 60
    final = trainer.layer.state_dict()
    for name, value in final.items():  # batch norm's statistics too
        np.testing.assert_array_equal(value, states[best][name])
    assert any(not np.array_equal(final[n], states[trainer.epoch][n]) for n in final)


def test_a_run_that_ends_before_its_patience_goes_back_too(
    make_trainer: Any, make_data: Any
) -> None:
    x, y = make_data()
    trainer = make_trainer(epochs=8, patience=100, lr=0.5)
    trainer.fit(x, y, validation=(x, y))
    losses = [epoch["validation"]["loss"] for epoch in trainer.history]
    from flagstone.training.device_data import DeviceData

    held = DeviceData(x, y, None, trainer.backend, "float32")
    assert trainer.evaluate(held)["loss"] == min(losses)


# Refusals


@pytest.mark.parametrize(("optimizer", "lr"), [("sgd", 1e6), ("sgd(momentum=0.9)", 1e30)])
def test_divergence_is_one_clear_error(optimizer: str, lr: float, make_trainer: Any) -> None:
    x, y = table()
    trainer = make_trainer(
        linear(), optimizer=optimizer, lr=lr, epochs=100, batch_size=2, objective=Linear64()
    )
    message = r"the loss is (nan|inf) after epoch \d+: training diverged\. Lower lr \(now 1e\+"
    with pytest.raises(RunError, match=message) as caught:
        trainer.fit(x, y)
    assert caught.value.exit_code == 1
    assert len(trainer.history) == trainer.epoch < 100


def test_a_label_out_of_range_ends_the_run(make_trainer: Any, make_data: Any) -> None:
    x, y = make_data()
    with pytest.raises(RunError, match="the loss is nan after epoch 1"):
        make_trainer().fit(x, np.where(y == 2, 3, y))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs: expected a positive number; got 0"),
        ({"epochs": -2.5}, r"epochs: expected a positive number; got -2\.5"),
        ({"epochs": float("inf")}, "epochs: expected a positive number; got inf"),
        ({"epochs": float("nan")}, "epochs: expected a positive number; got nan"),
        ({"epochs": "3"}, "epochs: expected a positive number; got '3'"),
        ({"epochs": True}, "epochs: expected a positive number; got True"),
        ({"batch_size": 0}, "batch_size: expected a positive integer; got 0"),
        ({"patience": 0}, "patience: expected a positive integer; got 0"),
        ({"patience": -1}, "patience: expected a positive integer; got -1"),
    ],
)
def test_a_bad_number_is_named(options: dict[str, Any], message: str, make_trainer: Any) -> None:
    with pytest.raises(ConfigurationError, match=message):
        make_trainer(**options)


def test_no_examples(make_trainer: Any) -> None:
    with pytest.raises(InputError, match=r"fit: x expected at least one example; got .*\(0, 6\)"):
        make_trainer().fit(np.ones((0, 6), np.float32), np.ones(0, np.int64))


@pytest.mark.parametrize("part", ["y", "weight", "validation"])
def test_lengths_that_differ_are_refused_before_training(
    part: str, make_trainer: Any, make_data: Any
) -> None:
    x, y = make_data()
    arguments = {
        "y": (x, y[:-1], {}),
        "weight": (x, y, {"weight": np.ones(49)}),
        "validation": (x, y, {"validation": (x, y[:10])}),
    }[part]
    trainer = make_trainer()
    with pytest.raises(ShapeError, match=r"expected 50 (targets|weights).*got (49|10)"):
        trainer.fit(arguments[0], arguments[1], **arguments[2])
    assert trainer.epoch == 0


def test_integers_become_floats_batch_by_batch(make_trainer: Any) -> None:
    x = np.random.default_rng(0).integers(0, 255, (20, 4, 4, 1), dtype=np.uint8)
    y = (x.mean(axis=(1, 2, 3)) > 127).astype(np.int64)
    layer = nn.Sequential(nn.Flatten(), nn.Linear(16, 2, init="zeros")).initialize(0)
    ints, floats = [
        make_trainer(
            nn.Sequential(nn.Flatten(), nn.Linear(16, 2, init="zeros")).initialize(0), lr=1e-4
        ).fit(given, y)[-1]["train"]
        for given in (x, x.astype(np.float32))
    ]
    assert ints == floats
    assert ops.astype(fs.tensor(x), dtype="float32").dtype_name == layer.dtype_name
