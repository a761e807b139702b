"""Training by L-BFGS: all the data in every evaluation of the loss, an iteration an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from flagstone import ops
from flagstone.capturing import capture, forgotten
from flagstone.errors import ConfigurationError
from flagstone.nn import Flatten, Layer, Sequential, Standardize, stream_position
from flagstone.optim import LBFGS
from flagstone.schedules import Constant
from flagstone.tape import no_grad
from flagstone.tensors import Tensor
from flagstone.training.callbacks import Metrics
from flagstone.training.interrupt import InterruptFlag
from flagstone.training.linear_problem import LinearProblem
from flagstone.training.trainer import Trainer

BLOCK = (
    2048  # examples that are preprocessed at once: what is between the layers stays in the cache
)


class _StoppedError(Exception):
    """Ctrl-C or SIGTERM came within an iteration, which is as if it had not begun."""


class FullBatchTrainer(Trainer):
    """Trains a layer with :class:`LBFGS`; everything else is as :class:`Trainer` does it.

    An epoch is one iteration, and training ends before the last where a tolerance of the optimizer
    is met. The history tells the loss (penalties included, the optimizer's weight decay not) and
    the measures where each iteration ended, and as ``lr`` the length of its move. The data pass
    through the layers that have nothing to learn, at the beginning, once for all iterations.

    Where one linear layer on a table is all that learns, its standardisation is folded into the
    weights and the table read once an evaluation; see :class:`LinearProblem`. Of at most 512
    features, an inverse Hessian preconditions the optimizer, so that correlated features take no
    more iterations than others: that at the minimum for a sample, where training then begins, if
    the table is large and the objective tells the curvature; else that of a bound (for logistic
    regression: Böhning & Lindsay, "Monotonicity of quadratic-approximation algorithms", 1988).

    Dropout masks are those of the first step throughout, for the loss must stay the same.

    Raises:
        ConfigurationError: what it was given needs mini-batches: a batch size, a part of an epoch,
            a schedule or augmentation; or the optimizer is another.
    """

    optimizer: LBFGS

    def __init__(self, layer: Layer, *arguments: Any, **options: Any) -> None:
        super().__init__(layer, *arguments, **options)
        if not isinstance(self.optimizer, LBFGS):
            got = type(self.optimizer).__name__
            raise ConfigurationError(f"optimizer: expected LBFGS; got {got}")
        constant = type(self.schedule) is Constant
        for name, value, holds, expected in (
            ("batch_size", self.batch_size, self.batch_size is None, "None, for all examples"),
            ("epochs", self.epochs - 1 + self._share, self._share == 1, "a whole number"),
            ("schedule", type(self.schedule).__name__, constant, "'constant'"),
            ("augment", str(self.augment), self.augment is None, "nothing"),
        ):
            if not holds:
                raise ConfigurationError(
                    f"{name}: expected {expected}, with the optimizer lbfgs, which goes by all the "
                    f"data at once; got {value!r}"
                )
        self._is_ready = False
        self._linear: LinearProblem | None = None
        self._prepared: Tensor | None = None  # where it is no linear problem
        self._latest: tuple[Tensor, Tensor] | None = None  # outputs and loss last evaluated
        self._pulled = capture(self._with_gradients, device=self.backend)
        self._converged = False

    def fit(self, *data: Any, **options: Any) -> list[Metrics]:
        """See :meth:`Trainer.fit`."""
        with forgotten(self._pulled):
            return super().fit(*data, **options)

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        arrays, metadata = super().state()
        return arrays, {**metadata, "converged": self._converged}

    def _restore(self, arrays: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
        super()._restore(arrays, metadata)
        self._converged = bool(metadata.get("converged"))
        self.stop = self.stop or self._converged

    def _train_epoch(self, flag: InterruptFlag) -> float:
        self.layer.train()
        if not self._is_ready:
            self._make_ready()
        self._flag = flag
        try:
            done = self.optimizer.iterate(self._closure)
        except _StoppedError:
            self._latest = None
            self._heed(flag)
            raise  # never: that ends the program
        if not done.latest or self._latest is None:
            with no_grad():
                self._latest = self._evaluate()
        out, loss = self._latest
        weight = self._data.weight
        with no_grad():
            self._sums.add("loss", loss * self._data.total_weight)
            for name, values in self.objective.measures(out, self._data.y).items():
                self._sums.add(name, (values if weight is None else values * weight).sum())
        self._latest = None
        self._heed(flag)
        self._converged = done.converged
        self.stop = self.stop or done.converged
        return done.length

    def _make_ready(self) -> None:
        self._is_ready = True
        fixed, learning = _divided(self.layer)
        decay = self.optimizer.weight_decay
        self._linear = LinearProblem.of(
            self.layer, fixed, learning, self.objective, self._data, decay
        )
        if self._linear is None:
            self._prepared = self._prepare()
            return
        if not self.epoch:
            self._linear.start()
        inverse = self._linear.inverse_curvature()
        if inverse is not None:
            on_device = Tensor(self.backend.asarray(inverse.astype(self._dtype)), self.backend)
            self.optimizer.precondition = lambda gradient: self._times(gradient, on_device)

    def _closure(self) -> Tensor:
        if self._flag.raised:
            raise _StoppedError
        if self._linear is None:
            self._latest = self._pulled()
        else:  # it sets the gradients
            self.optimizer.zero_grad()
            out, loss = self._linear.evaluate()
            self._latest = out.detach(), loss.detach()
        return self._latest[1]

    def _with_gradients(self) -> tuple[Tensor, Tensor]:
        """What :meth:`_evaluate` gives, after ``backward``; captured."""
        self.optimizer.zero_grad()
        out, loss = self._evaluate()
        loss.backward()
        return out.detach(), loss.detach()

    def _evaluate(self) -> tuple[Tensor, Tensor]:
        """Outputs for all examples, and the mean loss with its penalty."""
        if self._linear is not None:
            return self._linear.evaluate()
        out = self._prepared
        with stream_position(self._first_step()):
            for layer in _divided(self.layer)[1]:
                out = layer(out)
        assert out is not None  # an epoch prepares first
        losses = self.objective.losses(out, self._data.y)
        if self._data.weight is not None:
            losses = losses * self._data.weight
        loss = losses.sum() * (1.0 / self._data.total_weight)
        penalty = self.objective.penalty(self.layer)
        return out, loss if penalty is None else loss + penalty

    def _prepare(self) -> Tensor:
        """All examples as the first layer that learns sees them."""
        fixed = _divided(self.layer)[0]
        if not fixed:
            return self._data.batch(None)[0]
        whole: Tensor | None = None
        with no_grad():
            for start in range(0, self._data.n, BLOCK):
                rows = slice(start, min(start + BLOCK, self._data.n))
                part, _, _ = self._data.slice(rows.start, rows.stop)
                for layer in fixed:
                    part = layer(part)
                if whole is None:
                    shape = (self._data.n, *part.shape[1:])
                    whole = Tensor(
                        self.backend.xp.empty(shape, dtype=part.array.dtype), self.backend
                    )
                ops.assign(whole[rows], part)
        assert whole is not None  # there is at least one example
        return whole

    def _times(self, gradient: Tensor, inverse: Tensor) -> Tensor:
        """A linear layer's flat gradient, as a matrix whose last column is the bias's, times
        another."""
        flat = self.optimizer.flat
        places = [slice(o, o + p.size) for o, p in zip(flat.offsets, flat.tensors, strict=True)]
        outputs = flat.tensors[1].size
        parts = [ops.reshape(gradient[place], (outputs, -1)) for place in places]
        product = ops.matmul(ops.concatenate(*parts, axis=1), inverse)
        out = self.optimizer.scratch()
        for place, part in zip(places, (product[:, :-1], product[:, -1:]), strict=True):
            ops.assign(out[place], ops.reshape(part, (part.size,)))
        return out

    def _first_step(self) -> Tensor:
        return Tensor(self.backend.asarray(np.zeros(2, np.uint64)), self.backend)


def _divided(layer: Layer) -> tuple[list[Layer], list[Layer]]:
    """The layers that an input passes through, in order: first those that never change."""
    layers = _in_order(layer)
    learns = (i for i, part in enumerate(layers) if not isinstance(part, (Standardize, Flatten)))
    first = next(learns, len(layers))
    return layers[:first], layers[first:]


def _in_order(layer: Layer) -> list[Layer]:
    if type(layer) is not Sequential:
        return [layer]
    return [part for inner in layer for part in _in_order(inner)]
