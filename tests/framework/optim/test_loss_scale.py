"""The scale of the loss is PyTorch's, and a step that overflows changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import ops, plugins
from flagstone.backend import Backend, open_backend
from flagstone.devices import Device
from flagstone.errors import ConfigurationError
from flagstone.named import make
from flagstone.nn import Linear
from flagstone.optim import EMA, LBFGS, SGD
from flagstone.optim.loss_scale import LossScale
from flagstone.plugins import BackendSpec, hookimpl
from flagstone.training.objective import CrossEntropy

OVERFLOWS = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1] + [0] * 20


class Mixed(Backend):
    """NumPy that says it has 16 bits, which it has, slowly."""

    name = "mixed"
    xp = np
    precisions = ("exact", "mixed-fp16")


def open_mixed(index: int | None) -> Backend:
    return Mixed(Device("mixed"))


class Plugin:
    @hookimpl
    def flagstone_backends(self) -> Iterator[BackendSpec]:
        yield BackendSpec("mixed", f"{__name__}:open_mixed", summary="", devices=("mixed",))


@pytest.fixture(scope="module")
def mixed() -> Iterator[Backend]:
    plugins.register(Plugin(), "mixed-backend")
    yield open_backend("mixed", "mixed-fp16")
    plugins.unregister("mixed-backend")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with np.errstate(all="ignore"):  # NumPy's arithmetic tells of overflows, cards' does not
        yield


def scalar(value: float, backend: Backend) -> fs.Tensor:
    return fs.tensor(np.asarray(value, "float32"), device=backend)


@pytest.mark.parametrize(("start", "interval"), [(65536.0, 3), (1.0, 1), (2.0**127, 2)])
def test_it_moves_as_pytorchs_does(start: float, interval: int, mixed: Backend) -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    scaler = torch.amp.GradScaler("cpu", init_scale=start, growth_interval=interval)
    p = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([p], 0.0)
    ours = LossScale(scalar(start, mixed), scalar(0, mixed))
    ours.growth_interval = interval
    for overflows in OVERFLOWS:
        scaler.scale((p * 0.0).sum()).backward()
        p.grad[1] = float("inf") if overflows else 1.0
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        g = fs.tensor(np.array([1, np.inf if overflows else 1], "f4"), device=mixed)
        factor = float(ours.begin(g, scalar(1, mixed)))
        assert np.isnan(factor) if overflows else factor == 1.0
        assert ours.scale.item() == scaler.get_scale()
        assert ours.steps.item() == scaler._get_growth_tracker()


OPTIMIZERS = [
    "sgd", "sgd(momentum=0.9)", "adam", "adamw(clip_norm=0.5)", "nadam", "radam", "adamax",
    "rmsprop(momentum=0.5)", "adagrad", "adadelta", "lion", "lamb", "muon",
    "adam(clip_value=0.1)", "lookahead(base='adam',k=2)",
    "lookahead(base='sgd',k=2,schedule='cosine')",
]  # fmt: skip


def made(text: str, device: Any) -> tuple[Any, Any]:
    layer = Linear(4, 3).initialize(1, device=device)
    optimizer: Any = make("optimizer", text, layer, 0.05)
    optimizer.start_epoch(0, 1, 8)
    if optimizer.loss_scale is not None:
        optimizer.loss_scale.scale.array[...] = 256.0
    return layer, optimizer


def step(layer: Any, optimizer: Any, x: Any, *, broken: bool = False) -> None:
    optimizer.zero_grad()
    loss = ((layer(x) - 1.0) ** 2).sum() * (np.inf if broken else 1.0)
    optimizer.backward(loss, scalar(0.25, x.backend))
    optimizer.step(scale=scalar(0.25, x.backend))


@pytest.mark.parametrize("text", OPTIMIZERS)
def test_a_step_that_overflows_changes_nothing(text: str, mixed: Backend) -> None:
    layer, optimizer = made(text, mixed)
    x = fs.tensor(np.random.default_rng(0).standard_normal((4, 4)).astype("f4"), device=mixed)
    step(layer, optimizer, x)
    before = {**layer.state_dict(), **optimizer.state_dict()}
    scale = optimizer.loss_scale.scale.item()
    step(layer, optimizer, x, broken=True)
    after = {**layer.state_dict(), **optimizer.state_dict()}
    assert optimizer.loss_scale.scale.item() == scale / 2
    for name, value in before.items():
        if not name.endswith(("loss_scale", "loss_scale_steps")):
            np.testing.assert_array_equal(after[name], value, err_msg=name)
    step(layer, optimizer, x)
    assert any((layer.state_dict()[name] != before[name]).any() for name in layer.state_dict())


class Stranger(SGD):
    """Changes parameters and a state of its own whatever the gradient was."""

    def __init__(self, layer: Any, lr: float) -> None:
        super().__init__(layer, lr)
        self.norms = self.state("norms")

    def update(self, p: Any, g: Any, lr: Any, scale: Any) -> None:
        ops.accumulate(self.norms, ops.abs(g))
        ops.assign(p, p * 0.5)


def test_an_update_that_says_nothing_is_undone(mixed: Backend) -> None:
    layer = Linear(4, 3).initialize(1, device=mixed)
    optimizer = Stranger(layer, 0.1)
    assert SGD.leaves_out
    assert not optimizer.leaves_out  # it has an update of its own, of which nobody knows
    x = fs.tensor(np.ones((2, 4), "f4"), device=mixed)
    before = {**layer.state_dict(), "norms": optimizer.state_dict()["norms"]}
    step(layer, optimizer, x, broken=True)
    for name, value in {**layer.state_dict(), "norms": optimizer.state_dict()["norms"]}.items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


def test_gradients_that_are_not_finite_are_seen_in_other_precisions() -> None:
    """A limit on their norm, which is NaN then, leaves no step out: parameters tell of it."""
    layer: Any = Linear(4, 3).initialize(1, device="cpu")
    optimizer: Any = make("optimizer", "sgd(clip_norm=1.0)", layer, 0.1)
    (layer(fs.tensor(np.ones((2, 4), "f4"))) * np.nan).sum().backward()
    optimizer.step()
    assert np.isnan(layer.weight.numpy()).all()


@pytest.mark.parametrize("text", ["sgd(momentum=0.9)", "adam", "lookahead(base='adam',k=2)"])
def test_steps_are_those_of_float32_but_for_rounding(text: str, mixed: Backend) -> None:
    x = np.random.default_rng(0).standard_normal((4, 4)).astype("f4")
    found: list[Any] = []
    for device in ("cpu", mixed):
        layer, optimizer = made(text, device)
        for _ in range(6):
            step(layer, optimizer, fs.tensor(x, device=device))
        found.append(layer.state_dict())
    for name, value in found[0].items():
        np.testing.assert_allclose(found[1][name], value, atol=4e-3, err_msg=name)


def test_a_plain_backward_is_stepped_by_as_it_is(mixed: Backend) -> None:
    x = np.random.default_rng(0).standard_normal((4, 4)).astype("f4")
    found: list[Any] = []
    for device in ("cpu", mixed):
        layer, optimizer = made("sgd", device)
        optimizer.zero_grad()
        (layer(fs.tensor(x, device=device)) ** 2).sum().backward()
        optimizer.step()
        found.append(layer.state_dict()["weight"])
    np.testing.assert_allclose(found[1], found[0], atol=2e-2)


def test_parameters_are_float32_with_a_copy_in_16_bits(mixed: Backend) -> None:
    layer, optimizer = made("sgd", mixed)
    optimizer = EMA(optimizer, decay=0.5)
    x = fs.tensor(np.ones((2, 4), "f4"), device=mixed)
    assert layer.weight.dtype_name == "float32"
    assert layer.weight.low.dtype_name == "float16"
    for _ in range(2):
        step(layer, optimizer, x)
        np.testing.assert_array_equal(
            layer.flat.low.numpy(), layer.flat.values.numpy().astype("f2")
        )
    with optimizer.averages():
        np.testing.assert_array_equal(layer.weight.low.numpy(), layer.weight.numpy().astype("f2"))
    layer.load_state_dict({"weight": np.full((3, 4), 0.3), "bias": np.zeros(3)})
    assert (layer.weight.low.numpy() == np.float16(0.3)).all()
    assert layer.weight.grad.dtype_name == "float32"


def test_gradients_reach_a_parameter_by_its_copy(mixed: Backend) -> None:
    layer, _ = made("sgd", mixed)
    y = layer(fs.tensor(np.ones((2, 4), "f4"), device=mixed))
    assert y.dtype_name == "float16"
    gradient: Any = fs.grad(y.sum(), [layer.weight])[0]
    np.testing.assert_array_equal(gradient.numpy(), np.full((3, 4), 2, "f4"))
    layer.weight.requires_grad = False
    y = layer(fs.tensor(np.ones((2, 4), "f4"), device=mixed))
    assert fs.grad(y.sum(), [layer.weight]) == (None,)


def test_a_line_search_wants_more_digits(mixed: Backend) -> None:
    with pytest.raises(ConfigurationError, match="LBFGS: precision expected 'exact'"):
        LBFGS(Linear(4, 3).initialize(1, device=mixed))


def test_its_state_is_saved(mixed: Backend) -> None:
    layer, optimizer = made("adam", mixed)
    optimizer.loss_scale.growth_interval = 2
    x = fs.tensor(np.ones((2, 4), "f4"), device=mixed)
    for _ in range(3):
        step(layer, optimizer, x)
    state = optimizer.state_dict()
    assert (state["loss_scale"], state["loss_scale_steps"]) == (512.0, 1)
    _, again = made("adam", mixed)
    again.load_state_dict(state)
    assert again.loss_scale.scale.item() == 512.0


def test_a_resumed_training_goes_on_exactly(mixed: Backend) -> None:
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((40, 4)).astype("f4"), rng.integers(0, 3, 40)

    def trainer(epochs: int) -> fs.Trainer:
        layer, optimizer = made("adam", mixed)
        optimizer.loss_scale.growth_interval = 3
        optimizer.loss_scale.scale.array[...] = 2.0**15  # overflows once it has grown
        return fs.Trainer(layer, CrossEntropy(), optimizer, epochs=epochs, batch_size=8)

    whole, half, rest = trainer(4), trainer(2), trainer(4)
    whole.fit(x, y)
    half.fit(x, y)
    rest.fit(x, y, resume_from=half.state())
    ours, theirs = rest.state()[0], whole.state()[0]
    assert ours.keys() == theirs.keys() >= {"optimizer.loss_scale", "optimizer.loss_scale_steps"}
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)
    assert value.dtype == "float32"
    assert theirs["optimizer.loss_scale"] != 2.0**15
    assert [e["train"] for e in rest.history] == [e["train"] for e in whole.history]
