"""What optimizers do by the course of training: hold parameters, average by a schedule, finish."""

# Wrong types are what is tested
# mypy: disable-error-code="arg-type"

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn, optim, plugins, schedules
from flagstone.backend import Backend, open_backend
from flagstone.devices import Device
from flagstone.errors import ConfigurationError
from flagstone.named import make
from flagstone.plugins import BackendSpec, hookimpl, registry
from flagstone.training import CrossEntropy, Trainer

NAMES = sorted({*registry.names("optimizer")} - {"lbfgs", "lookahead"})
RNG = np.random.default_rng(3)
X, Y = RNG.standard_normal((24, 3)), RNG.integers(0, 2, 24)


def a_layer() -> nn.Layer:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(4), nn.Linear(4, 2)).initialize(0)


def a_step(layer: nn.Layer, optimizer: optim.Optimizer) -> None:
    optimizer.zero_grad()
    (layer(fs.tensor(RNG.standard_normal((5, 3)).astype("float32"))) ** 2).sum().backward()
    optimizer.step()


@pytest.mark.parametrize("name", NAMES)
def test_a_group_is_held_after_its_epochs(name: str) -> None:
    layer = a_layer()
    options = {"weight_decay": 0.1, "groups": {"0.*": {"epochs": 2}}}
    optimizer = optim.Lookahead(registry.load("optimizer", name)(layer, 0.1, **options), k=3)
    for epoch in range(4):
        optimizer.start_epoch(epoch, epochs=4, steps=3)
        before = {key: np.array(p.numpy()) for key, p in layer.named_parameters()}
        for _ in range(3):
            a_step(layer, optimizer)
        for key, p in layer.named_parameters():
            if epoch >= 2 and key.startswith("0."):  # each epoch ends with fast and slow alike
                np.testing.assert_array_equal(p.numpy(), before[key], key)
            else:
                assert not np.array_equal(p.numpy(), before[key]), key


def test_a_group_that_is_held_has_no_rate_and_no_decay() -> None:
    optimizer = optim.SGD(a_layer(), 0.1, weight_decay=0.5, groups={"2.bias": {"epochs": 1}})
    assert optimizer.rates is None
    optimizer.start_epoch(1, 2, 1)
    assert [o.lr_scale for o in optimizer.options] == [1, 1, 1, 1, 1, 0]
    assert optimizer.rates is not None
    assert optimizer.decays is not None
    assert (optimizer.rates.numpy().min(), optimizer.decays.numpy().max()) == (0.0, 0.5)
    optimizer.start_epoch(0, 2, 1)  # another training begins
    assert optimizer.options[-1].lr_scale == 1.0


def train(optimizer: Any, epochs: int = 4, **options: Any) -> Trainer:
    layer = a_layer()
    trainer = Trainer(layer, CrossEntropy(), optimizer(layer), epochs=epochs, batch_size=8)
    trainer.fit(X, Y, **options)
    return trainer


def test_a_trainer_tells_the_epoch_also_of_captured_steps() -> None:
    seen: list[Any] = []

    class Watch(fs.Callback):
        def on_epoch_end(self, trainer: Trainer, epoch: int, metrics: Any) -> None:
            seen.append(np.array(trainer.layer[0].weight.numpy()))  # type: ignore[index]  # Sequential

    layer = a_layer()
    optimizer = optim.SGD(layer, 0.1, momentum=0.9, groups={"0.*": {"epochs": 2}})
    Trainer(
        layer, CrossEntropy(), optimizer, epochs=5, batch_size=8, callbacks=[Watch()]
    ).fit(X, Y)  # fmt: skip
    moved = [not np.array_equal(a, b) for a, b in itertools.pairwise(seen)]
    assert moved == [True, False, False, False]


@pytest.mark.parametrize("steps", [10, 13, 23])
def test_a_scheduled_average_is_the_speed_runs(steps: int) -> None:
    """Jordan's rule, arXiv:2404.00498: every fifth step the average keeps 0.95**5 * (t / T)**3 of
    itself, running statistics included, the network goes on from it and ends with it."""
    layer = a_layer().with_dtype("float64")
    optimizer = make(
        "optimizer",
        f"lookahead(base='sgd(momentum=0.9)', k=5, alpha={1 - 0.95**5}, "
        "schedule='polynomial(power=3.0, rising=True)', buffers=True)",
        layer, 0.05,
    )  # fmt: skip
    plain = a_layer().with_dtype("float64")
    reference = optim.SGD(plain, 0.05, momentum=0.9)
    assert plain.flat_buffers is not None
    values = [reference.flat.values, plain.flat_buffers.values]
    average = [np.array(v.numpy()) for v in values]
    optimizer.start_epoch(0, 1, steps)
    for t in range(1, steps + 1):
        x = fs.tensor(RNG.standard_normal((5, 3)))
        for net, o in ((layer, optimizer), (plain, reference)):
            o.zero_grad()
            (net(x) ** 2).sum().backward()
            o.step()
        kept = 0.95**5 * (t / steps) ** 3
        if t % 5 == 0:
            pairs = zip(average, values, strict=True)
            average = [kept * a + (1 - kept) * v.numpy() for a, v in pairs]
            for value, a in zip(values, average, strict=True):
                value.array[...] = a
    optimizer.finish()
    assert layer.flat_buffers is not None
    for found, expected in zip((optimizer.flat, layer.flat_buffers), average, strict=True):
        np.testing.assert_allclose(found.values.numpy(), expected, rtol=1e-12, atol=1e-13)


SCHEDULED = (
    "lookahead(base='adam', k=2, alpha=0.3, schedule='polynomial(rising=True)', buffers=True)"
)


def test_a_scheduled_average_goes_on_after_resuming() -> None:
    states: list[Any] = []

    class Keep(fs.Callback):
        def on_epoch_end(self, trainer: Trainer, epoch: int, metrics: Any) -> None:
            states.append(trainer.state())

    def trainer(*callbacks: fs.Callback) -> Trainer:
        layer = a_layer()
        optimizer = make("optimizer", SCHEDULED, layer, 0.05)
        return Trainer(
            layer, CrossEntropy(), optimizer, epochs=4, batch_size=8, callbacks=callbacks
        )  # fmt: skip

    whole, resumed = trainer(Keep()), trainer()
    whole.fit(X, Y)
    resumed.fit(X, Y, resume_from=states[1])
    for key, value in whole.layer.state_dict().items():
        np.testing.assert_array_equal(resumed.layer.state_dict()[key], value, key)
    slow = whole.optimizer.states["slow"].numpy()
    np.testing.assert_array_equal(whole.optimizer.flat.values.numpy(), slow)


def test_plain_lookahead_ends_with_its_slow_weights_unless_there_are_none() -> None:
    ends = train(lambda layer: optim.Lookahead(optim.SGD(layer, 0.1), k=5))  # of 12 steps
    slow = ends.optimizer.states["slow"].numpy()
    np.testing.assert_array_equal(ends.optimizer.flat.values.numpy(), slow)
    short = train(lambda layer: optim.Lookahead(optim.SGD(layer, 0.1), k=50))
    assert not np.array_equal(
        short.optimizer.flat.values.numpy(), short.optimizer.states["slow"].numpy()
    )


def test_the_best_parameters_are_kept_where_patience_asks_for_them() -> None:
    layer = a_layer()
    optimizer = optim.Lookahead(optim.SGD(layer, 0.1), k=5)
    trainer = Trainer(layer, CrossEntropy(), optimizer, epochs=3, batch_size=8, patience=3)
    trainer.fit(X, Y)
    np.testing.assert_array_equal(optimizer.flat.values.numpy(), trainer._best["parameters"])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda net: optim.Lookahead(optim.SGD(net), schedule="cosine"), "schedule expected a"),
        (lambda net: optim.lookahead(net, schedule=1), "lookahead: schedule expected a registered"),
        (lambda net: optim.lookahead(net, buffers=1), "lookahead: buffers expected True or False"),
        (
            lambda net: optim.Lookahead(
                optim.SGD(net), k=1, alpha=0.1, schedule=schedules.Linear(start=5.0)
            ).start_epoch(0, 1, 3),
            "Lookahead: schedule expected to leave a rest in [0, 1); got 3.0",
        ),
        (
            lambda net: a_step(net, optim.Lookahead(optim.SGD(net), schedule=schedules.Linear())),
            "Lookahead: schedule expected to be told how long training takes",
        ),
        (
            lambda net: optim.SGD(net, groups={"*": {"epochs": -1}}),
            "SGD: groups['*']['epochs'] expected a finite number >= 0; got -1",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said(build: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        build(a_layer())


class Mixed(Backend):
    """NumPy that says it has 16 bits."""

    name, xp, precisions = "mixed-too", np, ("exact", "mixed-fp16")


def open_mixed(index: int | None) -> Backend:
    return Mixed(Device("mixed-too"))


class MixedPlugin:
    @hookimpl
    def flagstone_backends(self) -> Any:
        target = f"{__name__}:open_mixed"
        yield BackendSpec("mixed-too", target, summary="", devices=("mixed-too",))


def test_in_mixed_precision_the_copies_follow_to_the_end() -> None:
    """What products are computed from is what the parameters are, also after ``finish``."""
    plugins.register(MixedPlugin(), "mixed-too-backend")
    try:
        backend = open_backend("mixed-too", "mixed-fp16")
        layer = nn.Linear(3, 2).initialize(0, device=backend)
        optimizer = optim.Lookahead(optim.SGD(layer, 0.5), k=2, alpha=0.5)
        x = fs.tensor(np.ones((2, 3), np.float32), device=backend)
        for _ in range(3):
            optimizer.zero_grad()
            optimizer.backward((layer(x) ** 2).sum() * 1e-3)
            optimizer.step()
        assert np.abs(optimizer.states["slow"].numpy() - optimizer.flat.values.numpy()).max() > 0
        optimizer.finish()
        assert optimizer.flat.low is not None
        low, values = optimizer.flat.low.numpy(), optimizer.flat.values.numpy()
        np.testing.assert_array_equal(low, values.astype(low.dtype))
        np.testing.assert_array_equal(values, optimizer.states["slow"].numpy())
    finally:
        plugins.unregister("mixed-too-backend")
