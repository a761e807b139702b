"""The table of mixed precision: what each kind of op is given, and what comes out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn, ops, plugins
from flagstone.backend import Backend, open_backend
from flagstone.devices import Device
from flagstone.errors import DTypeError
from flagstone.ops import ALL_OPS
from flagstone.ops.autocast import LOW, OWN, RULES, WIDE, autocast
from flagstone.plugins import BackendSpec, hookimpl
from flagstone.tape import observe

RNG = np.random.default_rng(3)


class Halves(Backend):
    name = "halves"
    xp = np
    precisions = ("exact", "mixed-fp16")


def open_halves(index: int | None) -> Backend:
    return Halves(Device("halves"))


class Plugin:
    @hookimpl
    def flagstone_backends(self) -> Iterator[BackendSpec]:
        yield BackendSpec("halves", f"{__name__}:open_halves", summary="", devices=("halves",))


@pytest.fixture(scope="module")
def here() -> Iterator[Backend]:
    plugins.register(Plugin(), "halves-backend")
    yield open_backend("halves", "mixed-fp16")
    plugins.unregister("halves-backend")


def test_the_table_names_ops() -> None:
    assert nn  # imports the fused ones
    assert RULES.keys() <= ALL_OPS.keys()
    assert set(RULES.values()) == {LOW, WIDE, OWN}


def test_each_kind_has_its_dtypes(here: Backend) -> None:
    x, w = (fs.tensor(RNG.standard_normal((4, 4)).astype("f4"), device=here) for _ in range(2))
    y = ops.linear(x, w)
    assert y.dtype_name == "float16"
    assert [t.dtype_name for t in (ops.relu(y), y + y, y * 2.0, y.max(axis=0))] == ["float16"] * 4
    wide = (
        y + x,
        ops.exp(y),
        y.sum(),
        y.mean(),
        ops.softmax(y, axis=1),
        y**2,
        ops.layer_norm(y, 4),
    )
    assert [t.dtype_name for t in wide] == ["float32"] * len(wide)
    labels = fs.tensor([0, 1, 2, 3], device=here)
    assert ops.softmax_cross_entropy(y, labels)[0].dtype_name == "float32"
    weight = fs.tensor(np.ones(4, "f4"), device=here)
    normal, mean, var = ops.batch_norm(y, weight, weight, eps=1e-5)
    dtypes = [t.dtype_name for t in (normal, mean, var)]
    assert dtypes == ["float16", "float32", "float32"]


def test_gradients_have_the_dtypes_of_the_forward_pass(here: Backend) -> None:
    x, w, b, gamma = (
        fs.tensor(RNG.standard_normal(shape).astype("f4"), device=here, requires_grad=True)
        for shape in ((6, 4), (4, 4), (4,), (4,))
    )
    seen: list[tuple[str, list[str]]] = []

    def note(op: Any, inputs: Any, static: Any, outputs: Any) -> None:
        seen.append((op.name, [t.dtype_name for t in outputs]))

    y = ops.relu(ops.batch_norm(ops.linear(x, w, b), gamma, gamma, eps=1e-3)[0])
    with observe(note):
        ((y - 1.0) ** 2).sum().backward()
    made = dict(seen)
    assert made["relu_grad"] == made["linear_weight_grad"] == made["batched_matmul"] == ["float16"]
    assert made["batch_norm_grad"] == ["float16", "float32", "float32"]
    for leaf in (x, w, b, gamma):
        assert leaf.grad is not None
        assert leaf.grad.dtype_name == "float32"


def test_what_is_written_has_the_dtype_of_where_it_goes(here: Backend) -> None:
    out = fs.tensor(np.zeros(3, "f4"), device=here)
    half = ops.astype(fs.tensor(np.array([0.1, 0.2, 0.3], "f4"), device=here), "float16")
    ops.accumulate(out, half)
    assert out.dtype_name == "float32"
    np.testing.assert_array_equal(out.numpy(), np.array([0.1, 0.2, 0.3], "f2").astype("f4"))


def test_float64_is_left_alone(here: Backend) -> None:
    x = fs.tensor(RNG.standard_normal((3, 3)), dtype="float64", device=here)
    assert ops.matmul(x, x).dtype_name == "float64"
    with pytest.raises(DTypeError, match="expected one dtype; got a float64, b float32"):
        ops.matmul(x, ops.astype(x, "float32"))


def test_nothing_to_cast_is_nothing_to_do(here: Backend) -> None:
    x = fs.tensor(RNG.standard_normal((3, 3)).astype("f4"), device=here)
    inputs = (x, x)
    assert autocast(ALL_OPS["add"], inputs, "float16") is inputs
    assert open_backend("halves").low is None
