"""What a loss is checked with: said by its author, or guessed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flagstone.backend import open_backend
from flagstone.testing.comparing import on
from flagstone.testing.op_row import Array, Draw

N, OUTPUTS = 6, 3
Arrays = tuple[Array, ...]


@dataclass(frozen=True)
class LossSample:
    """Arguments of a loss, and its options.

    Attributes:
        draw: makes the arguments, the prediction first: NumPy arrays with n examples each.
        options: of the loss.
        differentiable: which arguments gradients reach.
    """

    draw: Callable[[Draw], Arrays]
    options: Mapping[str, Any] = field(default_factory=dict)
    differentiable: tuple[int, ...] = (0,)

    def arrays(self, dtype: str = "float64", seed: int = 3) -> Arrays:
        """The arguments."""
        return self.draw(Draw(seed, dtype))

    def __str__(self) -> str:
        shown = [f"{a.dtype}{list(a.shape)}" for a in self.arrays()]
        return ", ".join([*shown, *(f"{k}={v!r}" for k, v in self.options.items())])


def _numbers(draw: Draw) -> Arrays:
    return draw(N, OUTPUTS), draw(N, OUTPUTS)


def _flat(draw: Draw) -> Arrays:
    return draw(N), draw(N)


def _classes(draw: Draw) -> Arrays:
    return draw(N, OUTPUTS), draw.below(OUTPUTS, N)


def _signs(draw: Draw) -> Arrays:
    return draw(N, OUTPUTS), _sign(draw, N, OUTPUTS)


def _sign(draw: Draw, *shape: int) -> Array:
    return np.asarray(2 * draw.below(2, *shape) - 1, draw.dtype)


def _probabilities(draw: Draw) -> Arrays:
    return draw(N, OUTPUTS), np.asarray(draw.rng.random((N, OUTPUTS)), draw.dtype)


def _counts(draw: Draw) -> Arrays:
    return draw(N, OUTPUTS), np.asarray(draw.below(5, N, OUTPUTS), draw.dtype)


def _distributions(draw: Draw) -> Arrays:
    x = draw(N, OUTPUTS)
    target = draw.positive(N, OUTPUTS)
    log_sum = np.log(np.exp(x).sum(axis=1, keepdims=True))
    return x - log_sum, target / target.sum(axis=1, keepdims=True)


def _pairs(draw: Draw) -> Arrays:
    return draw(N, OUTPUTS), draw(N, OUTPUTS), _sign(draw, N)


def _triplets(draw: Draw) -> Arrays:
    return draw(N, OUTPUTS), draw(N, OUTPUTS), draw(N, OUTPUTS)


LOSS_SAMPLES: dict[str, Sequence[LossSample]] = {
    "cosine-similarity": [LossSample(_numbers)],
    "poisson-nll": [LossSample(_counts)],
    "binary-cross-entropy": [LossSample(_probabilities)],
    "binary-focal": [LossSample(_probabilities)],
    "hinge": [LossSample(_signs)],
    "squared-hinge": [LossSample(_signs)],
    "cross-entropy": [LossSample(_classes), LossSample(_classes, {"label_smoothing": 0.1})],
    "cosine-embedding": [LossSample(_pairs, {"margin": 0.1}, (0, 1))],
    "triplet-margin": [LossSample(_triplets, {}, (0, 1, 2))],
}
"""What those built-in losses are checked with that do not go by what is guessed."""


def guessed(target: Any) -> list[LossSample]:
    """The samples, of those that are usual, which the loss takes and gives finite values for.

    Raises:
        AssertionError: it takes none.
    """
    backend = open_backend("cpu")
    samples, reasons = [], []
    usual = (_numbers, _flat, _classes, _signs, _pairs, _triplets, _distributions)
    for draw in usual:
        sample = LossSample(draw)
        try:
            with np.errstate(all="ignore"):
                values = target(reduction="none")(*on(backend, sample.arrays())).numpy()
            if not np.isfinite(values).all():
                raise ValueError("its values are not all finite")
        except Exception as error:  # noqa: BLE001 - a stranger's code; others may do
            reasons.append(f"{sample}: {type(error).__name__}: {error}")
        else:
            samples.append(sample)
    if not samples:
        raise AssertionError(
            "expected a loss that is made by target(reduction='none') and takes predictions and "
            "targets; say samples = [LossSample(lambda draw: (draw(6, 3), ...))] in a LossSuite, "
            "and suite='module:name' of it in the LossSpec. " + "; ".join(reasons)
        )
    return samples[:1] if len(samples) < 2 else samples[:2]
