"""Batches made of the data in one launch, and that training on a card makes them so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn, ops
from flagstone.augment import Chain, parse
from flagstone.backend import Backend, MemoryInfo, open_backend
from flagstone.nn.examples import Examples
from flagstone.optim import Adam
from flagstone.tape import observe
from flagstone.tensors import Tensor
from flagstone.training.inputs import inputs_of
from flagstone.training.objective import CrossEntropy
from flagstone.training.streaming import StreamedData
from flagstone_cupy import launch
from flagstone_cupy.kernels import batch
from flagstone_cupy.signature import local_sources

RNG = np.random.default_rng(47)
CPU = open_backend("cpu")
PLAIN = type(CPU)(CPU.device)  # without a kernel for the whole: op by op
PLAIN.kernels = {name: k for name, k in CPU.kernels.items() if name != "standardized"}
# examples, the shape of one, of a mean, of a batch
TABLES = [
    (1, (1,), (1,), 1), (9, (5,), (5,), 70), (300, (3,), (), 600), (5, (7, 6, 3), (3,), 40),
    (3, (9, 40, 2), (2,), 2), (4, (3, 2, 2), (3, 2, 2), 5),
]  # fmt: skip


def data(dtype: str, *shape: int) -> Any:
    whole = RNG.integers(0, 256, shape)
    return whole.astype(dtype) if dtype == "uint8" else (whole / 7).astype(dtype)


@pytest.mark.covers("batch.cu:standardized")
@pytest.mark.parametrize(
    ("dtype", "of"),
    [("uint8", "float32"), ("uint8", "float64"), ("float32",) * 2, ("float64",) * 2],
)
@pytest.mark.parametrize(("n", "shape", "statistics", "count"), TABLES)
def test_picked(
    card: Any, n: int, shape: Any, statistics: Any, count: int, dtype: str, of: str
) -> None:
    x = data(dtype, n, *shape)
    mean = RNG.standard_normal(statistics).astype(of)
    inverse = RNG.uniform(0.01, 2, statistics).astype(of)
    for kind in ("int32", "int64"):
        index = RNG.integers(0, n, count).astype(kind)
        y = batch.standardized(x, mean, inverse, index)
        assert y.dtype == of
        np.testing.assert_array_equal(y, (x[index].astype(of) - mean) * inverse)
    np.testing.assert_array_equal(
        batch.standardized(x, mean, inverse), (x.astype(of) - mean) * inverse
    )


@pytest.mark.covers("batch.cu:standardized")
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize(
    ("shape", "new", "count"), [((3, 5, 4, 3), (7, 90), 20), ((2, 9, 30, 11), (20, 30), 6)]
)
def test_moved(card: Any, shape: Any, new: Any, count: int, dtype: str) -> None:
    x = data(dtype, *shape)
    n, h, w, channels = shape
    mean, inverse = RNG.uniform(0.1, 2, (2, channels)).astype("float32")
    index = RNG.integers(0, n, count)
    for tall, wide in ((new[0], new[1]), (None, new[1]), (new[0], None)):
        rows = None if tall is None else RNG.integers(-2, h + 2, (count, tall))
        columns = None if wide is None else RNG.integers(-2, w + 2, (count, wide))
        r = np.tile(np.arange(h), (count, 1)) if rows is None else rows
        c = np.tile(np.arange(w), (count, 1)) if columns is None else columns
        padded = np.pad(x[index].astype("float32"), ((0, 0), (2, 2), (2, 2), (0, 0)))
        moved = padded[np.arange(count)[:, None, None], r[:, :, None] + 2, c[:, None] + 2]
        y = batch.standardized(x, mean, inverse, index, rows, columns)
        np.testing.assert_array_equal(y, (moved - mean) * inverse)


def test_an_example_that_there_is_not(card: Any) -> None:
    index, one = np.array([-1, 1, 3, 2**40]), np.ones(1, "float32")
    for dtype, bad in (("uint8", -2.0), ("float32", np.nan)):
        y = batch.standardized(np.full((3, 2), 7, dtype), one, 2 * one, index)
        np.testing.assert_array_equal(y, [[bad] * 2, [12, 12], [bad] * 2, [bad] * 2])


def test_other_integers_are_converted_first(card: Any) -> None:
    x, one = RNG.integers(-(2**20), 2**20, (9, 40)), np.ones(40, "float32")
    y = batch.standardized(x, one, 2 * one, np.array([3, 0]))
    np.testing.assert_array_equal(y, (x[[3, 0]].astype("float32") - 1) * 2)


CHAINS = ["", "flip", "flip,crop(padding=2)", "translate(pixels=3),flip(direction='vertical')",
          "crop(padding=3),flip,crop(padding=1, mode='zero')", "alternating-flip,crop(padding=2)",
          "cutout(size=3)", "flip,mixup"]  # fmt: skip


@pytest.mark.parametrize("text", CHAINS)
def test_the_bits_of_the_ops_one_by_one(text: str, simulated: Backend, card: Any) -> None:
    images = data("uint8", 11, 9, 7, 3)
    mean, inverse = RNG.uniform(0.1, 2, (2, 3)).astype("float32")
    found = {}
    for backend in (PLAIN, CPU, simulated):
        first = nn.Standardize((3,))
        layer = nn.Sequential(nn.Sequential(first), nn.Flatten()).initialize(0, device=backend)
        first.mean.array[...], first.inverse_scale.array[...] = mean, inverse
        x, rows, place = (
            Tensor(backend.asarray(a), backend)
            for a in (images, RNG.permutation(11)[:6] * 0 + [3, 1, 4, 1, 5, 9],
                      np.array([2, 3], np.uint64))
        )  # fmt: skip
        chain = Chain(parse(text), 5, backend) if text else None
        if chain is not None:
            chain.begin(11)
        called: list[str] = []
        with observe(lambda op, *_, called=called: called.append(op.name)):
            given, mixture = inputs_of(layer, Examples(x, "float32", rows), chain, place, rows)
            found[backend] = layer(given).numpy()
        in_one = backend is not PLAIN and "cutout" not in text and "mixup" not in text
        assert isinstance(given, Examples) is in_one
        assert (mixture is not None) is ("mixup" in text)
        assert called.count("standardized") == (backend is not PLAIN)
        if in_one:
            assert not {"pick_pixels", "where", "flip"} & set(called)
    np.testing.assert_array_equal(found[PLAIN], found[CPU])
    np.testing.assert_array_equal(found[PLAIN], found[simulated])


def trained(device: str, augment: str = "") -> tuple[fs.Trainer, np.ndarray]:
    images, y = np.random.default_rng(2).integers(0, 256, (30, 8, 8, 1), "uint8"), np.arange(30) % 3
    first = nn.Standardize((1,))
    layer = nn.Sequential(first, nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    layer.initialize(0, device=device)
    first.mean.array[...], first.inverse_scale.array[...] = 127.0, 0.01
    trainer = fs.Trainer(
        layer, CrossEntropy(), Adam(layer, 1e-2), epochs=2, batch_size=8, augment=parse(augment)
    )
    trainer.fit(images, y)
    return trainer, np.array([e["train"]["loss"] for e in trainer.history])


@pytest.mark.parametrize("augment", ["", "flip,crop(padding=1)"])
def test_training_makes_a_batch_in_one_launch(augment: str, simulated: Backend, card: Any) -> None:
    _, here = trained("cpu", augment)
    trainer, there = trained("simulated", augment)
    np.testing.assert_allclose(there, here, rtol=1e-5)
    data = trainer._data
    assert data.x.dtype_name == "uint8"  # as it came
    scalar = [Tensor(simulated.asarray(np.asarray(v, "float32")), simulated) for v in (0.01, 0.1)]
    place = Tensor(simulated.asarray(np.array([1, 1], np.uint64)), simulated)
    rows = Tensor(simulated.asarray(np.arange(8)), simulated)
    with launch.recording() as launches:
        trainer._train_step(rows, scalar[0], place, scalar[1])
    names = [m.kernel.name for m in launches]
    before = names[: names.index("standardized")]
    assert names.count("standardized") == 1
    expected = [] if not augment else ["random_integers", "shifted"]
    assert set(before) - {"random_bits", "take_rows"} == set(expected)
    assert names.count("take_rows") == 1  # of the targets
    assert not {"pick_pixels"} & set(names)


@pytest.mark.filterwarnings("ignore:the data, .* stay on the host:RuntimeWarning")
def test_a_batch_that_is_sent_is_made_of_bytes_too(
    simulated: Backend, card: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident, _ = trained("simulated", "flip,crop(padding=1)")
    monkeypatch.setattr(simulated, "memory", lambda: MemoryInfo(free=100))
    sent, _ = trained("simulated", "flip,crop(padding=1)")
    assert isinstance(sent._data, StreamedData)
    for name, value in resident.layer.state_dict().items():
        np.testing.assert_array_equal(sent.layer.state_dict()[name], value)


def test_who_has_a_forward_of_its_own_is_given_a_tensor(simulated: Backend) -> None:
    class Own(nn.Standardize):
        def forward(self, x: Any) -> Tensor:
            assert isinstance(x, Tensor)
            return super().forward(x)

    class Inside(nn.Layer):
        def __init__(self) -> None:
            self.first = nn.Standardize((1,))

        def forward(self, x: Any) -> Tensor:
            assert isinstance(x, Tensor)
            return self.first(x)

    x = Tensor(simulated.asarray(data("uint8", 4, 2)), simulated)
    for layer in (Own((2,)), Inside(), nn.Sequential(Own((2,)))):
        given, _ = inputs_of(layer, Examples(x, "float32"), None, x, None)
        assert isinstance(given, Tensor)
    assert isinstance(inputs_of(nn.Standardize((2,)), Examples(x, "float32"), None, x, None)[0],
                      Examples)  # fmt: skip
    flags = Examples(ops.greater(x, 3), "float32")
    assert isinstance(inputs_of(nn.Standardize((2,)), flags, None, x, None)[0], Tensor)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("if (place >= width) return;", "", id="threads beside the row write"),
        pytest.param("from < table,", "from <= table,", id="an example past the last is read"),
        pytest.param("mean[place % period]", "mean[j % period]", id="the mean of another channel"),
        pytest.param("across && r >= 0 && r < h", "r >= 0 && r < h",
                     id="a pixel beyond the border is another row's"),
        pytest.param("e += gridDim.z * blockDim.z", "e += n", id="examples left out"),
    ],
)  # fmt: skip
def test_a_planted_bug_is_caught(old: str, new: str, card: Any, simulator: Any) -> None:
    x = data("uint8", 9, 5, 4, 3)
    mean, inverse = np.arange(1, 4, dtype="f4"), np.arange(2, 5, dtype="f4")
    index = np.array([*range(8, -1, -1), 9] * 30)
    columns = np.tile(np.arange(4)[::-1] + 1, (300, 1))

    def check() -> None:
        y = batch.standardized(x, mean, inverse, index, None, columns)
        known = np.pad(x, ((0, 1), (0, 0), (0, 1), (0, 0)))[index][:, :, ::-1][:, :, :4]
        assert np.array_equal(y, (known.astype("f4") - mean) * inverse), "a value is wrong"

    check()
    source = "batch.cu"
    text = local_sources(source)[source]
    assert text.count(old) == 1, "the source changed; plant this bug where it is now"
    kernel = batch.STANDARDIZED[np.dtype("u1"), np.dtype("f4"), np.dtype("i8")]
    card.libraries[source] = simulator.Library(source, {source: text.replace(old, new)}, [kernel])
    with pytest.raises(AssertionError):
        check()
