"""Dropout's masks: how many, which, and when they differ."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn, random
from flagstone.backend import Backend
from flagstone.devices import Device


def ones(*shape: int, dtype: str = "float32") -> fs.Tensor:
    return fs.tensor(np.ones(shape, dtype))


def at(step: int, epoch: int) -> fs.Tensor:
    return fs.tensor(np.array([step, epoch], np.uint64))


def mask(layer: nn.Layer, x: fs.Tensor, step: int | None = None, epoch: int = 0) -> np.ndarray:
    """Which elements stay, for a layer whose input is ones."""
    if step is None:
        return layer(x).numpy() != 0
    with nn.stream_position(at(step, epoch)):
        return layer(x).numpy() != 0


@pytest.mark.parametrize("p", [0.1, 0.5, 0.7, 0.999])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_expectation_is_the_input(p: float, dtype: str) -> None:
    n = 200_000
    y = nn.Dropout(p)(ones(100, n // 100, dtype=dtype)).numpy()
    assert y.dtype == dtype
    kept = y != 0
    deviation = np.sqrt(p * (1 - p) / n)
    assert abs(kept.mean() - (1 - p)) < 5 * deviation
    scale = 65536 / round((1 - p) * 65536)  # p is a multiple of 2**-16, and the scale follows it
    np.testing.assert_allclose(y[kept], scale, rtol=1e-6)


def test_the_gradient_has_the_same_mask() -> None:
    x = fs.tensor(np.ones((3, 50), np.float32), requires_grad=True)
    y = nn.Dropout(0.5)(x)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.numpy())


def test_eval_mode_and_p_0_change_nothing() -> None:
    x = ones(3, 4)
    assert nn.Dropout(0.9).eval()(x) is x
    assert nn.Dropout(0.0)(x) is x


def test_the_mask_depends_on_seed_path_step_and_epoch_only() -> None:
    def layer(seed: int, before: int = 1) -> nn.Sequential:
        return nn.Sequential(*[nn.Flatten()] * before, nn.Dropout(0.5)).initialize(seed)

    x = ones(4, 40)
    first = mask(layer(0), x, 3, 1)
    np.testing.assert_array_equal(first, mask(layer(0), x, 3, 1))
    for other in (
        mask(layer(1), x, 3, 1), mask(layer(0), x, 4, 1), mask(layer(0), x, 3, 2),
        mask(layer(0, before=2), x, 3, 1), mask(layer(0), x, 1, 3),
    ):  # fmt: skip
        assert 0.3 < (first == other).mean() < 0.7  # unrelated
    same_layer = layer(0)
    mask(same_layer, x, 9, 9)  # what was drawn before is of no matter
    np.testing.assert_array_equal(first, mask(same_layer, x, 3, 1))


def test_two_layers_of_one_network_draw_different_masks() -> None:
    net = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5)).initialize(0)
    x = ones(4, 40)
    with nn.stream_position(at(0, 0)):
        assert not np.array_equal(net[0](x).numpy(), net[1](x).numpy())


def test_an_examples_mask_depends_on_its_place_in_the_batch_only() -> None:
    layer = nn.Dropout(0.5)
    whole = mask(layer, ones(8, 30), 0)
    np.testing.assert_array_equal(mask(layer, ones(3, 30), 0), whole[:3])


def test_the_mask_is_what_the_random_stream_says() -> None:
    layer = nn.Sequential(nn.Dropout(0.25)).initialize(7)
    n, width = 5, 37  # 37 lanes of 16 bits: 3 blocks of 4 words of 4 lanes
    words = np.random.Philox(
        key=random.key(7, "dropout", "0"), counter=[0, 6, 2, 0]
    ).random_raw(n * 3 * 4)  # fmt: skip
    lanes = np.asarray(words, "<u8").view("<u2").reshape(n, 48)[:, :width]
    np.testing.assert_array_equal(mask(layer, ones(n, width), 6, 2), lanes < 0.75 * 65536)


def test_without_a_trainer_every_call_draws_anew_and_repeatably() -> None:
    x = ones(4, 40)

    def three_calls() -> list[np.ndarray]:
        layer = nn.Sequential(nn.Dropout(0.5)).initialize(0)
        return [mask(layer, x) for _ in range(3)]

    one, again = three_calls(), three_calls()
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one[0], one[1])
    assert not np.array_equal(one[1], one[2])


def test_a_copy_goes_on_where_the_original_was() -> None:
    layer = nn.Sequential(nn.Dropout(0.5)).initialize(0)
    x = ones(4, 40)
    mask(layer, x)
    np.testing.assert_array_equal(mask(copy.deepcopy(layer), x), mask(layer, x))


def test_the_position_is_restored_also_after_an_error() -> None:
    layer = nn.Sequential(nn.Dropout(0.5)).initialize(0)
    x = ones(2, 40)
    own = mask(copy.deepcopy(layer), x)
    with pytest.raises(ZeroDivisionError), nn.stream_position(at(5, 5)):
        raise ZeroDivisionError
    np.testing.assert_array_equal(mask(layer, x), own)


def test_a_p_below_half_a_step_of_the_stream_drops_nothing() -> None:
    y = nn.Dropout(1e-6)(ones(10, 10)).numpy()
    np.testing.assert_array_equal(y, 1.0)


def test_a_second_backend_draws_the_same_masks_and_first_values() -> None:
    xp = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")

    class Strict(Backend):
        """Another namespace without a kernel: every op in its generic form."""

        name = "strict"

        def __init__(self) -> None:
            super().__init__(Device("strict", 0))
            self.xp = xp

    other = Strict()
    nets = [
        nn.Sequential(nn.Linear(3, 40), nn.Dropout(0.3)).initialize(4, device=device)
        for device in (None, other)
    ]
    for one, two in zip(*(net.state_dict().values() for net in nets), strict=True):
        np.testing.assert_array_equal(one, two)
    x = np.ones((5, 40), np.float32)
    for step in range(3):
        place = np.array([step, 1], np.uint64)
        masks = []
        for net in nets:
            backend = net.backend
            with nn.stream_position(fs.Tensor(backend.asarray(place), backend)):
                masks.append(net[1](fs.Tensor(backend.asarray(x), backend)).numpy())
        np.testing.assert_array_equal(*masks)


def test_images() -> None:
    y = nn.Dropout(0.5)(ones(2, 5, 4, 3)).numpy()
    assert y.shape == (2, 5, 4, 3)
    assert set(np.unique(y)) == {0.0, 2.0}
