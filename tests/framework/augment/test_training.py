"""Augmentation in the training loop: when it runs, what it does to losses, how it resumes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flagstone import nn, ops
from flagstone.augment import Augmentation, Chain, CutMix, Flip, Mixture, MixUp, Translate, parse
from flagstone.backend import Backend, open_backend
from flagstone.errors import RunError
from flagstone.named import make
from flagstone.tensors import Tensor
from flagstone.training import Callback, Trainer
from flagstone.training.objective import BinaryCrossEntropy, CrossEntropy, Mixed, SquaredError

EVERYTHING = "flip,crop(padding=2),cutout(size=2),mixup(alpha=0.4),cutmix"


def data(n: int = 21) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, 5, 4, 2)).astype(np.float32), rng.integers(0, 3, n)


def trainer(augment: str, device: Any = None, **options: Any) -> Trainer:
    layer = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(24, 3)
    ).initialize(0, device=device)
    parts = parse(augment)
    return Trainer(
        layer, CrossEntropy(), make("optimizer", "adam", layer, 0.01),
        **{"epochs": 3, "batch_size": 8, "augment": parts, "seed": 5, **options},
    )  # fmt: skip


def as_tensor(a: Any, backend: Backend | None = None) -> Tensor:
    backend = open_backend("cpu") if backend is None else backend
    return Tensor(backend.asarray(np.asarray(a)), backend)


# Mixed losses


def mixture_of(shares: np.ndarray, partner: np.ndarray) -> Mixture:
    return Mixture(as_tensor(partner), as_tensor(shares))


def one_hot(y: np.ndarray, classes: int) -> np.ndarray:
    return np.eye(classes)[y]


def log_softmax(out: np.ndarray) -> np.ndarray:
    shifted = out - out.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_mixed_cross_entropy_is_that_of_mixed_probabilities(smoothing: float) -> None:
    rng = np.random.default_rng(1)
    out, y = rng.standard_normal((6, 4)), rng.integers(0, 4, 6)
    partner, share = np.roll(np.arange(6), 2), rng.random(6)
    objective = Mixed(CrossEntropy(smoothing), mixture_of(share, partner))
    mixed = share[:, None] * one_hot(y, 4) + (1 - share[:, None]) * one_hot(y[partner], 4)
    target = mixed * (1 - smoothing) + smoothing / 4
    expected = -(target * log_softmax(out)).sum(axis=1)
    np.testing.assert_allclose(objective.losses(as_tensor(out), as_tensor(y)).numpy(), expected)
    accuracy = objective.measures(as_tensor(out), as_tensor(y))["accuracy"].numpy()
    np.testing.assert_allclose(accuracy, mixed[np.arange(6), out.argmax(axis=1)])


def test_mixing_twice() -> None:
    rng = np.random.default_rng(2)
    out, y = rng.standard_normal((7, 3)), rng.integers(0, 3, 7)
    first, second = np.roll(np.arange(7), 3), np.roll(np.arange(7), -2)
    one, two = rng.random(7), rng.random(7)
    mixture = mixture_of(one, first).then(as_tensor(second), as_tensor(two))
    assert len(mixture.parts) == 4
    t = one[:, None] * one_hot(y, 3) + (1 - one[:, None]) * one_hot(y[first], 3)
    t = two[:, None] * t + (1 - two[:, None]) * t[second]
    losses = Mixed(CrossEntropy(), mixture).losses(as_tensor(out), as_tensor(y))
    np.testing.assert_allclose(losses.numpy(), -(t * log_softmax(out)).sum(axis=1))


def test_weights_go_with_their_examples() -> None:
    rng = np.random.default_rng(3)
    out, y, weight = rng.standard_normal((5, 3)), rng.integers(0, 3, 5), rng.random(5)
    partner, share = np.roll(np.arange(5), 1), rng.random(5)
    losses = Mixed(CrossEntropy(), mixture_of(share, partner), as_tensor(weight)).losses(
        as_tensor(out), as_tensor(y)
    )
    logs = log_softmax(out)
    own, other = -logs[np.arange(5), y], -logs[np.arange(5), y[partner]]
    expected = share * weight * own + (1 - share) * weight[partner] * other
    np.testing.assert_allclose(losses.numpy(), expected)


def test_other_objectives_mix_as_well() -> None:
    rng = np.random.default_rng(4)
    out, partner, share = rng.standard_normal((4, 1)), np.roll(np.arange(4), 1), rng.random(4)
    mixture = mixture_of(share, partner)
    y = np.array([0, 1, 1, 0])
    losses = Mixed(BinaryCrossEntropy(), mixture).losses(as_tensor(out), as_tensor(y)).numpy()
    p = 1 / (1 + np.exp(-out[:, 0]))
    t = share * y + (1 - share) * y[partner]
    np.testing.assert_allclose(losses, -t * np.log(p) - (1 - t) * np.log(1 - p))
    targets = rng.standard_normal((4, 1))
    squared = Mixed(SquaredError(as_tensor(np.ones(1))), mixture)
    expected = (
        share * (out - targets)[:, 0] ** 2 + (1 - share) * (out - targets[partner])[:, 0] ** 2
    )
    np.testing.assert_allclose(squared.losses(as_tensor(out), as_tensor(targets)).numpy(), expected)


# In the loop


class Watch(nn.Layer):
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.seen: list[tuple[bool, np.ndarray]] = []
        self.scale = nn.Parameter((3,), nn.init.zeros)

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append((self.training, np.array(x.numpy())))
        return ops.mean(x, axis=(1, 2, 3))[:, None] * self.scale


READS = pytest.mark.filterwarnings(
    "ignore:.*cannot be captured. it reads"
)  # the values it is given


@READS
def test_it_changes_training_batches_and_nothing_else() -> None:
    x, y = data(20)
    layer = Watch().initialize(0)
    t = Trainer(
        layer, CrossEntropy(), make("optimizer", "sgd", layer, 0.0), epochs=2, batch_size=None,
        augment=[Flip(p=1.0)],
    )  # fmt: skip
    t.fit(x, y, validation=(x, y))
    assert {training for training, _ in layer.seen} == {True, False}
    for training, seen in layer.seen:
        np.testing.assert_array_equal(seen, x[:, :, ::-1] if training else x)


@READS
def test_pictures_differ_from_epoch_to_epoch_and_from_seed_to_seed() -> None:
    x, y = data(20)
    batches = []
    for seed in (0, 0, 1):
        layer = Watch().initialize(0)
        Trainer(
            layer, CrossEntropy(), make("optimizer", "sgd", layer, 0.0), epochs=2, batch_size=None,
            augment=[Translate()], seed=seed,
        ).fit(x, y)  # fmt: skip
        batches.append([seen for _, seen in layer.seen if _])
    (one, two), again, (other, _) = batches[0][-2:], batches[1][-2:], batches[2][-2:]
    np.testing.assert_array_equal([one, two], again)
    assert not np.array_equal(one, two)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_mixed_step_is_the_papers(weighted: bool) -> None:
    """One step of mixup, written out in float64 from the pictures and shares it drew."""
    x, y = data(12)
    weight = np.linspace(0.5, 1.5, 12) if weighted else None
    layer = nn.Sequential(nn.Flatten(), nn.Linear(40, 3)).initialize(0, dtype="float64")
    before = {k: np.array(v) for k, v in layer.state_dict().items()}
    t = Trainer(
        layer, CrossEntropy(), make("optimizer", "sgd", layer, 1.0), epochs=1, batch_size=None,
        augment=[MixUp(alpha=1.0)], seed=3,
    )  # fmt: skip
    history = t.fit(x.astype(np.float64), y, weight=weight)
    counter = as_tensor(np.array([0, 0], np.uint64))
    _, mixture = Chain([MixUp(alpha=1.0)], 3, open_backend("cpu"))(as_tensor(x * 1.0), counter)
    assert mixture is not None
    partner, share = mixture.parts[1][0].numpy(), mixture.parts[0][1].numpy().astype(np.float64)
    flat = x.reshape(12, -1).astype(np.float64)
    flat = share[:, None] * flat + (1 - share[:, None]) * flat[partner]
    w = np.ones(12) if weight is None else weight
    target = (share * w)[:, None] * one_hot(y, 3)
    target += ((1 - share) * w[partner])[:, None] * one_hot(y[partner], 3)
    logits = flat @ before["1.weight"].T + before["1.bias"]
    loss = -(target * log_softmax(logits)).sum() / 12
    assert history[0]["train"]["loss"] == pytest.approx(loss, rel=1e-12)
    d = (np.exp(log_softmax(logits)) * target.sum(axis=1, keepdims=True) - target) / 12
    after = layer.state_dict()
    np.testing.assert_allclose(after["1.weight"], before["1.weight"] - d.T @ flat, rtol=1e-10)
    np.testing.assert_allclose(after["1.bias"], before["1.bias"] - d.sum(axis=0), rtol=1e-10)


class KeepStates(Callback):
    def __init__(self) -> None:
        self.states: list[Any] = []

    def on_epoch_end(self, trainer: Any, epoch: int, metrics: Any) -> None:
        self.states.append(trainer.state())


def test_a_resumed_run_sees_the_same_pictures() -> None:
    x, y = data()
    keep = KeepStates()
    whole = trainer(EVERYTHING, callbacks=[keep])
    whole.fit(x, y)
    resumed = trainer(EVERYTHING)
    resumed.fit(x, y, resume_from=keep.states[0])
    expected, got = whole.state()[0], resumed.state()[0]
    for name in expected:
        np.testing.assert_array_equal(got[name], expected[name], name)
    assert [e["train"] for e in resumed.history] == [e["train"] for e in whole.history]


def test_a_captured_run_is_one_that_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = data(24)
    captured = trainer(EVERYTHING)
    captured.fit(x, y)
    monkeypatch.setattr("flagstone.training.trainer.capture", lambda step, **_: step)
    plain = trainer(EVERYTHING)
    plain.fit(x, y)
    for name, value in plain.state()[0].items():
        np.testing.assert_array_equal(captured.state()[0][name], value, name)


@pytest.mark.parametrize("other", ["", "flip", "flip(p=0.4)," + EVERYTHING.partition(",")[2]])
def test_a_run_with_other_augmentation_does_not_resume(other: str) -> None:
    x, y = data()
    keep = KeepStates()
    trainer(EVERYTHING, callbacks=[keep], epochs=1).fit(x, y)
    with pytest.raises(RunError, match=r"resume: the checkpoint was made with augment Flip\(p=0.5"):
        trainer(other).fit(x, y, resume_from=keep.states[0])


def test_a_checkpoint_from_before_there_was_augmentation_goes_on() -> None:
    x, y = data()
    keep = KeepStates()
    trainer("", callbacks=[keep], epochs=1).fit(x, y)
    arrays, metadata = keep.states[0]
    del metadata["augment"]
    assert len(trainer("").fit(x, y, resume_from=(arrays, metadata))) == 3
    with pytest.raises(RunError, match="augment"):
        trainer("flip").fit(x, y, resume_from=(arrays, metadata))


def test_a_whole_run_on_the_third_backend(strict: Backend) -> None:
    x, y = data(10)
    ours, theirs = trainer(EVERYTHING, epochs=1), trainer(EVERYTHING, device="strict", epochs=1)
    for one in (ours, theirs):
        one.fit(x, y)
    for name, value in ours.layer.state_dict().items():
        np.testing.assert_allclose(theirs.layer.state_dict()[name], value, rtol=1e-4, atol=1e-5)


def test_nothing_of_it_reads_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    x = as_tensor(data()[0])
    chain = Chain(parse(EVERYTHING + ",translate"), 0, x.backend)
    counter = as_tensor(np.array([0, 0], np.uint64))

    def refuse(*_: Any) -> None:
        raise AssertionError("the host read the device")

    for name in ("numpy", "item", "__bool__", "__float__", "__int__", "__array__"):
        if hasattr(Tensor, name):
            monkeypatch.setattr(Tensor, name, refuse)
    monkeypatch.setattr(type(x.backend), "to_numpy", refuse)
    monkeypatch.setattr(type(x.backend), "asarray", refuse)
    chain(x, counter)


def test_one_example_mixes_with_itself() -> None:
    x = as_tensor(data(1)[0])
    counter = as_tensor(np.array([0, 0], np.uint64))
    for part in (MixUp(), CutMix()):
        y, mixture = Chain([part], 0, x.backend)(x, counter)
        np.testing.assert_allclose(y.numpy(), x.numpy(), rtol=1e-6)
        assert mixture is not None
        np.testing.assert_array_equal(mixture.parts[1][0].numpy(), [0])


def test_a_strangers_augmentation() -> None:
    class Brighter(Augmentation):
        words = 5

        def images(self, x: Tensor, words: Any) -> Tensor:
            assert [word.shape for word in words] == [(x.shape[0],)] * 5
            brighter = ops.astype(ops.random_integers(words[4], high=3), x.dtype_name)
            return x + ops.reshape(brighter, (x.shape[0], 1, 1, 1))

    x = as_tensor(np.zeros((50, 2, 2, 1), np.float32))
    y, _ = Chain([Brighter()], 0, x.backend)(x, as_tensor(np.array([0, 0], np.uint64)))
    assert set(np.unique(y.numpy())) == {0.0, 1.0, 2.0}
