"""The summary's shapes and counts, against formulas and hand counts; freezing."""

from __future__ import annotations

import doctest

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn, optim
from flagstone.errors import ConfigurationError, InputError, ShapeError


def test_the_lecture_network_by_hand() -> None:
    net = nn.Sequential(nn.Linear(2, 10), nn.Sigmoid(), nn.Linear(10, 2))
    found = nn.summary(net, (2,))
    rows = [(r.path, r.kind, r.output_shape, r.parameters, r.multiply_adds) for r in found.rows]
    assert rows == [
        ("", "Sequential", (2,), 0, 0),
        ("0", "Linear", (10,), 30, 20),
        ("1", "Sigmoid", (10,), 0, 0),
        ("2", "Linear", (2,), 22, 20),
    ]  # fmt: skip
    assert (found.parameters, found.multiply_adds) == (52, 40)
    assert net.flat is None  # the layer itself was not initialised


def test_the_example_in_the_docstring() -> None:
    names = {n: getattr(nn, n) for n in ("summary", "Sequential", "Linear", "Sigmoid")}
    test = doctest.DocTestParser().get_doctest(str(nn.summary.__doc__), names, "summary", None, 0)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    runner.run(test)
    assert (runner.tries, runner.failures) == (1, 0)


def test_convolutions() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, groups=4),
        nn.Flatten(), nn.Linear(6 * 6 * 8, 5),
    )  # fmt: skip
    found = nn.summary(net, (16, 16, 3))
    rows = {row.path: row for row in found.rows}
    assert rows["0"].output_shape == (16, 16, 8)
    assert rows["0"].multiply_adds == 16 * 16 * 8 * 9 * 3
    assert rows["3"].output_shape == (6, 6, 8)
    assert rows["3"].multiply_adds == 6 * 6 * 8 * 9 * 2
    assert rows["3"].parameters == 8 * 9 * 2 + 8
    assert rows["5"].multiply_adds == 6 * 6 * 8 * 5
    assert found.parameters == net.initialize(0).count_parameters()


def test_sequences_and_several_inputs() -> None:
    found = nn.summary(nn.LSTM(3, 4, 2), (7, 3))
    assert found.rows[0].output_shape == (7, 4)
    assert found.multiply_adds == 7 * 16 * (3 + 4 + 4 + 4)
    found = nn.summary(nn.MultiheadAttention(6, 2), (4, 6), (5, 6), (5, 6))
    assert found.multiply_adds == (4 + 5 + 5) * 36 + 2 * 4 * 5 * 6 + 4 * 36
    assert found.parameters == 4 * 36 + 4 * 6


def test_a_shared_layer_counts_its_parameters_once_and_its_work_twice() -> None:
    shared = nn.Linear(3, 3)
    found = nn.summary(nn.Sequential(shared, nn.Tanh(), shared), (3,))
    assert (found.parameters, found.multiply_adds) == (12, 18)


def test_the_layer_is_left_as_it_is() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm(4), nn.Dropout(0.5)).initialize(1)
    before = net.state_dict()
    nn.summary(net, (3,))
    assert net.training
    assert "forward" not in vars(net)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_what_summary_refuses() -> None:
    with pytest.raises(InputError, match="summary: layer expected a Layer; got int"):
        nn.summary(3, (2,))  # type: ignore[arg-type]  # that is the test
    for bad in ((), (3,), ((2.0,),), ((-1,),)):
        with pytest.raises(InputError, match="summary: input_shapes expected the shape of one"):
            nn.summary(nn.Linear(2, 2), *bad)
    with pytest.raises(ShapeError, match="linear: weight expects 2 features"):
        nn.summary(nn.Linear(2, 2), (3,))


def test_frozen_parameters_take_no_update_and_let_gradients_through() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))
    net.initialize(0, dtype="float64")
    x = fs.tensor(np.random.default_rng(0).standard_normal((5, 3)))
    (net(x) ** 2).sum().backward()
    free = {name: p.grad.numpy().copy() for name, p in net.named_parameters()}
    assert nn.freeze(net[2]) is net[2]
    optimizer = optim.SGD(net, lr=0.1, momentum=0.9)
    optimizer.zero_grad()
    (net(x) ** 2).sum().backward()
    for name, p in net.named_parameters():
        if name.startswith("2."):
            assert p.grad is None
        else:
            np.testing.assert_array_equal(p.grad.numpy(), free[name])
    before = net.state_dict()
    optimizer.step()
    after = net.state_dict()
    moved = {name: not np.array_equal(before[name], after[name]) for name in before}
    assert moved == {name: not name.startswith("2.") for name in before}
    nn.unfreeze(net)
    (net(x) ** 2).sum().backward()
    with pytest.raises(ConfigurationError, match="frozen or unfrozen since"):
        optimizer.step()
    optim.SGD(net, lr=0.1, momentum=0.9).step()
    assert not np.array_equal(net.state_dict()["2.weight"], after["2.weight"])


def test_what_freezing_refuses() -> None:
    with pytest.raises(InputError, match="freeze: layer expected a Layer; got Parameter"):
        nn.freeze(nn.Linear(2, 2).weight)  # type: ignore[arg-type]  # that is the test
