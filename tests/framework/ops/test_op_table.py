"""The op table on every backend, and that nothing escapes it."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from flagstone import ops, testing
from flagstone.backend import open_backend
from flagstone.ops import ALL_OPS
from flagstone.tape import observe
from flagstone.tensors import Tensor
from flagstone.testing import OP_TABLE, Draw, OpRow, Refusal, Sample
from flagstone_numpy.table import KERNELS

ROWS = [pytest.param(row, id=name) for name, row in OP_TABLE.items()]


@pytest.mark.parametrize("row", ROWS)
def test_samples_have_every_kind_of_size(row: OpRow) -> None:
    draw = Draw(0, row.dtypes[-1])
    sizes = [
        [x.size for x in sample.arrays if isinstance(x, np.ndarray)]
        for sample in (*row.samples(draw), *row.value_samples(draw))
    ]
    assert len(sizes) >= 3
    assert row.never_empty or any(0 in found for found in sizes), "no sample is empty"
    assert row.never_one or any(1 in found for found in sizes), "no sample has one element"


@pytest.mark.parametrize("row", ROWS)
def test_a_differentiable_op_has_its_gradients_checked(row: OpRow) -> None:
    op = ALL_OPS.get(row.name)
    if op is not None:
        assert bool(row.differentiable) == op.differentiable


@pytest.mark.parametrize("row", ROWS)
def test_gradients_of_gradients_are_checked_or_the_row_says_why_not(row: OpRow) -> None:
    assert row.order == 2 or row.first_only


def test_every_op_and_every_function_has_a_row() -> None:
    assert testing.missing_rows() == []


def test_every_row_is_of_something() -> None:
    assert set(OP_TABLE) <= {*ALL_OPS, *ops.__all__}


def test_an_op_without_a_row_is_found() -> None:
    before = dict(ALL_OPS)
    try:

        @ops.op
        def planted(xp, x):
            return x

        assert "planted" in testing.missing_rows()
    finally:
        ALL_OPS.clear()
        ALL_OPS.update(before)


@pytest.mark.parametrize("name", KERNELS)
def test_the_table_calls_every_numpy_kernel(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counting(*arrays, **static):
        calls.append(name)
        return KERNELS[name](*arrays, **static)

    cpu = open_backend("cpu")
    watched = type(cpu)(cpu.device)
    watched.kernels = {**KERNELS, name: counting}
    testing.check_values(OP_TABLE[name], watched, "float32")
    assert len(calls) >= 3


def test_importing_it_does_not_import_pytest_or_scipy() -> None:
    code = "import sys, flagstone.testing; print({'pytest', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# That each check would notice


def _row(**changes: object) -> OpRow:
    return dataclasses.replace(OP_TABLE["tanh"], **changes)  # type: ignore[arg-type]  # any field


CPU = open_backend("cpu")


def test_a_wrong_value_is_noticed() -> None:
    row = _row(reference=lambda x: np.tanh(x) * (1 + 1e-9))
    with pytest.raises(AssertionError, match=r"tanh on numpy, float64, given \(float64\[4\]\)"):
        testing.check_values(row, CPU, "float64")


def test_a_wrong_dtype_or_shape_is_noticed() -> None:
    row = _row(call=lambda x: ops.astype(x, "float64"))
    with pytest.raises(AssertionError, match=r"expected float32 of shape \(4,\); got float64"):
        testing.check_values(row, CPU, "float32")
    row = _row(call=lambda x: ops.reshape(ops.tanh(x), (1, *x.shape)))
    with pytest.raises(AssertionError, match=r"got float32 of shape \(1, 4\)"):
        testing.check_values(row, CPU, "float32")


def test_a_changed_input_is_noticed() -> None:
    def spoils(x: Tensor) -> Tensor:
        y: Tensor = ops.tanh(x)
        ops.assign(x, 0.0)
        return y

    with pytest.raises(AssertionError, match="input 0 was changed"):
        testing.check_values(_row(call=spoils), CPU, "float32")


def test_a_kernel_that_needs_contiguous_arrays_is_noticed() -> None:
    def careless(x: Tensor) -> Tensor:
        flat = np.frombuffer(x.array.tobytes("A"), x.array.dtype)
        return Tensor(np.tanh(flat).reshape(x.shape), x.backend)

    row = _row(call=careless)
    testing.check_values(row, CPU, "float64")
    with pytest.raises(AssertionError, match=r"given \(float64\[3, 4\]\)"):
        testing.check_layouts(row, CPU, "float64")


def test_a_wrong_gradient_is_noticed() -> None:
    def detached_half(x: Tensor) -> Tensor:
        return ops.tanh(x) + ops.tanh(x.detach()) * 1.0

    with pytest.raises(AssertionError, match=r"tanh on numpy.*gradient with respect to x \(shape"):
        testing.check_gradients(_row(call=detached_half), CPU)


def test_a_wrong_gradient_of_a_gradient_is_noticed() -> None:
    """The gradient is right, but what it depends on is not on the tape."""
    before = dict(ALL_OPS)

    @ops.op
    def once(xp, x):
        return xp.tanh(x)

    @once.pullback
    def _(dy, y):
        return dy * (1.0 - y.detach() * y.detach())

    ALL_OPS.clear()
    ALL_OPS.update(before)
    row = _row(call=once)
    testing.check_gradients(dataclasses.replace(row, order=1), CPU)
    with pytest.raises(AssertionError, match="gradient of the gradient with respect to x"):
        testing.check_gradients(row, CPU)


def test_an_update_that_makes_a_step_to_be_left_out_is_noticed() -> None:
    def counts(average, p, t, factor=None, *, decay):
        ops.average_update(average, p, t, factor, decay=decay)
        if factor is not None:
            ops.accumulate(t, ops.equal(t, t).astype(t.dtype_name))
        return ()

    row = dataclasses.replace(OP_TABLE["average_update"], call=counts)
    with pytest.raises(AssertionError, match="nothing to change where factor is NaN; input 2 was"):
        testing.check_values(row, CPU, "float64")


def test_every_update_says_by_what_it_is_left_out() -> None:
    named = {name for name, op in ALL_OPS.items() if op.mutates and name.endswith("_update")}
    assert named <= {name for name, row in OP_TABLE.items() if row.left_out_by}


def test_a_gradient_that_is_wrong_in_float32_only_is_noticed() -> None:
    before = dict(ALL_OPS)

    @ops.op
    def careless(xp, x):
        return xp.tanh(x)

    @careless.pullback
    def _(dy, y):
        exact = dy * (1.0 - y * y)
        return exact if y.dtype_name == "float64" else exact * 1.01

    ALL_OPS.clear()
    ALL_OPS.update(before)
    with pytest.raises(AssertionError, match=r"float32.*: gradient with respect to input 0"):
        testing.check_gradients(_row(call=careless), CPU)


@pytest.mark.parametrize(
    ("refusal", "message"),
    [
        (Refusal(ValueError, "x", np.ones(2)), "expected ValueError; nothing was raised"),
        (Refusal(ValueError, "x", np.arange(2)), "expected ValueError; got DTypeError"),
        (Refusal(TypeError, "other words", np.arange(2)), "expected a message with 'other words'"),
    ],
)
def test_a_wrong_refusal_is_noticed(refusal: Refusal, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        testing.check_refusals(_row(refusals=(refusal,)), CPU)


def test_a_message_of_two_lines_is_noticed() -> None:
    def call(x: Tensor) -> None:
        raise ValueError("one\ntwo")

    row = _row(call=call, refusals=(Refusal(ValueError, "one", np.ones(2)),))
    with pytest.raises(AssertionError, match="expected a message of one line"):
        testing.check_refusals(row, CPU)


def test_check_op_runs_everything() -> None:
    seen = []
    with observe(lambda op, inputs, static, outputs: seen.append(outputs[0].dtype_name)):
        testing.check_op(OP_TABLE["tanh"], CPU)
    assert {"float32", "float64"} <= set(seen)


def test_a_sample_shows_itself() -> None:
    assert repr(Sample(np.ones((2, 3)), 2, axis=1)) == "float64[2, 3], 2, axis=1"
