"""Derivatives against central differences."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flagstone import ops
from flagstone.backend import Backend, open_backend
from flagstone.devices import Device
from flagstone.errors import InputError
from flagstone.tape import enable_grad, grad, no_grad
from flagstone.tensors import Tensor
from flagstone.testing.wrong_ops import blame

STEP = 1e-5
"""Of the differences, in units of the direction: rounding and truncation both stay near 1e-10."""

Function = Callable[..., Any]


class _KinkError(AssertionError):
    """The derivative differs where there is none."""


def gradcheck(
    function: Function,
    inputs: Sequence[Any],
    *,
    names: Sequence[str] = (),
    order: int = 1,
    directions: int = 3,
    rtol: float = 1e-6,
    atol: float = 1e-8,
    seed: int = 0,
    device: str | Device | Backend | None = None,
) -> None:
    """Compare the gradients that the tape gives with central differences, in float64.

    The outputs are weighted with random numbers and summed; the derivative of that sum along
    random directions, one input at a time, must equal (s(x + h u) - s(x - h u)) / (2 h). A wrong
    entry anywhere changes the derivative along almost every direction.

    Args:
        function: takes a tensor for every array in ``inputs`` and returns a tensor or a tuple of
            them; only floating outputs count. It must give the same result when called again.
        inputs: float64 arrays, which are differentiated, and anything else, which is not: arrays of
            integers or truth values become tensors too, numbers and ``None`` are passed as they
            are.
        names: what to call the inputs in a message; "input 0", "input 1", ... by default.
        order: 2 checks the gradient's own gradient too, also with respect to the outputs'
            gradients.
        directions: how many per input.
        rtol, atol: allowed is ``atol + rtol * max(|analytic|, |numeric|)``.
        seed: of weights and directions.
        device: where to compute; the default device if not given.

    Raises:
        AssertionError: a derivative differs, or a gradient has another shape or dtype than its
            input. The message names the input, gives both values, and names the op whose pullback
            is wrong by itself, if there is one; or it says that the function has a kink there.
        InputError: ``inputs`` is no sequence, an input is of another floating dtype than float64,
            or none is float64.

    Example:
        >>> gradcheck(lambda x, w: ops.relu(x @ w), [np.ones((2, 3)), np.ones((3, 4))])
    """
    if not callable(function):
        raise InputError(f"gradcheck: function expected a callable; got {function!r}")
    if not isinstance(inputs, list | tuple):
        raise InputError(
            "gradcheck: inputs expected a list of arrays, one for each argument, as in [x]; got "
            f"{type(inputs).__name__}"
        )
    backend = open_backend(device)
    given = [np.asarray(x) if isinstance(x, np.generic) else x for x in inputs]
    called = [names[i] if i < len(names) else f"input {i}" for i in range(len(given))]
    for name, x in zip(called, given, strict=True):
        if isinstance(x, np.ndarray) and x.dtype.kind == "f" and x.dtype != np.float64:
            raise InputError(f"gradcheck: {name} expected float64; got {x.dtype}")
    if not any(_counts(x) for x in given):
        raise InputError("gradcheck: expected at least one float64 array to differentiate")
    rng = np.random.default_rng(seed)
    try:
        _check(function, given, called, "gradient", directions, rtol, atol, rng, backend)
    except AssertionError as error:
        if isinstance(error, _KinkError):
            raise
        raise AssertionError(f"{error}{wrong_op(function, given, backend)}") from None
    if order > 1:
        weights = [rng.standard_normal(y.shape) for y in _outputs(_call(function, given, backend))]
        of_outputs = [f"the gradient of output {i}" for i in range(len(weights))]
        gradient = _gradient_of(function, len(given), [_counts(x) for x in given])
        _check(
            gradient, [*given, *weights], [*called, *of_outputs], "gradient of the gradient",
            directions, rtol, atol, rng, backend,
        )  # fmt: skip


def wrong_op(function: Function, given: Sequence[Any], backend: Backend) -> str:
    """What to add to a message that the gradients of ``function(*given)`` are wrong: the op that
    is to blame."""

    def check(op: Function, inputs: Sequence[Any], names: Sequence[str]) -> None:
        called = [names[i] if i < len(names) else f"input {i}" for i in range(len(inputs))]
        rng = np.random.default_rng(0)
        with contextlib.suppress(_KinkError):  # no pullback is right there
            _check(op, list(inputs), called, "gradient", 2, 1e-4, 1e-6, rng, backend)

    def run() -> None:
        function(*[_tensor(x, backend, requires_grad=_counts(x)) for x in given])

    return blame(run, check)


def _check(
    function: Function, given: list[Any], called: list[str], what: str, directions: int,
    rtol: float, atol: float, rng: np.random.Generator, backend: Backend,
) -> None:  # fmt: skip
    taped = [_tensor(x, backend, requires_grad=_counts(x)) for x in given]
    with enable_grad():
        ys = _outputs(function(*taped))
        weights = [rng.standard_normal(y.shape) for y in ys]
        total = _weighted(ys, weights, backend)
    wanted = [t for t, x in zip(taped, given, strict=True) if _counts(x)]
    found: Sequence[Any] = [None] * len(wanted)
    if total is not None and total.requires_grad:
        found = grad(total, wanted)
    gradients = iter(found)
    for i, (name, x) in enumerate(zip(called, given, strict=True)):
        if not _counts(x):
            continue
        g = next(gradients)
        if g is not None and (g.shape != x.shape or g.dtype_name != "float64"):
            raise AssertionError(
                f"{what} with respect to {name}: expected float64 of shape {x.shape}; "
                f"got {g.dtype_name} of shape {g.shape}"
            )
        analytic_gradient = np.zeros(x.shape) if g is None else g.numpy()
        for number in range(directions):
            u = rng.standard_normal(x.shape)

            def along(h: float, i: int = i, x: Any = x, u: Any = u) -> float:
                moved = [*given[:i], np.asarray(x + h * u), *given[i + 1 :]]
                return _sum(_outputs(_call(function, moved, backend)), weights)

            numeric = (along(STEP) - along(-STEP)) / (2 * STEP)
            analytic = float(np.sum(analytic_gradient * u))
            allowed = atol + rtol * max(abs(analytic), abs(numeric))
            if not abs(analytic - numeric) <= allowed:
                message = (
                    f"{what} with respect to {name} (shape {x.shape}), direction {number}: the "
                    f"tape gives {analytic:.10g}, central differences give {numeric:.10g}; "
                    f"they differ by {abs(analytic - numeric):.3g}, allowed is {allowed:.3g}"
                )
                if _is_kink(along, abs(analytic - numeric)):
                    raise _KinkError(
                        f"{message}; the function has a kink or a jump there, as relu has at 0, "
                        "and no derivative: check it at other inputs"
                    )
                raise AssertionError(message)


def _is_kink(along: Callable[[float], float], error: float) -> bool:
    """Whether slopes on the two sides of 0 differ by as much as ``error``, and also close to it; of
    a smooth function they do by the distance times its curvature."""
    wide, close = (abs(along(h) - 2 * along(0.0) + along(-h)) / h for h in (STEP, STEP / 10))
    return error <= wide < 2 * close


def _gradient_of(function: Function, n: int, differentiated: list[bool]) -> Function:
    """The function (inputs, gradients of the outputs) -> gradients of the inputs."""

    def gradient(*arguments: Any) -> tuple[Tensor, ...]:
        inputs, weights = list(arguments[:n]), arguments[n:]
        with enable_grad():
            for i, counts in enumerate(differentiated):
                if counts and not inputs[i].requires_grad:
                    inputs[i] = Tensor(inputs[i].array, inputs[i].backend, requires_grad=True)
            wanted = [x for x, counts in zip(inputs, differentiated, strict=True) if counts]
            total = None
            for y, weight in zip(_outputs(function(*inputs)), weights, strict=True):
                if y.requires_grad:
                    term = ops.sum(y * weight)
                    total = term if total is None else total + term
            found: Sequence[Any] = [None] * len(wanted)
            if total is not None:
                found = grad(total, wanted, create_graph=True)
            return tuple(
                x.detach() * 0.0 if g is None else g for x, g in zip(wanted, found, strict=True)
            )

    return gradient


def _counts(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.dtype == np.float64


def _tensor(x: Any, backend: Backend, requires_grad: bool = False) -> Any:
    if not isinstance(x, np.ndarray):
        return x
    return Tensor(backend.asarray(x), backend, requires_grad)


def _call(function: Function, given: list[Any], backend: Backend) -> Any:
    with no_grad():
        return function(*[_tensor(x, backend) for x in given])


def _outputs(result: Any) -> list[Tensor]:
    """The floating ones among the outputs."""
    all_of_them = result if isinstance(result, tuple) else (result,)
    return [y for y in all_of_them if "float" in y.dtype_name]


def _weighted(ys: list[Tensor], weights: list[Any], backend: Backend) -> Tensor | None:
    total = None
    for y, weight in zip(ys, weights, strict=True):
        if y.requires_grad:
            term = ops.sum(y * _tensor(np.asarray(weight), backend))
            total = term if total is None else total + term
    return total


def _sum(ys: list[Tensor], weights: list[Any]) -> float:
    return sum(float(np.sum(y.numpy() * w)) for y, w in zip(ys, weights, strict=True))
