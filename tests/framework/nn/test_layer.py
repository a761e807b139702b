"""How layers hold parameters: names, one flat array, copies."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn, ops, optim
from flagstone.errors import ConfigurationError, InputError, ShapeError


class Block(nn.Layer):
    """Parameters, a buffer, layers, and lists and dicts of them, in a telling order."""

    def __init__(self) -> None:
        self.scale = nn.Parameter((3,), nn.init.ones)
        self.inner = nn.Linear(3, 3)
        self.steps = [nn.Linear(3, 2), (nn.Linear(2, 2, bias=False),)]
        self.seen = nn.Buffer((1,))
        self.by_name = {"head": nn.Linear(2, 1)}
        self.number = 7

    def forward(self, x: Any) -> Any:
        x = self.inner(x * self.scale)
        for step in (self.steps[0], self.steps[1][0], self.by_name["head"]):
            x = step(x)
        return x


def ones(*shape: int) -> fs.Tensor:
    return fs.tensor(np.ones(shape, np.float32))


def values(layer: nn.Layer) -> dict[str, Any]:
    return layer.state_dict()


def assert_same(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def assert_different(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert any(not np.array_equal(a[name], b[name]) for name in a)


def net(seed: int = 3) -> nn.Sequential:
    layer = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(4), nn.ReLU(), nn.Linear(4, 2))
    return layer.initialize(seed)


# Names


def test_names_are_dotted_and_in_order_of_assignment() -> None:
    block = Block()
    assert [name for name, _ in block.named_parameters()] == [
        "scale", "inner.weight", "inner.bias", "steps.0.weight", "steps.0.bias",
        "steps.1.0.weight", "by_name.head.weight", "by_name.head.bias",
    ]  # fmt: skip
    assert [name for name, _ in block.named_buffers()] == ["seen"]
    assert block.count_parameters() == 3 + 12 + 8 + 4 + 3
    assert [name for name, _ in block.named_layers()] == [
        "", "inner", "steps.0", "steps.1.0", "by_name.head",
    ]  # fmt: skip


def test_a_sequentials_names_are_numbers() -> None:
    names = list(nn.Sequential(nn.ReLU(), nn.Sequential(nn.Linear(1, 1))).initialize().state_dict())
    assert names == ["1.0.weight", "1.0.bias"]


def test_shared_parameters_are_counted_once() -> None:
    shared = nn.Linear(2, 2)
    layer = nn.Sequential(shared, nn.Tanh(), shared).initialize(0)
    assert layer.count_parameters() == 6
    assert list(layer.state_dict()) == ["0.weight", "0.bias"]
    assert layer.flat is not None
    assert layer.flat.offsets == [0, 16]
    layer(ones(1, 2)).sum().backward()
    twice = shared.weight.grad.numpy().copy()  # both uses add up, as in two copies of the layer
    copies = nn.Sequential(copy.deepcopy(shared), nn.Tanh(), copy.deepcopy(shared))
    copies(ones(1, 2)).sum().backward()
    apart = sum(copies[i].weight.grad.numpy() for i in (0, 2))
    np.testing.assert_allclose(twice, apart, rtol=1e-6)


def test_a_tied_weight_is_one_parameter() -> None:
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    layer = nn.Sequential(first, second).initialize(0)
    assert layer.count_parameters() == 9 + 3 + 3
    assert second.weight.array is first.weight.array


# One flat array


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_parameters_are_views_of_the_flat_array(dtype: str) -> None:
    layer = Block().initialize(1, dtype=dtype)
    assert layer.flat is not None
    flat = layer.flat.values.numpy()
    assert flat.dtype == dtype
    for p, offset in zip(layer.parameters(), layer.flat.offsets, strict=True):
        assert offset % 16 == 0
        assert np.shares_memory(p.numpy(), flat)
        np.testing.assert_array_equal(p.numpy().ravel(), flat[offset : offset + p.size])
    flat += 1.0
    np.testing.assert_allclose(layer.scale.numpy(), 2.0)
    assert layer.flat_buffers is not None
    assert np.shares_memory(layer.seen.numpy(), layer.flat_buffers.values.numpy())


def test_an_optimizers_step_is_seen_by_layers_and_gaps_stay_zero() -> None:
    layer = Block().initialize(1)
    optimizer = optim.Adam(layer, lr=0.1, weight_decay=0.1)
    before = {name: value.copy() for name, value in values(layer).items()}
    layer(ones(2, 3)).sum().backward()
    optimizer.step()
    after = values(layer)
    for name in before:
        changed = not np.array_equal(before[name], after[name])
        assert changed == (name != "seen"), name
    assert layer.flat is not None
    inside = np.zeros(layer.flat.values.size, bool)
    for p, offset in zip(layer.flat.tensors, layer.flat.offsets, strict=True):
        inside[offset : offset + p.size] = True
    assert not layer.flat.values.numpy()[~inside].any()


def test_a_parameter_that_backward_did_not_reach_has_gradient_zero() -> None:
    layer = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).initialize(0)
    optimizer = optim.SGD(layer, lr=1.0)
    layer(ones(1, 2)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    before = values(layer)
    layer[1](ones(1, 2)).sum().backward()  # only the second, after both had gradients
    optimizer.step()
    after = values(layer)
    np.testing.assert_array_equal(before["0.weight"], after["0.weight"])
    assert not np.array_equal(before["1.weight"], after["1.weight"])


def test_gradients_add_up_until_they_are_forgotten() -> None:
    layer = nn.Linear(2, 1).initialize(0, dtype="float64")
    x = fs.tensor(np.array([[1.0, 2.0]]))
    layer(x).sum().backward()
    np.testing.assert_array_equal(layer.weight.grad.numpy(), [[1, 2]])
    optimizer = optim.SGD(layer, lr=0.0)  # made between two backward passes
    layer(x).sum().backward()
    np.testing.assert_array_equal(layer.weight.grad.numpy(), [[2, 4]])
    optimizer.zero_grad()
    layer(x).sum().backward()
    np.testing.assert_array_equal(layer.weight.grad.numpy(), [[1, 2]])


# First values


def test_first_values_depend_on_seed_and_path_only() -> None:
    a, b, c = net(3), net(3), net(4)
    assert_same(values(a), values(b))
    assert_different(values(a), values(c))
    wider = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(4), nn.ReLU(), nn.Linear(4, 9))
    wider.initialize(3)
    np.testing.assert_array_equal(values(wider)["0.weight"], values(a)["0.weight"])
    twins = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)).initialize(0)
    assert not np.array_equal(values(twins)["0.weight"], values(twins)["1.weight"])


def test_both_dtypes_start_from_the_same_values() -> None:
    single = values(net())
    layer = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(4), nn.ReLU(), nn.Linear(4, 2))
    double = values(layer.initialize(3, dtype="float64"))
    for name in single:
        assert double[name].dtype == np.float64
        np.testing.assert_array_equal(single[name], double[name])


def test_the_first_call_initialises_with_seed_0_in_the_inputs_dtype() -> None:
    layer = nn.Linear(3, 2)
    y = layer(fs.tensor(np.ones((1, 3))))
    assert y.dtype_name == layer.dtype_name == "float64"
    assert_same(values(layer), values(nn.Linear(3, 2).initialize(0, dtype="float64")))


def test_an_initialisers_wrong_shape_is_named() -> None:
    layer = nn.Sequential(nn.Linear(3, 2, init=lambda shape, key: np.zeros(5)))
    with pytest.raises(ShapeError, match=r"initialiser of 0\.weight .*\(2, 3\); it gave \(5,\)"):
        layer.initialize(0)


def test_without_values_nothing_can_be_read() -> None:
    layer = nn.Linear(2, 2)
    for ask in (
        layer.state_dict, lambda: layer.load_state_dict({}), lambda: layer.backend,
        lambda: layer.with_dtype("float64"),
    ):  # fmt: skip
        with pytest.raises(InputError, match="no values yet; call initialize"):
            ask()
    assert "not initialised" in repr(layer.weight)


# Layers that are used elsewhere


@pytest.mark.parametrize(
    "read",
    [
        lambda p: p.numpy(), lambda p: p + 1.0, lambda p: p.dtype_name, lambda p: p.device,
        lambda p: p[0], len, np.asarray, ops.relu, lambda p: p.detach().numpy(),
    ],
)  # fmt: skip
def test_a_parameter_without_values_says_so(read: Any) -> None:
    layer = nn.Linear(4, 2)
    assert layer.weight.shape == (2, 4)
    with pytest.raises(InputError, match=r"^the parameter has no values yet; call initialize\("):
        read(layer.weight)
    layer.initialize(0)
    read(layer.weight)


def test_a_slice_of_a_trained_network_keeps_its_values() -> None:
    whole = net()
    before = values(whole)
    x = ones(2, 3)
    part = whole.eval()[:2]
    expected = whole[1](whole[0](x)).numpy()
    np.testing.assert_array_equal(part(x).numpy(), expected)
    assert_same(values(whole), before)
    assert part[0] is whole[0]
    optim.SGD(whole, lr=0.1)  # and the whole still owns its parameters
    assert part.state_dict().keys() == {k for k in before if k[0] in "01"}


def test_trained_layers_with_a_new_head_keep_their_values_and_all_are_trained() -> None:
    whole = net()
    model = nn.Sequential(*whole[:3], nn.Linear(4, 1))
    model(ones(2, 3))
    np.testing.assert_array_equal(values(model)["0.weight"], values(whole)["0.weight"])
    before = values(model)
    optimizer = optim.SGD(model, lr=0.1)
    (model(fs.tensor(np.eye(3, dtype=np.float32))) ** 2).sum().backward()
    optimizer.step()
    for name in ("0.weight", "3.weight", "3.bias"):
        assert not np.array_equal(values(model)[name], before[name]), name


@pytest.mark.parametrize("called_first", [False, True])
def test_a_layer_that_was_replaced_is_trained_too(called_first: bool) -> None:
    model = net()
    kept = values(model)["0.weight"].copy()
    model.layers[3] = nn.Linear(4, 1)
    if called_first:
        model(ones(2, 3))
    optimizer = optim.SGD(model, lr=0.1)
    np.testing.assert_array_equal(values(model)["0.weight"], kept)
    before = values(model)
    assert before["3.weight"].shape == (1, 4)
    (model(fs.tensor(np.eye(3, dtype=np.float32))) ** 2).sum().backward()
    optimizer.step()
    assert not np.array_equal(values(model)["3.weight"], before["3.weight"])
    assert not np.array_equal(values(model)["0.weight"], kept)


def test_an_optimizer_whose_layer_was_initialised_again_says_so() -> None:
    layer = net()
    optimizer = optim.SGD(layer)
    layer.initialize(4)
    with pytest.raises(ConfigurationError, match=r"initialised again.* make a new optimizer"):
        optimizer.step()


def test_an_optimizer_whose_layer_became_part_of_another_says_so() -> None:
    inner = nn.Linear(2, 2).initialize(0)
    optimizer = optim.SGD(inner)
    outer = nn.Sequential(inner, nn.Linear(2, 1)).initialize(0)
    with pytest.raises(ConfigurationError, match="make a new optimizer"):
        optimizer.step()
    with pytest.raises(ConfigurationError, match=r"expected the outermost layer.*'0' inside of it"):
        optim.SGD(outer[0])


# Modes


def test_train_and_eval_reach_every_layer() -> None:
    layer = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.BatchNorm(2)))
    assert all(part.training for _, part in layer.named_layers())
    assert layer.eval() is layer
    assert not any(part.training for _, part in layer.named_layers())
    assert layer.train() is layer
    assert all(part.training for _, part in layer.named_layers())
    with pytest.raises(NotImplementedError, match="Layer defines no forward"):
        nn.Layer()(ones(1))


def test_an_error_has_a_note_of_the_layer_that_it_came_from() -> None:
    layer = nn.Sequential(nn.Identity(), nn.Sequential(nn.Linear(3, 2), nn.Linear(4, 1)))
    with pytest.raises(ShapeError, match="linear: weight expects 4 features") as caught:
        layer.initialize(0)(ones(1, 3))
    assert caught.value.__notes__ == ["in layer '1.1': Linear(4, 1, bias=True)"]
    with pytest.raises(ShapeError) as caught:
        nn.Linear(3, 2)(ones(1, 4))
    assert caught.value.__notes__ == ["in layer: Linear(3, 2, bias=True)"]


# Copies


@pytest.mark.parametrize(
    "duplicate",
    [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))],
    ids=["deepcopy", "pickle"],
)
def test_a_copy_has_the_values_in_an_array_of_its_own(duplicate: Any) -> None:
    layer = nn.Sequential(net(), nn.Dropout(0.5)).initialize(5).eval()
    layer[0][1].running_mean.array[...] = 2.0
    other = duplicate(layer)
    assert_same(values(layer), values(other))
    assert (other.seed, other.training, other[1].path) == (5, False, "1")
    assert other.flat is not None
    assert not np.shares_memory(other.flat.values.numpy(), layer.flat.values.numpy())
    for p in other.parameters():
        assert np.shares_memory(p.numpy(), other.flat.values.numpy())
    optimizer = optim.SGD(other, lr=0.1)
    before = values(layer)
    other(ones(2, 3)).sum().backward()
    optimizer.step()
    assert_same(values(layer), before)
    assert_different(values(other), before)
    optim.SGD(layer).step()  # the original still owns its parameters


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pickle_keeps_the_dtype(dtype: str) -> None:
    layer = nn.Linear(2, 2).initialize(0, dtype=dtype)
    assert pickle.loads(pickle.dumps(layer)).weight.dtype_name == dtype


def test_a_copy_of_an_inner_layer_stands_on_its_own() -> None:
    whole = net()
    part = copy.deepcopy(whole[0])
    np.testing.assert_array_equal(part.weight.numpy(), whole[0].weight.numpy())
    optimizer = optim.SGD(part, lr=0.5)
    part(ones(1, 3)).sum().backward()
    optimizer.step()
    assert not np.array_equal(part.weight.numpy(), whole[0].weight.numpy())


def test_a_shallow_copy_shares_parameters() -> None:
    layer = net()
    other = copy.copy(layer)
    assert other[0].weight is layer[0].weight
    assert other.flat is layer.flat
    optim.SGD(layer).step()


def test_a_layer_without_values_can_be_copied() -> None:
    layer = copy.deepcopy(nn.Sequential(nn.Linear(2, 2)))
    assert_same(values(layer.initialize(1)), values(nn.Sequential(nn.Linear(2, 2)).initialize(1)))


def test_with_dtype_is_a_copy() -> None:
    layer = net()
    double = layer.with_dtype("float64")
    assert double.dtype_name == "float64"
    assert layer.dtype_name == "float32"
    for name, value in values(layer).items():
        np.testing.assert_array_equal(values(double)[name], value.astype(np.float64))
    assert double.eval()(fs.tensor(np.ones((1, 3)))).dtype_name == "float64"
    layer[0].weight.array[...] = 0
    assert double[0].weight.numpy().any()
