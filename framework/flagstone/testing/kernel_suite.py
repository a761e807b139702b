"""The checks of a kernel."""

from __future__ import annotations

import dataclasses
import inspect
import time
import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from flagstone.backend import Backend, open_backend
from flagstone.errors import UnavailableError, UnknownNameError
from flagstone.ops import ALL_OPS
from flagstone.plugins import KernelSpec, Spec, registry
from flagstone.tape import no_grad, observe
from flagstone.tensors import Tensor
from flagstone.testing.comparing import on, require_same
from flagstone.testing.op_checks import (
    SEED,
    check_gradients,
    check_layouts,
    check_refusals,
    check_values,
)
from flagstone.testing.op_row import Draw, OpRow, Sample
from flagstone.testing.op_table import OP_TABLE
from flagstone.testing.suite import CheckWarning, Suite, skip

ELEMENTS = 200_000  # of the arrays that are timed, where the op takes longer ones
ROUNDS = 9
SLOWER = 1.15  # than the generic form, so that noise does not warn


class KernelSuite(Suite):
    """The checks of a backend's kernel for one op.

    Attributes:
        name: the op's.
        backend: the name of the backend whose kernel it is.
        device: of that backend; its first kind of device by default.
        row: the op's row, where it is not in ``OP_TABLE``.
        large: makes arguments at which the kernel is timed; by default longer ones of the row's.
    """

    kind: ClassVar[str] = "kernel"
    backend: str = "numpy"
    device: str = ""
    row: OpRow | None = None
    large: Callable[[Draw], Sample] | None = None

    @property
    def opened(self) -> Backend:
        return open_backend(self.device or registry.find("backend", self.backend).devices[0])

    @property
    def spec(self) -> Spec:
        return kernel_spec(self.name, self.opened)

    @property
    def target(self) -> Any:
        return self.opened.kernels[self.name]

    def chosen(self) -> OpRow:
        """The op's row."""
        row = self.row or OP_TABLE.get(self.name)
        if row is None:
            raise AssertionError(
                f"expected a row of the op table, which says what is right; got none: add "
                f"OP_TABLE[{self.name!r}] = OpRow(...), or row = OpRow(...) in a KernelSuite"
            )
        return row

    def test_registered(self) -> None:
        """The backend calls it, and it takes the op's arguments."""
        kernels = self.opened.kernels
        if self.name not in kernels:
            raise AssertionError(
                f"expected a kernel of {self.opened.name}; got none of that name. It has "
                f"{', '.join(sorted(kernels))}"
            )
        op = ALL_OPS.get(self.name)
        if op is None:
            raise AssertionError("expected the name of an op; no op has it")
        try:
            taken = inspect.signature(kernels[self.name])
        except (TypeError, ValueError):  # a compiled function tells nothing of its arguments
            return
        arrays = [np.empty(0)] * (2 if op.variadic else len(op.arrays))
        try:
            taken.bind(*arrays, **dict.fromkeys(op.statics))
        except TypeError as error:
            raise AssertionError(
                f"expected the op's arguments ({', '.join((*op.arrays, *op.statics))}); got "
                f"{taken}: {error}"
            ) from error

    def test_values(self) -> None:
        """Values, shapes and dtypes are those of the op's reference; arguments stay untouched."""
        row = self._only(lambda sample: not _is_empty(sample))
        for dtype in row.dtypes:
            check_values(row, self.opened, dtype)

    def test_empty(self) -> None:
        """Arrays without elements are served too."""
        row = self._only(_is_empty)
        for dtype in row.dtypes:
            check_values(row, self.opened, dtype)

    def test_layouts(self) -> None:
        """Arrays with gaps, in other orders of axes, and stored backwards are served too."""
        for dtype in self.chosen().dtypes:
            check_layouts(self.chosen(), self.opened, dtype)

    def test_gradients(self) -> None:
        """The op's gradients, through this kernel, are those of central differences."""
        check_gradients(self.chosen(), self.opened)

    def test_refusals(self) -> None:
        """What the op refuses is refused before the kernel sees it."""
        check_refusals(self.chosen(), self.opened)

    def test_determinism(self) -> None:
        """Equal arguments give equal bits."""
        row = self.chosen()
        for sample in row.samples(Draw(SEED, row.dtypes[0])):
            one, other = (self._outputs(row, sample) for _ in range(2))
            for x, y in zip(one, other, strict=True):
                require_same(y, x, f"given ({sample}), a second call")

    def test_speed(self) -> None:
        """It is faster than the generic form; a slower one is a warning."""
        op = ALL_OPS[self.name]
        arrays, static = self._timed_call()
        kernel, xp = self.target, self.opened.xp
        if kernel(*arrays, **static) is NotImplemented:
            skip("it declines the arguments that are timed")

        def generic() -> Any:
            return op.generic(xp, *arrays, **static)

        ours, theirs = self._seconds(lambda: kernel(*arrays, **static)), self._seconds(generic)
        for _ in range(ROUNDS):
            ours = min(ours, self._seconds(lambda: kernel(*arrays, **static)))
            theirs = min(theirs, self._seconds(generic))
        if ours > SLOWER * theirs:
            shown = ", ".join(str(tuple(a.shape)) for a in arrays if hasattr(a, "shape"))
            warnings.warn(
                f"{self}, speed: expected to be faster than the generic form; got "
                f"{ours * 1e6:.3g} µs where that takes {theirs * 1e6:.3g} µs, {ours / theirs:.2f} "
                f"times as long (arrays of {shown})",
                CheckWarning,
                stacklevel=2,
            )

    def _seconds(self, action: Callable[[], Any]) -> float:
        started = time.perf_counter()
        action()
        self.opened.synchronize()
        return time.perf_counter() - started

    def _only(self, chosen: Callable[[Sample], bool]) -> OpRow:
        row = self.chosen()

        def of(samples: Callable[[Draw], Any]) -> Callable[[Draw], list[Sample]]:
            return lambda draw: [sample for sample in samples(draw) if chosen(sample)]

        return dataclasses.replace(
            row, samples=of(row.samples), value_samples=of(row.value_samples)
        )

    def _outputs(self, row: OpRow, sample: Sample) -> list[Any]:
        tensors = self._tensors(sample)
        with no_grad(), np.errstate(all="ignore"):
            result = row.call(*tensors, **sample.static)
        results = result if isinstance(result, tuple) else (result,)
        return [np.array(y.numpy()) for y in (*results, *tensors) if isinstance(y, Tensor)]

    def _tensors(self, sample: Sample) -> list[Any]:
        return [on(self.opened, [a])[0] if isinstance(a, np.ndarray) else a for a in sample.arrays]

    def _timed_call(self) -> tuple[list[Any], dict[str, Any]]:
        """Arrays and static arguments that the op passes to the kernel, as long as they may be."""
        row = self.chosen()
        draw = Draw(SEED, "float32")
        if self.large is not None:
            return self._passed(row, self.large(draw))
        samples = [s for s in row.samples(draw) if s.arrays and isinstance(s.arrays[0], np.ndarray)]
        sample = max(samples, key=lambda s: sum(np.size(a) for a in s.arrays))
        for candidate in (_longer(sample), sample):
            try:
                return self._passed(row, candidate)
            except Exception as error:  # noqa: BLE001 - a longer one need not fit together
                reason = error
        raise AssertionError(f"expected arguments to time; {type(reason).__name__}: {reason}")

    def _passed(self, row: OpRow, sample: Sample) -> tuple[list[Any], dict[str, Any]]:
        calls = []

        def look(op: Any, inputs: Any, static: Any, outputs: Any) -> None:
            if op.name == self.name:
                calls.append(([getattr(x, "array", x) for x in inputs], dict(static)))

        with observe(look), no_grad(), np.errstate(all="ignore"):
            row.call(*self._tensors(sample), **sample.static)
        if not calls:
            raise AssertionError(f"expected the row to call the op; given ({sample}) it does not")
        return calls[-1]


def kernel_spec(name: str, backend: Backend) -> KernelSpec:
    """The spec of a plugin's kernel; one that says the backend's name for the backend's own.

    Raises:
        UnknownNameError: the backend has no such kernel.
    """
    if name not in backend.kernels:
        raise UnknownNameError(f"kernel of {backend.name}", name, backend.kernels)
    function = backend.kernels[name]
    for spec in plugin_kernels(backend):
        if spec.name == name:
            return spec
    known = backend.name in registry.names("backend")
    provider = registry.find("backend", backend.name).provider if known else None
    target = f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', '')}"
    return KernelSpec(name, target, provider=provider)


def plugin_kernels(backend: Backend) -> list[KernelSpec]:
    """The kernels that plugins added to an opened backend."""
    found = []
    for spec in registry.kernel_specs(backend):
        try:
            if backend.kernels.get(spec.name) is spec.load():
                found.append(spec)
        except UnavailableError:
            continue  # it was left out for that when the backend was opened
    return found


def _is_empty(sample: Sample) -> bool:
    return any(isinstance(a, np.ndarray) and not a.size for a in sample.arrays)


def _longer(sample: Sample) -> Sample:
    """Along the first axis, where that of all arrays is equally long or one; the rows shuffled, for
    a processor guesses what repeats itself."""
    arrays = [a for a in sample.arrays if isinstance(a, np.ndarray) and a.ndim]
    n = arrays[0].shape[0] if arrays else 1
    times = max(1, ELEMENTS // max(1, max((a.size for a in arrays), default=1)))

    order = np.random.default_rng(SEED).permutation(n * times)

    def grown(a: Any) -> Any:
        if isinstance(a, np.ndarray) and a.ndim and a.shape[0] == n:
            return np.concatenate([a] * times, axis=0)[order]
        return a

    return Sample(*[grown(a) for a in sample.arrays], **sample.static)
