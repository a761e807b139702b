"""Every registered layer and optimizer, a plugin's too."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from flagstone import nn
from flagstone.benchmarking.benchmark import Benchmark, NotHere, Run
from flagstone.named import make
from flagstone.plugins import registry
from flagstone.tape import no_grad
from flagstone.tensors import Tensor

if TYPE_CHECKING:
    from flagstone.backend import Backend

EXAMPLES = 256  # in the large batch of a layer
FAR = 1000.0  # from what the layer that is optimised says: at this rate it does not get there
WIDTHS = {"small": (20, 10), "large": (1000, 1000)}  # of the linear layer that is optimised


def benchmarks() -> Iterator[Benchmark]:
    """Layers forward and backward, optimizers over few and over many parameters."""
    for name in registry.names("layer"):
        for way in ("forward", "backward"):
            yield Benchmark(f"layer/{name}/{way}", _layer(name, way), in_gate=False)
    for name in registry.names("optimizer"):
        for size in WIDTHS:
            yield Benchmark(f"optimizer/{name}/{size}", _optimizer(name, WIDTHS[size]))


def _layer(name: str, way: str) -> Callable[[Backend], Run]:
    def prepare(backend: Backend) -> Run:
        sample = _sample(name)
        layer = sample.layer(backend, "float32")
        inputs = [_many(x, backend) for x in sample.arrays("float32")]

        def forward() -> Any:
            return layer(*inputs)

        def infer() -> Any:
            with no_grad():
                return layer(*inputs)

        out = forward()
        out = out[0] if isinstance(out, tuple) else out
        dy = Tensor(backend.asarray(np.ones(out.shape, "float32")), backend)

        def both() -> None:
            out = forward()
            (out[0] if isinstance(out, tuple) else out).backward(dy)

        return infer if way == "forward" else both

    return prepare


def _sample(name: str) -> Any:
    """The first of the samples that the layer is checked with."""
    try:
        from flagstone.testing import suite_of
    except ImportError as error:  # an old commit
        raise NotHere(f"the samples of layers cannot be imported: {error}") from None
    suite: Any = suite_of(registry.find("layer", name))()
    try:
        return suite.chosen()[0]
    except AssertionError as error:  # nobody says what the layer takes
        raise NotHere(f"layer {name}: {error}") from None


def _many(x: Any, backend: Backend) -> Tensor:
    """A batch of ``EXAMPLES`` like the few in ``x``."""
    batch = np.resize(x, (EXAMPLES, *x.shape[1:]))
    return Tensor(backend.asarray(batch), backend, requires_grad=batch.dtype.kind == "f")


def _optimizer(name: str, widths: tuple[int, int]) -> Callable[[Backend], Run]:
    def prepare(backend: Backend) -> Run:
        layer = nn.Linear(*widths).initialize(0, device=str(backend.device))
        optimizer: Any = make("optimizer", name, layer, 1e-6)
        x = Tensor(backend.asarray(np.ones((4, widths[0]), "float32")), backend)

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss: Tensor = ((layer(x) - FAR) ** 2).mean()
            loss.backward()
            return loss

        closure()
        if "closure" in inspect.signature(optimizer.step).parameters:
            return lambda: optimizer.step(closure)
        run: Run = optimizer.step
        return run

    return prepare
