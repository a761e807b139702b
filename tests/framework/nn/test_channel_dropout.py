"""Dropout of whole channels, and the row of an embedding that no gradient reaches."""

from __future__ import annotations

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn
from flagstone.backend import Backend
from flagstone.tensors import Tensor


@pytest.mark.parametrize(
    ("kind", "shape"),
    [(nn.Dropout1d, (6, 5, 40)), (nn.Dropout2d, (6, 3, 4, 40)), (nn.Dropout3d, (6, 2, 3, 2, 40))],
)
def test_a_channel_stays_or_goes_as_a_whole(kind: type[nn.Dropout], shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape)
    layer = kind(0.25)
    given = fs.tensor(x, requires_grad=True)
    y = layer(given)
    factor = y.numpy() / x
    middle = tuple(range(1, len(shape) - 1))
    np.testing.assert_allclose(factor.max(middle), factor.min(middle), atol=1e-12)
    per_channel = factor.max(middle)
    kept = per_channel > 0
    np.testing.assert_allclose(per_channel[kept], 65536 / 49152)
    assert abs(kept.mean() - 0.75) < 5 * np.sqrt(0.75 * 0.25 / kept.size)
    assert not (kept == kept[:1]).all()  # examples differ
    y.sum().backward()
    np.testing.assert_allclose(given.grad.numpy(), factor, atol=1e-12)
    assert layer.eval()(given) is given


def test_the_mask_is_that_of_dropout_of_one_number_per_channel() -> None:
    counter = fs.tensor(np.array([4, 2], np.uint64))
    image = fs.tensor(np.ones((5, 3, 2, 21), np.float32))
    table = fs.tensor(np.ones((5, 21), np.float32))
    channels = nn.Sequential(nn.Dropout2d(0.5)).initialize(3)
    numbers = nn.Sequential(nn.Dropout(0.5)).initialize(3)
    with nn.stream_position(counter):
        spatial, flat = channels(image).numpy(), numbers(table).numpy()
    np.testing.assert_array_equal(spatial[:, 1, 1], flat)
    with nn.stream_position(counter):  # an example's mask depends on its place only
        fewer = channels(fs.tensor(np.ones((2, 3, 2, 21), np.float32))).numpy()
    np.testing.assert_array_equal(fewer, spatial[:2])


def test_no_gradient_reaches_the_padding_row(backend: Backend) -> None:
    weight = Tensor(backend.asarray(np.ones((4, 2))), backend, requires_grad=True)
    index = Tensor(backend.asarray(np.array([[0, 2], [2, 3]])), backend)
    fs.ops.embedding(index, weight, 2).sum().backward()
    assert weight.grad is not None
    np.testing.assert_array_equal(weight.grad.numpy(), [[1, 1], [0, 0], [0, 0], [1, 1]])
    layer = nn.Embedding(4, 2, padding_idx=-2).initialize(0)
    assert not layer.weight.numpy()[2].any()
    assert layer.weight.numpy()[[0, 1, 3]].all()
