"""Convolution, pooling and ReLU as one op, where nobody wants gradients."""

from __future__ import annotations

import numpy as np
import pytest

import flagstone as fs
from flagstone import fusion, nn
from flagstone.backend import open_backend
from flagstone.ops.fused import conv_max_pool_relu
from flagstone.tape import observe
from flagstone.tensors import Tensor
from flagstone.testing import OP_TABLE

CPU = open_backend("cpu")
(NAME,) = fusion.PREDICTING


def network(*behind: nn.Layer, kernel: int = 3) -> nn.Layer:
    layers = nn.Sequential(nn.Conv2d(3, 5, kernel, padding="same"), *behind, nn.Flatten())
    return layers.initialize(1, device="cpu")


def images(*shape: int) -> fs.Tensor:
    x = np.random.default_rng(0).standard_normal(shape).astype("float32")
    return fs.tensor(x, device="cpu")


def ops_of(layer: nn.Layer, x: fs.Tensor) -> tuple[list[str], np.ndarray]:
    seen: list[str] = []
    with observe(lambda op, *_: seen.append(op.name)):
        y = layer(x)
    return seen, np.array(y.numpy())


def test_it_has_a_row_in_the_table_and_parts_that_are_ops() -> None:
    assert set(fusion.PREDICTING) | set(fusion.PREDICTING[NAME]) <= OP_TABLE.keys()
    assert NAME in CPU.kernels


@pytest.mark.parametrize("order", ["pooled first", "activated first"])
@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(2),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.MaxPool2d(2, padding="same"),
        nn.MaxPool2d(3, 2, 1),
        nn.MaxPool2d(2, 1, dilation=2),
    ],
    ids=str,
)
def test_predictions_are_those_of_the_layers_one_by_one(pool: nn.Layer, order: str) -> None:
    behind = (pool, nn.ReLU()) if order == "pooled first" else (nn.ReLU(), pool)
    layer, x = network(*behind), images(4, 7, 9, 3)
    called, expected = ops_of(layer, x)
    assert NAME not in called
    with fs.no_grad():
        called, found = ops_of(layer, x)
    assert (NAME in called) == (pool.dilation == 1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


def test_others_between_them_keep_them_apart() -> None:
    for behind in ((nn.MaxPool2d(2), nn.Tanh()), (nn.ReLU(), nn.AvgPool2d(2)), (nn.MaxPool2d(2),)):
        with fs.no_grad():
            assert NAME not in ops_of(network(*behind), images(2, 6, 6, 3))[0]


def test_a_window_that_does_not_fit_is_refused_as_by_the_layer() -> None:
    layer = network(nn.MaxPool2d(9), nn.ReLU())
    with pytest.raises(fs.errors.ShapeError) as apart:
        layer(images(2, 6, 6, 3))
    with fs.no_grad(), pytest.raises(fs.errors.ShapeError) as together:
        layer(images(2, 6, 6, 3))
    assert str(apart.value) == str(together.value)


def test_nothing_but_no_numbers_and_infinities_pass_as_they_do_one_by_one() -> None:
    layer = network(nn.MaxPool2d(2), nn.ReLU(), kernel=1)
    values = np.array(images(2, 6, 6, 3).numpy())
    values[0, 1, 1] = np.nan
    values[1, 2, 3] = -np.inf
    x = fs.tensor(values, device="cpu")
    with np.errstate(invalid="ignore"):
        expected = ops_of(layer, x)[1]
    assert np.isnan(expected).any()
    with fs.no_grad(), np.errstate(invalid="ignore"):
        np.testing.assert_allclose(ops_of(layer, x)[1], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("side", [7, 14])
def test_larger_tiles_pool_the_same_windows(side: int) -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((12, side, side, 32)).astype("float32")
    w = rng.standard_normal((32, 3, 3, 32)).astype("float32")
    found = []
    for precision in ("exact", "fast"):
        backend = open_backend("cpu", precision)
        xt, wt = (Tensor(backend.asarray(a), backend) for a in (x, w))
        y = conv_max_pool_relu(
            xt, wt, None, stride=(1, 1), padding=((1, 1), (1, 1)), dilation=(1, 1), groups=1,
            pool_kernel=(2, 2), pool_stride=(2, 2), pool_padding=((0, side % 2), (0, 0)),
        )  # fmt: skip
        found.append(np.array(y.numpy()))
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=1e-4 * found[0].max())


def test_a_model_predicts_what_its_layers_say() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((40, 28, 28)).astype("float32"), np.arange(40) % 3
    model = fs.model("cnn", epochs=1, device="cpu").fit(x, y)
    logits = model.layer_.eval()(fs.tensor(x[..., None], device="cpu")).numpy()
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected = e / e.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict_proba(x), expected, atol=1e-5)
