"""Families of kernels, small and large, and the way back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from flagstone import ops
from flagstone.benchmarking.benchmark import Benchmark, NotHere, Run
from flagstone.tape import no_grad
from flagstone.tensors import Tensor

if TYPE_CHECKING:
    from flagstone.backend import Backend

Shapes = tuple[tuple[int, ...], ...]


def _images(n: int, side: int, channels: int) -> tuple[int, ...]:
    return (n, side, side, channels)


def _conv(side: int, n: int, c: int, k: int, out: int, groups: int = 1) -> Shapes:
    return _images(n, side, c), (out, k, k, c // groups)


def _same(x: Any, w: Any) -> Any:
    return ops.conv2d(x, w, padding="same")


def _depthwise(x: Any, w: Any) -> Any:
    return ops.conv2d(x, w, padding="same", groups=x.shape[-1])


Function = Callable[..., Any] | str  # of tensors; a name is an op's, which an old commit may lack

# family: a function, shapes that are small, shapes that are large
FAMILIES: dict[str, tuple[Function, Shapes, Shapes]] = {
    "conv3x3": (_same, _conv(8, 4, 8, 3, 8), _conv(28, 32, 32, 3, 64)),
    "conv1x1": (_same, _conv(8, 4, 8, 1, 8), _conv(28, 32, 64, 1, 64)),
    "conv7x7": (_same, _conv(8, 4, 3, 7, 8), _conv(56, 8, 3, 7, 64)),
    "depthwise3x3": (_depthwise, _conv(8, 4, 8, 3, 8, 8), _conv(28, 32, 64, 3, 64, 64)),
    "matmul": ("matmul", ((16, 16), (16, 16)), ((512, 512), (512, 512))),
    "max-pool": (lambda x: ops.max_pool2d(x, 2), (_images(4, 8, 8),), (_images(32, 28, 64),)),
    "avg-pool": (lambda x: ops.avg_pool2d(x, 2), (_images(4, 8, 8),), (_images(32, 28, 64),)),
    "add": ("add", ((10, 10), (10, 10)), ((1000, 1000), (1000, 1000))),
    "add-bias": ("add", ((10, 10), (10,)), ((1000, 1000), (1000,))),
    "exp": ("exp", ((10, 10),), ((1000, 1000),)),
    "relu": ("relu", ((10, 10),), ((1000, 1000),)),
    "gelu": ("gelu", ((10, 10),), ((1000, 1000),)),
    "sigmoid": ("sigmoid", ((10, 10),), ((1000, 1000),)),
    "softmax": ("softmax", ((10, 10),), ((10000, 100),)),
    "sum": (lambda x: ops.sum(x, axis=0), ((10, 10),), ((1000, 1000),)),
    "transpose": (lambda x: ops.transpose(x, 1, 0) + 0.0, ((10, 10),), ((1000, 1000),)),
}


def benchmarks() -> Iterator[Benchmark]:
    """The families, forward at both sizes and backward."""
    for name, (function, small, large) in FAMILIES.items():
        yield Benchmark(f"kernel/{name}/small", _forward(function, small))
        yield Benchmark(f"kernel/{name}/large", _forward(function, large))
        yield Benchmark(f"kernel/{name}/backward", _backward(function, large))


def _forward(which: Function, shapes: Shapes) -> Callable[[Backend], Run]:
    def prepare(backend: Backend) -> Run:
        function = _found(which)
        inputs = _inputs(backend, shapes)

        def run() -> object:
            with no_grad():
                return function(*inputs)

        return run

    return prepare


def _backward(which: Function, shapes: Shapes) -> Callable[[Backend], Run]:
    def prepare(backend: Backend) -> Run:
        function = _found(which)
        inputs = _inputs(backend, shapes, requires_grad=True)
        dy = Tensor(backend.asarray(np.ones(function(*inputs).shape, "float32")), backend)

        def run() -> None:
            for x in inputs:
                x.grad = None
            function(*inputs).backward(dy)

        return run

    return prepare


def _found(which: Function) -> Callable[..., Any]:
    if not isinstance(which, str):
        return which
    if not hasattr(ops, which):
        raise NotHere(f"there is no op {which} here")
    found: Callable[..., Any] = getattr(ops, which)
    return found


def _inputs(backend: Backend, shapes: Shapes, requires_grad: bool = False) -> list[Tensor]:
    rng = np.random.default_rng(0)
    return [
        Tensor(
            backend.asarray(rng.standard_normal(shape, "float32")),
            backend,
            requires_grad=requires_grad,
        )
        for shape in shapes
    ]
