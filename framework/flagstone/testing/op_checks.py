"""Checks of one row of the op table on one backend; each raises ``AssertionError``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from flagstone import ops
from flagstone.backend import Backend
from flagstone.ops import ALL_OPS
from flagstone.tape import no_grad
from flagstone.tensors import Tensor
from flagstone.testing.gradcheck import gradcheck
from flagstone.testing.op_row import Array, Draw, OpRow, Raw, Sample

SEED = 20
DIRECTIONS = 2
GRADIENT_ROUNDING = 10  # what gradients may differ by in float32, in tolerances of values


def check_op(row: OpRow, backend: Backend) -> None:
    """Everything that the table says of one op: values, layouts, gradients, refusals.

    Args:
        row: of the table, or your own op's.
        backend: an opened backend, from :func:`flagstone.backend.open_backend`.

    Raises:
        AssertionError: the first thing that is not so; names op, backend, dtype and sample.
    """
    for dtype in row.dtypes:
        check_values(row, backend, dtype)
        check_layouts(row, backend, dtype)
    check_gradients(row, backend)
    check_refusals(row, backend)


def check_values(row: OpRow, backend: Backend, dtype: str) -> None:
    """Values, shapes and dtypes of every sample against the reference; inputs stay untouched."""
    for sample in _all_samples(row, dtype):
        _compare(row, backend, dtype, sample, _expected(row, sample), lambda a: a)
        if row.left_out_by:
            _check_left_out(row, backend, dtype, sample)


def _check_left_out(row: OpRow, backend: Backend, dtype: str, sample: Sample) -> None:
    """Where the argument says so, nothing that the op writes to is changed."""
    at = ALL_OPS[row.name].arrays.index(row.left_out_by)
    arrays = [*sample.arrays, *[None] * (at + 1 - len(sample.arrays))]
    arrays[at] = np.asarray(np.nan, dtype)
    tensors = _tensors([x.copy() if isinstance(x, np.ndarray) else x for x in arrays], backend)
    with np.errstate(all="ignore"), no_grad():
        row.call(*tensors, **sample.static)
    for i, (before, after) in enumerate(zip(arrays, tensors, strict=True)):
        if isinstance(after, Tensor) and after.numpy().tobytes() != before.tobytes():
            raise AssertionError(
                f"{_where(row, backend, dtype, sample)}: expected nothing to change where "
                f"{row.left_out_by} is NaN; input {i} was changed"
            )


def check_layouts(row: OpRow, backend: Backend, dtype: str) -> None:
    """The same for arrays with gaps, in reversed order of axes and of elements."""
    for sample in _all_samples(row, dtype):
        expected = _expected(row, sample)
        for layout in (with_gaps, axes_reversed, backwards):
            _compare(row, backend, dtype, sample, expected, layout)


def check_gradients(row: OpRow, backend: Backend) -> None:
    """Gradients, and gradients of gradients, against central differences; gradients of other dtypes
    against those of float64."""
    if not row.differentiable:
        return
    for dtype in row.dtypes:
        if dtype != "float64":
            _check_narrow_gradients(row, backend, dtype)
    for number, sample in enumerate(row.samples(Draw(SEED, "float64"))):
        differentiated = _differentiated(row, sample)

        def function(*inputs: Any, sample: Sample = sample, at: list[int] = differentiated) -> Any:
            arrays = list(_tensors(sample.arrays, backend))
            for i, x in zip(at, inputs, strict=True):
                arrays[i] = x
            return row.call(*arrays, **sample.static)

        op = ALL_OPS.get(row.name)
        arguments = op.arrays if op is not None and not op.variadic else ()
        names = [arguments[i] if i < len(arguments) else f"input {i}" for i in differentiated]
        inputs = [sample.arrays[i] for i in differentiated]
        if not inputs:
            continue
        try:
            gradcheck(
                function, inputs, names=names, order=row.order, directions=DIRECTIONS,
                seed=SEED + number, device=backend,
            )  # fmt: skip
        except AssertionError as error:
            raise AssertionError(f"{_where(row, backend, 'float64', sample)}: {error}") from None


def _check_narrow_gradients(row: OpRow, backend: Backend, dtype: str) -> None:
    """Gradients in ``dtype`` are of it, and near those of the same numbers in float64."""
    for sample in row.samples(Draw(SEED, dtype)):
        narrow = _gradients(row, backend, sample, dtype)
        exact = _gradients(row, backend, sample, "float64")
        for i, g, expected in zip(_differentiated(row, sample), narrow, exact, strict=True):
            where = f"{_where(row, backend, dtype, sample)}: gradient with respect to input {i}"
            if (g is None) != (expected is None):
                raise AssertionError(f"{where}: expected one in every dtype or in none")
            if g is None or expected is None:
                continue
            if (g.dtype_name, g.shape) != (dtype, expected.shape):
                raise AssertionError(
                    f"{where}: expected {dtype} of shape {expected.shape}; "
                    f"got {g.dtype_name} of shape {g.shape}"
                )
            near, wanted = GRADIENT_ROUNDING * row.tolerance[dtype], np.array(expected.numpy())
            size = max(1.0, float(np.abs(wanted).max(initial=0.0)))
            np.testing.assert_allclose(g.numpy(), wanted, near, near * size, err_msg=where)


def _gradients(row: OpRow, backend: Backend, sample: Sample, dtype: str) -> list[Tensor | None]:
    """The gradients of a weighted sum of the outputs, in ``dtype``."""
    arrays = [
        x.astype(dtype) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x
        for x in sample.arrays
    ]
    tensors = _tensors(arrays, backend)
    for i in _differentiated(row, sample):
        tensors[i].requires_grad = True
    with np.errstate(all="ignore"):
        found = row.call(*tensors, **sample.static)
        rng, total = np.random.default_rng(SEED), None
        for y in found if isinstance(found, tuple) else (found,):
            if y.requires_grad and "float" in y.dtype_name:
                weight = np.asarray(rng.standard_normal(y.shape), y.dtype_name)
                term = ops.sum(y * _tensor(weight, backend))
                total = term if total is None else total + term
        if total is not None:
            total.backward()
    return [tensors[i].grad for i in _differentiated(row, sample)]


def _differentiated(row: OpRow, sample: Sample) -> list[int]:
    """The places of a sample's arrays that gradients reach."""
    return [
        i for i in row.differentiable
        if i < len(sample.arrays) and isinstance(sample.arrays[i], np.ndarray)
    ]  # fmt: skip


def check_refusals(row: OpRow, backend: Backend) -> None:
    """Every refusal raises its error, with its words, in one line."""
    import re

    for refusal in row.refusals:
        where = f"{row.name} on {backend.name}, given ({refusal})"
        arguments = [x.value if isinstance(x, Raw) else x for x in refusal.arrays]
        made = [
            x if isinstance(raw, Raw) else _tensor(x, backend)
            for x, raw in zip(arguments, refusal.arrays, strict=True)
        ]
        try:
            row.call(*made, **refusal.static)
        except refusal.error as error:
            message = str(error)
        except Exception as error:  # whatever it is, it is the wrong one
            raise AssertionError(
                f"{where}: expected {refusal.error.__name__}; got {type(error).__name__}: {error}"
            ) from error
        else:
            raise AssertionError(f"{where}: expected {refusal.error.__name__}; nothing was raised")
        if "\n" in message:
            raise AssertionError(f"{where}: expected a message of one line; got {message!r}")
        if not re.search(refusal.message, message):
            raise AssertionError(
                f"{where}: expected a message with {refusal.message!r}; got {message!r}"
            )


def with_gaps(a: Array) -> Array:
    """The same values, every second number of a longer array."""
    if not a.ndim:
        return a
    longer = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
    longer[..., ::2] = a
    return longer[..., ::2]


def axes_reversed(a: Array) -> Array:
    """The same values in Fortran's order."""
    return np.asfortranarray(a) if a.ndim else a


def backwards(a: Array) -> Array:
    """The same values, the first axis stored from its end."""
    return a[::-1].copy()[::-1] if a.ndim else a


def _expected(row: OpRow, sample: Sample) -> Any:
    with np.errstate(all="ignore"):
        return row.reference(*[_wide(x) for x in sample.arrays], **sample.static)


def _compare(
    row: OpRow, backend: Backend, dtype: str, sample: Sample, expected: Any,
    layout: Callable[[Array], Array],
) -> None:  # fmt: skip
    where = _where(row, backend, dtype, sample)
    laid = [layout(x.copy()) if isinstance(x, np.ndarray) else x for x in sample.arrays]
    tensors = _tensors(laid, backend)
    with np.errstate(all="ignore"), no_grad():
        result = row.call(*tensors, **sample.static)
    op = ALL_OPS.get(row.name)
    written: list[int] = []
    if op is not None and op.mutates:
        written = [i for i, name in enumerate(op.arrays) if name in op.mutates]
        written = [i for i in written if i < len(tensors) and tensors[i] is not None]
        if result != ():
            raise AssertionError(f"{where}: expected an op that writes to return (); got {result}")
        result = tuple(tensors[i] for i in written)
    for i, (before, after) in enumerate(zip(sample.arrays, tensors, strict=True)):
        if isinstance(after, Tensor) and i not in written:
            np.testing.assert_array_equal(after.numpy(), before, f"{where}: input {i} was changed")
    results = result if isinstance(result, tuple) else (result,)
    references = expected if isinstance(expected, tuple) else (expected,)
    if len(results) != len(references):
        raise AssertionError(f"{where}: expected {len(references)} outputs; got {len(results)}")
    for i, (y, reference) in enumerate(zip(results, references, strict=True)):
        _same(f"{where}: output {i}", y, np.asarray(reference), dtype, row)


def _same(where: str, y: Any, expected: Array, dtype: str, row: OpRow) -> None:
    if not isinstance(y, Tensor):
        raise AssertionError(f"{where}: expected a Tensor; got {type(y).__name__}")
    wanted = dtype if expected.dtype.kind == "f" else str(expected.dtype)
    if (y.dtype_name, y.shape) != (wanted, expected.shape):
        raise AssertionError(
            f"{where}: expected {wanted} of shape {expected.shape}; "
            f"got {y.dtype_name} of shape {y.shape}"
        )
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(y.numpy(), expected, where)
        return
    tolerance = row.tolerance[dtype]
    np.testing.assert_allclose(y.numpy(), expected, rtol=tolerance, atol=tolerance, err_msg=where)


def _all_samples(row: OpRow, dtype: str) -> Iterable[Sample]:
    draw = Draw(SEED, dtype)
    yield from row.samples(draw)
    yield from row.value_samples(draw)


def _tensor(x: Any, backend: Backend) -> Any:
    return Tensor(backend.asarray(x), backend) if isinstance(x, np.ndarray) else x


def _tensors(arrays: Iterable[Any], backend: Backend) -> list[Any]:
    return [_tensor(x, backend) for x in arrays]


def _wide(x: Any) -> Any:
    """Floating arrays in float64, so that the reference rounds less than what it checks."""
    return x.astype(np.float64) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x


def _where(row: OpRow, backend: Backend, dtype: str, sample: Sample) -> str:
    return f"{row.name} on {backend.name}, {dtype}, given ({sample})"
