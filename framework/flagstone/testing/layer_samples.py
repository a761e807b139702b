"""What a layer is checked with: said by its author, or guessed from what it is made with."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from flagstone.backend import Backend, open_backend
from flagstone.errors import FlagstoneError
from flagstone.nn import Layer
from flagstone.tape import no_grad
from flagstone.tensors import Tensor

SIZE = 4
GUESSES = ((5, SIZE), (5, 6, SIZE), (3, 8, 8, SIZE), (2, 6, 6, 6, SIZE))


@dataclass(frozen=True, init=False)
class LayerSample:
    """A layer and what to call it with.

    Args:
        make: makes the layer, without values.
        shapes: of its inputs, the first axis of examples.
        output: the shape of its first output, where it is to be checked.
        below: the inputs are integers in [0, below); 0 for normal numbers.
    """

    make: Callable[[], Layer]
    shapes: tuple[tuple[int, ...], ...]
    output: tuple[int, ...] | None
    below: int

    def __init__(
        self,
        make: Callable[[], Layer],
        *shapes: tuple[int, ...],
        output: tuple[int, ...] | None = None,
        below: int = 0,
    ) -> None:
        for name, value in (("make", make), ("shapes", shapes), ("output", output)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "below", below)

    def __str__(self) -> str:
        return ", ".join(map(str, self.shapes))

    def layer(self, backend: Backend, dtype: str = "float64", seed: int = 0) -> Layer:
        """A new layer with values."""
        layer = self.make()
        if not isinstance(layer, Layer):
            raise AssertionError(
                f"expected make() to give a flagstone.nn.Layer; got {type(layer).__name__}"
            )
        return layer.initialize(seed, device=str(backend.device), dtype=dtype)

    def arrays(self, dtype: str = "float64", seed: int = 0) -> list[Any]:
        """NumPy inputs."""
        rng = np.random.default_rng(seed)
        if self.below:
            return [rng.integers(0, self.below, shape) for shape in self.shapes]
        return [rng.standard_normal(shape).astype(dtype) for shape in self.shapes]

    def tensors(self, backend: Backend, dtype: str = "float64", seed: int = 0) -> list[Tensor]:
        """The same on a device, with gradients where numbers are floating."""
        return [
            Tensor(backend.asarray(a), backend, requires_grad=a.dtype.kind == "f")
            for a in self.arrays(dtype, seed)
        ]


def guessed(target: Any) -> list[LayerSample]:
    """Samples for a layer whose arguments without a default are sizes, at shapes that it takes.

    Raises:
        AssertionError: it cannot be made so, or takes none of the shapes.
    """
    hint = (
        "say samples = [LayerSample(lambda: ..., (n, ...))] in a LayerSuite, and "
        "suite='module:name' of it in the LayerSpec"
    )
    required = [
        p
        for p in inspect.signature(target).parameters.values()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]

    def make() -> Layer:
        made: Layer = target(**{p.name: SIZE for p in required})
        return made

    try:
        make()
    except Exception as error:  # a stranger's code; whatever it is, the sizes do not do
        raise AssertionError(
            f"expected a layer that is made with sizes ({', '.join(p.name for p in required)}); "
            f"got {type(error).__name__}: {error}; {hint}"
        ) from error
    samples, reasons = [], []
    for sample in _tried(make):
        try:
            _call(sample)
        except Exception as error:  # noqa: BLE001 - a stranger's code; another shape may do
            reasons.append((sample, error))
        else:
            samples.append(sample)
    if not samples:
        told = "; ".join(f"{s}: {type(error).__name__}: {error}" for s, error in reasons)
        raise AssertionError(f"expected one of the shapes {GUESSES} to do; {hint}. {told}")
    return samples


def raw_refusals(target: Any) -> Iterator[tuple[LayerSample, Exception]]:
    """The guessed shapes that a layer refuses with an error that is not flagstone's."""
    names = [
        p.name
        for p in inspect.signature(target).parameters.values()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    for sample in _tried(lambda: target(**dict.fromkeys(names, SIZE))):
        try:
            _call(sample)
        except FlagstoneError:
            continue
        except Exception as error:  # noqa: BLE001 - what is looked for
            yield sample, error


def _tried(make: Callable[[], Layer]) -> list[LayerSample]:
    return [LayerSample(make, shape) for shape in GUESSES]


def _call(sample: LayerSample) -> None:
    backend = open_backend("cpu")
    with no_grad():
        sample.layer(backend, "float32").eval()(*sample.tensors(backend, "float32"))
