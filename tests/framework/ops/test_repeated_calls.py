"""A call like one before gives what a call that is looked at in full gives, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import nn, ops
from flagstone.backend import Backend, open_backend
from flagstone.errors import DTypeError, FlagstoneError, InputError
from flagstone.ops import op, unrolled
from flagstone.profiling import Profiler
from flagstone.tape import observe
from flagstone.tensors import MOST_KINDS, Tensor, kind_of
from flagstone.testing import OP_TABLE, Draw, OpRow, Sample

CPU = open_backend("cpu")
TIMES = unrolled.AFTER + 3
ROWS = [pytest.param(row, id=name) for name, row in OP_TABLE.items()]


def run(row: OpRow, sample: Sample) -> tuple[list[Tensor], list[Tensor | None]]:
    """Outputs and gradients, from copies of the arrays."""
    given: list[Any] = [
        Tensor(x.copy(), CPU) if isinstance(x, np.ndarray) else x for x in sample.arrays
    ]
    leaves = [given[i] for i in row.differentiable if i < len(given)]
    leaves = [x for x in leaves if isinstance(x, Tensor)]
    for x in leaves:
        x.requires_grad = True
    with np.errstate(all="ignore"):
        made = row.call(*given, **sample.static)
        outputs = list(made) if isinstance(made, tuple) else [made]
        for y in outputs:
            if not isinstance(y, Tensor) or not y.requires_grad or "float" not in y.dtype_name:
                continue
            weight = np.random.default_rng(0).standard_normal(y.shape).astype(y.dtype_name)
            y.backward(Tensor(np.asarray(weight), CPU), retain_graph=True)
    return [y for y in [*outputs, *given] if isinstance(y, Tensor)], [x.grad for x in leaves]


@pytest.mark.parametrize("row", ROWS)
def test_every_op_and_its_gradients(row: OpRow) -> None:
    dtype = row.dtypes[0]
    for first, sample in zip(row.samples(Draw(0, dtype)), row.samples(Draw(1, dtype)), strict=True):
        for _ in range(TIMES):
            run(row, first)
        tensors, gradients = run(row, sample)
        with observe(lambda *_: None):  # which takes the long way
            expected, expected_gradients = run(row, sample)
        for got, wanted in zip(
            [*tensors, *gradients], [*expected, *expected_gradients], strict=True
        ):
            assert (got is None) == (wanted is None)
            if got is not None and wanted is not None:
                np.testing.assert_array_equal(got.numpy(), wanted.numpy())
                if got.kind is not None:
                    known = got.kind.backend, got.kind.shape, got.kind.dtype
                    assert known == (got.backend, got.shape, got.array.dtype)


def leaf(*values: float) -> Tensor:
    return fs.tensor(list(values), device="cpu", requires_grad=True)


def gradients(function: Any, *xs: Tensor) -> list[list[float]]:
    for x in xs:
        x.grad = None
    ops.sum(function(*xs)).backward()
    return [x.grad.numpy().tolist() for x in xs if x.grad is not None]


def test_one_tensor_given_twice_and_two_tensors() -> None:
    """From what a call with one array twice keeps, nobody can tell which of the two is meant."""
    a, b = leaf(2.0, 3.0), leaf(5.0, 7.0)
    for _ in range(TIMES):
        assert gradients(lambda a: a * a, a) == [[4.0, 6.0]]
    for _ in range(TIMES):
        assert gradients(lambda a, b: a * b, a, b) == [[5.0, 7.0], [2.0, 3.0]]
    assert gradients(lambda a: a * a, a) == [[4.0, 6.0]]


def test_a_number_is_not_another_one() -> None:
    a = leaf(2.0, 3.0)
    for _ in range(TIMES):
        assert gradients(lambda a: a * 2.0, a) == [[2.0, 2.0]]
    assert gradients(lambda a: a * 4.0, a) == [[4.0, 4.0]]
    for _ in range(TIMES):
        assert ops.sum(a, axis=0).item() == 5.0
    with pytest.raises(InputError, match="axis"):
        ops.sum(a, axis=True)  # equal to 1
    with pytest.raises(DTypeError):
        fs.tensor([1, 2]) * 2.0


def test_a_gradient_is_wanted_or_not() -> None:
    a, b = leaf(2.0, 3.0), fs.tensor([5.0, 7.0], device="cpu")
    for _ in range(TIMES):
        assert gradients(lambda a: a * b, a) == [[5.0, 7.0]]
    b.requires_grad = True
    assert gradients(lambda a, b: a * b, a, b) == [[5.0, 7.0], [2.0, 3.0]]


def test_several_outputs_of_which_others_are_used() -> None:
    @op
    def twofold(xp, a):
        return a * 2.0, a * 3.0

    @twofold.pullback
    def _(dys):
        return sum((dy * by for dy, by in zip(dys, (2.0, 3.0), strict=True) if dy is not None), 0.0)

    a = leaf(1.0)
    for _ in range(TIMES):
        assert gradients(lambda a: twofold(a)[0], a) == [[2.0]]
    for _ in range(TIMES):
        assert gradients(lambda a: twofold(a)[1], a) == [[3.0]]
    assert gradients(lambda a: ops.add(*twofold(a)), a) == [[5.0]]
    del ops.ALL_OPS["twofold"]


def test_a_pullback_that_reads_values_or_takes_an_array_from_elsewhere() -> None:
    elsewhere = fs.tensor([3.0], device="cpu")

    @op
    def once_or_twice(xp, a):
        return a + 0

    @once_or_twice.pullback
    def _(dy, a):
        return dy * elsewhere if a.item() > 0 else dy

    for _ in range(TIMES):
        assert gradients(once_or_twice, leaf(1.0)) == [[3.0]]
        assert gradients(once_or_twice, leaf(-1.0)) == [[1.0]]

    @once_or_twice.pullback
    def _(dy, a):
        return dy * elsewhere

    for _ in range(TIMES):
        assert gradients(once_or_twice, leaf(1.0)) == [[3.0]]
    elsewhere = fs.tensor([4.0], device="cpu")
    assert gradients(once_or_twice, leaf(1.0)) == [[4.0]]
    del ops.ALL_OPS["once_or_twice"]


def test_a_pullback_is_written_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it calls an op of the same kinds and with the same number as the one it is of."""
    ops.multiply.known.clear()
    monkeypatch.setattr(ops.multiply, "forgotten", 0)  # other tests' calls may have been various
    written = []
    write = unrolled._written

    def note(node: Any, dys: Any) -> Any:
        written.append(node.op.name)
        return write(node, dys)

    monkeypatch.setattr(unrolled, "_written", note)
    a = leaf(2.0)
    for _ in range(5 * TIMES):
        assert gradients(lambda a: a * 0.03125, a) == [[0.03125]]
    assert written.count("multiply") == 1


def test_gradients_of_gradients_after_plain_ones() -> None:
    a = leaf(2.0)
    for _ in range(TIMES):
        assert gradients(lambda a: a * a * a, a) == [[12.0]]
    (g,) = fs.grad(ops.sum(a * a * a), [a], create_graph=True)
    assert g is not None
    (h,) = fs.grad(ops.sum(g), [a])
    assert h is not None
    assert h.item() == 12.0


def test_a_check_that_is_given_later_is_asked() -> None:
    @op
    def checked(xp, a):
        return a + 1

    with fs.no_grad():
        assert checked(leaf(1.0)).item() == 2.0

    @checked.check
    def _(a):
        raise InputError("checked: nothing will do")

    with fs.no_grad(), pytest.raises(InputError, match="nothing will do"):
        checked(leaf(1.0))
    del ops.ALL_OPS["checked"]


def test_a_profiler_sees_every_kernel() -> None:
    layer = nn.Linear(3, 2).initialize(0, device="cpu")
    x = fs.tensor(np.ones((4, 3), np.float32), device="cpu")

    def step() -> None:
        ops.sum(layer(x)).backward()

    for _ in range(TIMES):
        step()
    with Profiler(CPU, layer) as profiler:
        step()
    found = [call.op for call in profiler.calls]
    assert found[:2] == ["linear", "sum"]
    assert "linear_weight_grad" in found
    step()
    assert len(profiler.calls) == len(found)


def test_many_kinds_and_many_options() -> None:
    """What is remembered is bounded, and what was forgotten is found out again."""

    @op
    def times(xp, a, *, by: float = 1.0):
        return a * by

    @times.pullback
    def _(dy, by):
        return times(dy, by=by)

    a = leaf(2.0)
    for i in range(2 * MOST_KINDS):
        kind_of(Tensor(np.empty((i, 0)), CPU))
    for i in range(3000):
        assert times(a, by=float(i)).item() == 2.0 * i
        assert len(times.known) <= 512
    for _ in range(TIMES):
        assert gradients(lambda a: times(a, by=3.0), a) == [[3.0]]
    with pytest.raises(TypeError, match=r"times\(\) is missing 'a'; it takes a and by name by"):
        times()
    assert gradients(lambda a: a * a, a) == [[4.0]]
    del ops.ALL_OPS["times"]


def test_two_backends_of_one_device(strict: Backend) -> None:
    a, there = leaf(1.0), Tensor(strict.asarray(np.ones(1, np.float32)), strict)
    for _ in range(TIMES):
        assert (a + a).item() == 2.0
        assert (there + there).item() == 2.0
    with pytest.raises(FlagstoneError, match="expected all arrays on one device"):
        a + there


def test_a_parameter_that_is_bound_anew() -> None:
    layer = nn.Linear(2, 2)
    for dtype in ("float32", "float64", "float32"):
        layer.initialize(0, device="cpu", dtype=dtype)
        x = fs.tensor(np.ones((1, 2), dtype), device="cpu")
        for _ in range(TIMES):
            y = layer(x)
            ops.sum(y).backward()
        assert y.dtype_name == dtype
        with pytest.raises(DTypeError):
            layer(x.astype("float64" if dtype == "float32" else "float32"))
