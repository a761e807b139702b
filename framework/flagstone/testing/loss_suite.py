"""The checks of a loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from flagstone.backend import Backend
from flagstone.errors import FlagstoneError
from flagstone.tensors import Tensor
from flagstone.testing.comparing import (
    FLOATS,
    given,
    on,
    only_dtype,
    require_close,
    require_same,
)
from flagstone.testing.host_reads import GUARDED, REFERENCE, check_backend, in_step
from flagstone.testing.leaf_gradients import check_leaf_gradients
from flagstone.testing.loss_samples import LOSS_SAMPLES, LossSample, guessed
from flagstone.testing.randomness import SEEDS, global_seed
from flagstone.testing.refusals import accepts_or_refuses, refuses
from flagstone.testing.suite import Suite

TOLERANCE = 1e-10


class LossSuite(Suite):
    """The checks of a loss: ``target(reduction=..., **options)`` called with predictions, targets
    and ``sample_weight``, as :mod:`flagstone.losses` describes.

    Attributes:
        samples: what to call it with; by default those of the usual kinds that it takes.
    """

    kind: ClassVar[str] = "loss"
    samples: Sequence[LossSample] = ()

    def chosen(self) -> Sequence[LossSample]:
        """The samples to check."""
        return self.samples or LOSS_SAMPLES.get(self.name) or guessed(self.target)

    def value(
        self, sample: LossSample, arguments: Sequence[Any], reduction: str, weight: Any = None
    ) -> Any:
        """The loss of these tensors."""
        loss = self.target(reduction=reduction, **sample.options)
        return loss(*arguments) if weight is None else loss(*arguments, sample_weight=weight)

    def _numpy(self, sample: LossSample, reduction: str, weight: Any = None) -> Any:
        arguments = on(self.opened, sample.arrays())
        weights = None if weight is None else on(self.opened, [weight])[0]
        return np.array(self.value(sample, arguments, reduction, weights).numpy())

    def test_gradients(self) -> None:
        """The gradients are those of central differences in float64, also with sample weights."""
        for sample in self.chosen():
            with given(sample):
                arguments = on(self.opened, sample.arrays())
                leaves = {f"argument {i}": arguments[i] for i in sample.differentiable}
                for leaf in leaves.values():
                    leaf.requires_grad = True
                weight = on(self.opened, [_weights(sample)])[0]

                def both(s: LossSample = sample, a: Any = arguments, w: Any = weight) -> Any:
                    return self.value(s, a, "none"), self.value(s, a, "mean", w)

                check_leaf_gradients(both, leaves)

    def test_dtypes(self) -> None:
        """The loss has the dtype of the prediction; nothing is widened."""
        for sample, dtype in ((s, dtype) for s in self.chosen() for dtype in FLOATS):
            with given(sample, dtype), only_dtype(dtype):
                arguments = on(self.opened, sample.arrays(dtype))
                arguments[0].requires_grad = True
                loss = self.value(sample, arguments, "mean")
                if loss.dtype_name != dtype:
                    raise AssertionError(f"expected {dtype}; got {loss.dtype_name}")
                loss.backward()

    def test_reductions(self) -> None:
        """``none`` is one loss per example, ``sum`` their sum, ``mean`` that over their number."""
        for sample in self.chosen():
            with given(sample):
                each = self._numpy(sample, "none")
                n = len(sample.arrays()[0])
                if each.shape != (n,):
                    raise AssertionError(
                        f"reduction 'none': expected one loss per example, shape ({n},); got "
                        f"shape {each.shape}"
                    )
                for reduction, expected in (("sum", each.sum()), ("mean", each.sum() / n)):
                    found = self._numpy(sample, reduction)
                    require_close(found, expected, TOLERANCE, f"reduction {reduction!r}")

    def test_sample_weight(self) -> None:
        """``sample_weight`` multiplies each example's loss in every reduction."""
        for sample in self.chosen():
            with given(sample):
                weight = _weights(sample)
                expected = self._numpy(sample, "none") * weight
                for reduction, value in (
                    ("none", expected), ("sum", expected.sum()), ("mean", expected.mean()),
                ):  # fmt: skip
                    found = self._numpy(sample, reduction, weight)
                    what = f"sample_weight, reduction {reduction!r}"
                    require_close(found, value, TOLERANCE, what)

    def test_independence(self) -> None:
        """An example's loss does not depend on the others in its batch."""
        for sample in self.chosen():
            with given(sample):
                whole = self._numpy(sample, "none")
                for i in range(len(whole)):
                    alone = on(self.opened, [a[i : i + 1] for a in sample.arrays()])
                    found = self.value(sample, alone, "none").numpy()
                    require_close(found, whole[i : i + 1], TOLERANCE, f"example {i} alone")

    def test_purity(self) -> None:
        """The arguments stay as they are, and a second call gives the same."""
        for sample in self.chosen():
            with given(sample):
                arguments = on(self.opened, sample.arrays())
                first = np.array(self.value(sample, arguments, "none").numpy())
                for i, (x, a) in enumerate(zip(arguments, sample.arrays(), strict=True)):
                    require_same(x.numpy(), a, f"argument {i} after a call")
                again = self.value(sample, arguments, "none").numpy()
                require_same(again, first, "a second call")

    def test_determinism(self) -> None:
        """Equal arguments give equal losses; nothing is drawn from global random generators."""
        for sample in self.chosen():
            with given(sample):
                found = []
                for seed in SEEDS:
                    with global_seed(seed):
                        found.append(self._numpy(sample, "none"))
                require_same(found[1], found[0], "the same arguments again")

    def test_parity(self) -> None:
        """float32 and float64, and the device and NumPy without kernels, give the same values."""
        for sample in self.chosen():
            with given(sample), check_backend(REFERENCE) as reference:
                expected = self._on(reference, sample, "float64")
                for backend, dtype, tolerance in (
                    (reference, "float32", 1e-4),
                    (self.opened, "float32", 1e-4),
                    (self.opened, "float64", 1e-9),
                ):
                    found = self._on(backend, sample, dtype)
                    require_close(found, expected, tolerance, f"{dtype} on {backend.device}")

    def _on(self, backend: Backend, sample: LossSample, dtype: str) -> Any:
        return self.value(sample, on(backend, sample.arrays(dtype)), "none").numpy()

    def test_capture_safe(self) -> None:
        """A step reads no value on the host, so that a device can record and replay it."""
        for sample in self.chosen():
            with given(sample), check_backend(GUARDED) as backend:
                arguments = on(backend, sample.arrays("float32"))
                arguments[0].requires_grad = True
                with in_step():
                    self.value(sample, arguments, "mean").backward()

    def test_error_messages(self) -> None:
        """What it cannot take is refused with an error of flagstone's, in one line."""
        reduction = "another"

        def unknown(sample: LossSample) -> Any:
            return self.value(sample, on(self.opened, sample.arrays()), reduction)

        for sample in self.chosen():
            with given(sample):
                refuses("an unknown reduction", lambda s=sample: unknown(s), FlagstoneError)  # type: ignore[misc]  # mypy cannot infer a lambda's default
                for what, action in self._bad_calls(sample):
                    refuses(what, action, FlagstoneError)
                no_examples = on(self.opened, [a[:0] for a in sample.arrays()])
                accepts_or_refuses(
                    "no examples",
                    lambda s=sample, a=no_examples: self.value(s, a, "mean"),  # type: ignore[misc]  # as above
                )

    def _bad_calls(self, sample: LossSample) -> list[tuple[str, Callable[[], Any]]]:
        def calling(arguments: Sequence[Any], weight: Tensor | None = None) -> Callable[[], Any]:
            return lambda: self.value(sample, arguments, "mean", weight)

        x, *rest = sample.arrays()
        good = on(self.opened, [x, *rest])
        short = on(self.opened, [x[:-1], *rest])
        weight = on(self.opened, [_weights(sample)[:-1]])[0]
        return [
            (f"predictions of shape {x[:-1].shape}, one too few", calling(short)),
            ("a NumPy array for the predictions", calling([x, *good[1:]])),
            (f"sample_weight of shape {weight.shape}, one too few", calling(good, weight)),
        ]


def _weights(sample: LossSample) -> Any:
    return np.random.default_rng(11).uniform(0.2, 3.0, len(sample.arrays()[0]))
