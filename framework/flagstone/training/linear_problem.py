"""A convex loss of one linear layer on a table: its value, its gradient and its curvature.

Every evaluation goes through the table block by block: each block is multiplied by the weights and
then by the losses' derivatives. Standardised columns are never made: the
weights take the scale in, and the bias the means.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from flagstone import ops
from flagstone.nn import Flatten, Layer, Linear, Standardize
from flagstone.tape import no_grad, state
from flagstone.tensors import Tensor
from flagstone.training.device_data import DeviceData
from flagstone.training.objective import Objective

BLOCK_BYTES = 1 << 26  # of the table at a time, as it lies
COPIED_BYTES = 1 << 22  # where rows are cast or standardised first
LEAST_ROWS = 512
FAR = 1e3  # deviations between a column's mean and 0, from where the bias would lose digits
MOST_FEATURES = 512  # of a table whose second moments are worth taking
LEAST_SAMPLE, PER_FEATURE = 8192, 150  # examples
ROUNDS = 6  # of Newton's method on them
CLOSE = 1e-3  # what another round would save of the loss: far less than the sample's noise
LEAST_SHARE = 1e-4  # of the bound, which an example's curvature is taken for at least


class LinearProblem:
    """The mean loss of ``linear`` behind ``fixed`` on all of ``data``, and its penalty.

    Args:
        layer: the whole layer, for penalties.
        fixed: layers without parameters to learn.
        linear: with a bias, both of which learn.
        objective: says the loss; where it bounds its curvature, that is used.
        data: a table.
        decay: the optimizer's weight decay.
    """

    def __init__(
        self, layer: Layer, fixed: Sequence[Layer], linear: Linear, objective: Objective,
        data: DeviceData, decay: float,
    ) -> None:  # fmt: skip
        self._layer, self._fixed, self._linear = layer, fixed, linear
        self._objective, self._data, self._decay = objective, data, decay
        self.backend = linear.weight.backend
        self._dtype = linear.weight.dtype_name
        scaling = [part for part in fixed if isinstance(part, Standardize)]
        self._scaling = scaling[0] if len(scaling) == 1 and _is_near(scaling[0]) else None
        row = data.x.size // data.n * np.dtype(self._dtype).itemsize
        lies_ready = data.x.dtype_name == self._dtype and (self._scaling or not scaling)
        each = max(LEAST_ROWS, (BLOCK_BYTES if lies_ready else COPIED_BYTES) // row)
        if self.backend.device.kind != "cpu":
            each = data.n
        self._blocks = [slice(i, min(i + each, data.n)) for i in range(0, data.n, each)]
        shape = (data.n, linear.out_features)
        self._views: list[tuple[Tensor, Tensor, Tensor | None]] = []
        if data.x.dtype_name == self._dtype:  # else a block is cast when it is wanted
            self._views = [data.slice(rows.start, rows.stop) for rows in self._blocks]
        self._out = Tensor(
            self.backend.xp.empty(shape, dtype=linear.weight.array.dtype), self.backend
        )

    @classmethod
    def of(
        cls, layer: Layer, fixed: Sequence[Layer], learning: Sequence[Layer], objective: Objective,
        data: DeviceData, decay: float,
    ) -> LinearProblem | None:  # fmt: skip
        """The problem, where what learns is one whole linear layer on a table."""
        if len(learning) != 1 or type(learning[0]) is not Linear or type(data) is not DeviceData:
            return None
        linear = learning[0]
        learns = all(p is not None and p.requires_grad for p in (linear.weight, linear.bias))
        known = all(type(part) is Flatten or isinstance(part, Standardize) for part in fixed)
        if not learns or not known or data.x.shape[1:] != (linear.in_features,):
            return None
        return cls(layer, fixed, linear, objective, data, decay)

    def evaluate(self) -> tuple[Tensor, Tensor]:
        """The outputs, which the next evaluation writes over, and the mean loss with its penalty.

        Where gradients are taped, the parameters' are added to what they hold.
        """
        learns = state.grad_enabled
        weight, bias = self._folded()
        total: Tensor | None = None
        sums: tuple[Tensor, ...] = ()
        for i, rows in enumerate(self._blocks):
            x, y, share = self._views[i] if self._views else self._data.slice(rows.start, rows.stop)
            x = x if self._scaling is not None else self._standard(x)
            out, part, *slopes = self._parts(x, y, share, (weight, bias), learns)
            with no_grad():
                ops.assign(self._out[rows], out)
                total = part if total is None else total + part
                slopes = [a + b for a, b in zip(sums, slopes, strict=True)] if sums else slopes
                sums = tuple(slopes)
        assert total is not None  # there is at least one example
        loss = total * (1.0 / self._data.total_weight)
        penalty = self._objective.penalty(self._layer)
        if learns:
            through = [ops.sum(t * a) for t, a in zip((weight, bias), sums, strict=True)]
            whole = (through[0] + through[1]) * (1.0 / self._data.total_weight)
            (whole if penalty is None else whole + penalty).backward()
        return self._out, loss if penalty is None else loss + penalty.detach()

    def _parts(
        self, x: Tensor, y: Tensor, share: Tensor | None, at: Sequence[Tensor], learns: bool
    ) -> tuple[Tensor, ...]:
        """The outputs of some examples with weights and bias ``at``, and the sum of their losses;
        if it learns, also that sum's gradients by both."""
        with no_grad():
            out = ops.linear(x, *at)
            both = self._objective.total_and_slopes(out, y) if learns and share is None else None
            if both is not None:
                return out, both[0], ops.linear_weight_grad(both[1], x), ops.sum(both[1], axis=0)
            slopes = self._objective.slopes(out, y) if learns else None
        out.requires_grad = learns and slopes is None
        losses = self._objective.losses(out, y)
        total = (losses if share is None else losses * share).sum()
        if out.requires_grad:
            total.backward()
            slopes = out.grad
        elif slopes is not None and share is not None:
            slopes = slopes * ops.reshape(share, (len(x), 1))
        if slopes is None:
            return out, total
        with no_grad():
            sums = ops.linear_weight_grad(slopes, x), ops.sum(slopes, axis=0)
        return out.detach(), total.detach(), *sums

    def start(self) -> None:
        """Move the parameters to the minimum for a sample, where one is worth it.

        So the whole table is only read for the last digits. It is worth it where it is a small
        part of a table and tells the weights well enough, and the objective the curvature.
        """
        found = self._found
        if found is not None:
            assert self._linear.bias is not None
            with no_grad():
                ops.assign(self._linear.weight, self._on_device(found[0][None, :-1]))
                ops.assign(self._linear.bias, self._on_device(found[0][-1:]))

    def inverse_curvature(self) -> Any:
        """A (pseudo-)inverse Hessian, (features + 1, features + 1) in float64, the bias's last:
        that at a sample's minimum, or of a bound of the loss; ``None`` where there is neither."""
        found = self._found
        if found is not None:
            return found[1]
        bound, features = self._objective.curvature, self._linear.in_features
        if bound is None or features > MOST_FEATURES:
            return None
        with no_grad():
            blocks = (self._data.slice(rows.start, rows.stop) for rows in self._blocks)
            moments = self._moments(
                (self._standard(x), None if share is None else ops.sqrt(share))
                for x, _, share in blocks
            )
        return self._inverse(moments * (bound / self._data.total_weight))

    # Samples

    @functools.cached_property
    def _found(self) -> tuple[Any, Any] | None:
        """About the minimum (features + 1,), and the inverse Hessian there, by Newton's method from
        0 on a sample."""
        linear = self._linear
        step = self._data.n // max(LEAST_SAMPLE, PER_FEATURE * linear.in_features)
        with no_grad():
            few = self._data.slice(0, 1)
            out = ops.linear(self._standard(few[0]), linear.weight, linear.bias)
            known = linear.out_features == 1 and self._objective.curvatures(out, few[1]) is not None
        if not known or linear.in_features > MOST_FEATURES or step < 8:
            return None
        at = np.zeros(linear.in_features + 1)
        best, result = np.inf, None
        sample = self._sample(step)
        for _ in range(ROUNDS):
            loss, gradient, hessian = self._newton(sample, at)
            if not np.isfinite(hessian).all() or not loss < best:
                break
            inverse = np.linalg.pinv(hessian, hermitian=True)
            move = inverse @ gradient
            best, at = loss, at - move
            result = at, inverse
            if gradient @ move <= 2 * CLOSE:
                break
        return result

    def _sample(self, every: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Every so manieth example, standardised."""
        data, rows = self._data, slice(0, None, every)
        share = None if data.weight is None else data.weight[rows]
        return self._standard(data.as_input(data.x[rows])), data.y[rows], share

    def _newton(
        self, sample: tuple[Tensor, Tensor, Tensor | None], at: Any
    ) -> tuple[float, Any, Any]:
        """A sample's mean loss with its penalties, its gradient and its Hessian."""
        x, y, share = sample
        place = self._on_device(at[None, :-1]), self._on_device(at[-1:])
        out, total, *slopes = self._parts(x, y, share, place, True)
        gradient = np.concatenate([slopes[0].numpy()[0], slopes[1].numpy()])
        with no_grad():
            curvatures = self._objective.curvatures(out, y)
            assert curvatures is not None  # asked before
            least = LEAST_SHARE * (self._objective.curvature or 0.0)
            roots = ops.maximum(ops.reshape(curvatures, (len(x), 1)), least)
            roots = ops.sqrt(roots if share is None else roots * ops.reshape(share, (len(x), 1)))
            hessian = self._moments([(x, roots)])
        size = float(len(x)) if share is None else float(ops.sum(share).item())
        ridge = self._ridge()
        loss = float(total.item()) / size + 0.5 * float(at @ (ridge * at))
        return loss, gradient / size + ridge * at, hessian / size + np.diag(ridge)

    # The table

    def _folded(self) -> tuple[Tensor, Tensor]:
        """Weights and bias that do to the table's columns what the layers together do."""
        weight, bias = self._linear.weight * 1.0, self._linear.bias
        assert bias is not None
        if self._scaling is None:
            return weight, bias * 1.0
        weight = weight * self._scaling.inverse_scale
        means = ops.reshape(self._scaling.mean, (1, -1))
        return weight, bias - ops.reshape(ops.linear(means, weight), bias.shape)

    def _standard(self, x: Tensor) -> Tensor:
        for part in self._fixed:
            x = part(x)
        return x

    def _moments(self, blocks: Any) -> Any:
        """The sum of root^2 x x' over examples, of x with a 1 added; float64 on the host."""
        sums: list[Tensor] = []
        for x, root in blocks:
            ones = x[:, :1] * 0.0 + 1.0 if root is None else ops.reshape(root, (len(x), 1))
            rows = x if root is None else x * ones
            parts = [
                ops.linear_weight_grad(a, b) for a, b in ((rows, rows), (ones, rows), (ones, ones))
            ]
            sums = parts if not sums else [a + b for a, b in zip(sums, parts, strict=True)]
        inner, cross, corner = (np.asarray(t.numpy(), np.float64) for t in sums)
        return np.block([[inner, cross.T], [cross, corner]])

    def _ridge(self) -> Any:
        """What the penalties add to the Hessian's diagonal."""
        features = self._linear.in_features
        return np.array([self._objective.ridge] * features + [0.0]) + self._decay

    def _inverse(self, hessian: Any) -> Any:
        hessian = hessian + np.diag(self._ridge())
        if not np.isfinite(hessian).all():  # nor will the loss be
            return None
        return np.linalg.pinv(hessian, hermitian=True)

    def _on_device(self, a: Any) -> Tensor:
        return Tensor(self.backend.asarray(np.array(a, self._dtype)), self.backend)


def _is_near(scaling: Standardize) -> bool:
    """Whether no mean is so far from 0 that folding it into the bias costs digits."""
    distance = np.abs(scaling.mean.numpy() * scaling.inverse_scale.numpy())
    return bool(distance.max(initial=0.0) <= FAR)
