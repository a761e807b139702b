"""L-BFGS: a quasi-Newton solver for the whole data at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from flagstone import ops
from flagstone.errors import ConfigurationError, InputError
from flagstone.nn.layer import Layer
from flagstone.optim.checks import (
    require,
    require_count,
    require_not_negative,
    require_states,
)
from flagstone.optim.line_search import Point, strong_wolfe
from flagstone.optim.optimizer import Optimizer
from flagstone.tape import enable_grad, no_grad
from flagstone.tensors import Tensor

LEAST_CURVATURE = 1e-10  # pairs with less would spoil the estimate; PyTorch's bound, but near a
# minimum, where all pairs have less, relative to the gradient's change


class Iteration(NamedTuple):
    """What one iteration led to.

    Attributes:
        loss: where it ended, weight decay included.
        gradient: there.
        length: of the move, in units of the quasi-Newton step; 0 if there was none.
        evaluations: how often the closure was called.
        converged: whether a tolerance was met, so that another iteration would change little.
        latest: whether the closure's last call was where it ended.
    """

    loss: float
    gradient: Tensor
    length: float
    evaluations: int
    converged: bool
    latest: bool


class LBFGS(Optimizer):
    """Limited-memory BFGS (Nocedal & Wright, Numerical Optimization, algorithms 7.4 and 7.5), as in
    PyTorch, but with the line search by default.

    For a loss without randomness, over all the data: a step evaluates it many times, through a
    closure, and decides on the host by what it sees. So a step cannot be captured, but the closure
    can; :class:`flagstone.training.FullBatchTrainer` trains so, an iteration an epoch.

    Args:
        layer: the outermost layer.
        lr: the first length that a line search tries, in units of the quasi-Newton step; without
            a line search, the length.
        max_iter: iterations in one :meth:`step`.
        max_eval: evaluations in one :meth:`step`, at which it ends; ``max_iter * 5 // 4`` by
            default.
        tolerance_grad: end where no gradient is larger in magnitude.
        tolerance_change: end where neither the loss nor any parameter changes by more.
        history_size: how many past steps the curvature is estimated from.
        line_search_fn: ``"strong_wolfe"``, or ``None`` for steps of length ``lr``.
        weight_decay: adds ``weight_decay / 2 * sum(p**2)`` to the loss, whose gradient is what
            SGD's weight decay adds; PyTorch's has none.
        decay_biases: ``False`` for no weight decay of parameters of fewer than two axes.

    Attributes:
        precondition: a linear function of flat gradients, symmetric and positive, that estimates
            the inverse Hessian where no step has told more; ``None`` for the identity. The nearer
            it is, the fewer iterations there are.

    Example:
        >>> def closure():
        ...     optimizer.zero_grad()
        ...     loss = fs.losses.mse(layer(x), y)
        ...     loss.backward()
        ...     return loss
        >>> optimizer.step(closure)
    """

    def __init__(
        self,
        layer: Layer,
        lr: float = 1.0,
        *,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = "strong_wolfe",
        weight_decay: float = 0.0,
        decay_biases: bool = True,
    ) -> None:
        if max_eval is not None:
            require_count("LBFGS", max_eval=max_eval)
        require_count("LBFGS", max_iter=max_iter, history_size=history_size)
        require_not_negative(
            "LBFGS", tolerance_grad=tolerance_grad, tolerance_change=tolerance_change
        )
        known = line_search_fn in ("strong_wolfe", None)
        require("LBFGS", "line_search_fn", line_search_fn, known, "'strong_wolfe' or None")
        super().__init__(layer, lr, weight_decay=weight_decay, decay_biases=decay_biases)
        if self.flat.low is not None:
            raise ConfigurationError(
                "LBFGS: precision expected 'exact': a line search compares losses, which 16 bits "
                f"are too coarse for; got {self.backend.precision!r}"
            )
        self.max_iter, self.history_size = max_iter, history_size
        self.max_eval = max_iter * 5 // 4 if max_eval is None else max_eval
        self.tolerance_grad, self.tolerance_change = tolerance_grad, tolerance_change
        self.line_search_fn = line_search_fn
        # How the parameters changed, how the gradient did, and 1 / their product: oldest first.
        self._pairs: list[tuple[Tensor, Tensor, float]] = []
        self._last: tuple[Tensor, Tensor] | None = None  # the last iteration's gradient and move
        self.precondition: Callable[[Tensor], Tensor] | None = None
        self._here: tuple[float, Tensor] | None = None  # loss and gradient where iterate() ended

    def step(  # type: ignore[override]  # it returns the loss, as in PyTorch
        self,
        closure: Callable[[], Tensor] | None = None,
        *,
        lr: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> Tensor:
        """Up to ``max_iter`` iterations.

        Args:
            closure: forgets the gradients, computes the loss, calls its ``backward``, returns it.
            lr, scale: not taken; they are a trainer's.

        Returns:
            The loss before the step.

        Raises:
            ConfigurationError: there is no closure, or a rate or scale is given.
            InputError: the first loss is not finite.
        """
        if not callable(closure) or lr is not None or scale is not None:
            raise ConfigurationError(
                "LBFGS: step expected a closure that computes the loss and its gradients, and "
                "nothing else; got none, or a rate or scale, as a trainer's steps give. Call "
                "step(closure) in a loop of your own, or choose another optimizer, such as 'adam'"
            )
        with no_grad():
            first, loss, gradient = self._evaluate(closure)
            if not math.isfinite(loss):
                raise InputError(f"LBFGS: the closure expected to return a finite loss; got {loss}")
            used = 1
            if _largest(gradient) <= self.tolerance_grad:
                return first
            for iteration in range(1, self.max_iter + 1):
                done = self._advance(
                    closure, loss, gradient, self.max_eval - used, iteration < self.max_iter
                )
                loss, gradient, used = done.loss, done.gradient, used + done.evaluations
                if done.converged or used >= self.max_eval:
                    break
            return first

    def iterate(self, closure: Callable[[], Tensor]) -> Iteration:
        """One iteration, which goes on from where the last one ended without evaluating the loss
        there again: for a loss that stays the same from call to call.

        Args:
            closure: as for :meth:`step`.

        Returns:
            What it led to; its loss may be infinite or NaN only if it began so.

        An error from the closure leaves parameters and states as they were before.
        """
        with no_grad():
            start = self.flat.values * 1.0
        states = ([*self._pairs], self._last, self._here)
        try:
            return self._iterate(closure)
        except BaseException:
            with no_grad():
                ops.assign(self.flat.values, start)
            self._pairs, self._last, self._here = states
            raise

    def _iterate(self, closure: Callable[[], Tensor]) -> Iteration:
        with no_grad():
            used = 0
            if self._here is None:
                self._here, used = self._evaluate(closure)[1:], 1
            loss, gradient = self._here
            if not math.isfinite(loss) or _largest(gradient) <= self.tolerance_grad:
                return Iteration(loss, gradient, 0.0, used, math.isfinite(loss), used > 0)
            done = self._advance(closure, loss, gradient, self.max_eval, True)
            self._here = done.loss, done.gradient
            return done._replace(evaluations=done.evaluations + used)

    def _advance(
        self, closure: Callable[[], Tensor], loss: float, gradient: Tensor, most: int, look: bool
    ) -> Iteration:
        """One iteration from a point with this loss and gradient, of at most ``most`` evaluations;
        without a line search, ``look`` says whether to evaluate where it ends."""
        length = self.lr
        if self._last is None:
            direction = self._direction(gradient)
            if self.precondition is None:
                length *= min(1.0, 1.0 / float(ops.sum(ops.abs(gradient)).item()))
        else:
            self._remember(self._last[1], gradient - self._last[0])
            direction = self._direction(gradient)
        slope = _dot(gradient, direction)
        if slope > -self.tolerance_change:
            self._last = (gradient, direction * 0.0)
            return Iteration(loss, gradient, 0.0, 0, True, False)
        before, old, used, latest = loss, gradient, 0, True
        if self.line_search_fn is None:
            ops.accumulate(self.flat.values, direction * length)
            if look:
                _, loss, gradient = self._evaluate(closure)
                used = 1
        else:
            start = Point(0.0, loss, slope, gradient)
            found, used, latest = self._search(closure, start, direction, length, most)
            length, loss, gradient = found.step, found.loss, found.gradient
        move = direction * length
        self._last = (old, move)
        converged = (
            _largest(gradient) <= self.tolerance_grad
            or _largest(move) <= self.tolerance_change
            or abs(loss - before) < self.tolerance_change
        )
        return Iteration(loss, gradient, length, used, converged, latest)

    def _evaluate(self, closure: Callable[[], Tensor]) -> tuple[Tensor, float, Tensor]:
        with enable_grad():
            loss = closure()
        if not isinstance(loss, Tensor) or loss.size != 1:
            got = f"shape {loss.shape}" if isinstance(loss, Tensor) else type(loss).__name__
            raise InputError(f"LBFGS: the closure expected to return a loss of shape (); got {got}")
        value, gradient = float(loss.item()), self._gradients() * 1.0
        if self.weight_decay or self.decays is not None:
            decay = self.weight_decay if self.decays is None else self.decays
            pull = self.flat.values * decay
            value, gradient = value + 0.5 * _dot(self.flat.values, pull), gradient + pull
        return loss.detach(), value, gradient

    def _search(
        self, closure: Callable[[], Tensor], start: Point, direction: Tensor, first: float,
        most: int,
    ) -> tuple[Point, int, bool]:  # fmt: skip
        """Move to the point that the line search finds; also whether it was the last evaluated."""
        origin = self.flat.values * 1.0
        at = 0.0

        def evaluate(step: float) -> Point:
            nonlocal at
            at = step
            ops.assign(self.flat.values, origin + direction * step)
            _, loss, gradient = self._evaluate(closure)
            if not math.isfinite(loss):
                return Point(step, math.inf, math.nan, gradient)
            return Point(step, loss, _dot(gradient, direction), gradient)

        found, used = strong_wolfe(
            evaluate, start, first, tolerance=self.tolerance_change / _largest(direction),
            most=most,
        )  # fmt: skip
        ops.assign(self.flat.values, origin + direction * found.step)
        return found, used, found.step == at

    def _remember(self, move: Tensor, change: Tensor) -> None:
        curvature = _dot(change, move)
        if curvature > LEAST_CURVATURE * min(1.0, _dot(change, change)):
            self._pairs.append((move, change, 1.0 / curvature))
            del self._pairs[: -self.history_size]

    def _direction(self, gradient: Tensor) -> Tensor:
        """Minus the estimated inverse Hessian times the gradient, by the two-loop recursion."""
        q = -gradient
        along = []
        for move, change, inverse in reversed(self._pairs):
            along.append(_dot(move, q) * inverse)
            q = q - change * along[-1]
        q = q if self.precondition is None else self.precondition(q)
        if self._pairs:
            _, change, inverse = self._pairs[-1]
            guess = change if self.precondition is None else self.precondition(change)
            q = q * (1.0 / (inverse * _dot(change, guess)))
        for (move, change, inverse), was in zip(self._pairs, reversed(along), strict=True):
            q = q + move * (was - _dot(change, q) * inverse)
        return q

    def state_dict(self) -> dict[str, Any]:
        """The pairs that curvature is estimated from, (pairs, n) each, and the last iteration's
        gradient and move."""
        n = self.flat.values.size
        state = {}
        empty = np.zeros((0, n), self.flat.values.dtype_name)
        state["moves"] = np.concatenate([empty, *(m.numpy()[None] for m, _, _ in self._pairs)])
        state["changes"] = np.concatenate([empty, *(c.numpy()[None] for _, c, _ in self._pairs)])
        if self._last is not None:
            state["gradient"], state["move"] = (np.array(t.numpy()) for t in self._last)
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        require_states("LBFGS", state)
        n = self.flat.values.size
        shapes = {name: np.shape(a) for name, a in state.items()}
        expected = {"moves": shapes.get("moves", ()), "changes": shapes.get("moves", ())}
        if len(state) > 2:
            expected |= {"gradient": (n,), "move": (n,)}
        pairs = expected["moves"]
        if shapes != expected or len(pairs) != 2 or pairs[1] != n or pairs[0] > self.history_size:
            raise InputError(
                f"load_state_dict: LBFGS expected states moves and changes of shape (pairs, {n}), "
                f"pairs at most {self.history_size}, and gradient and move of shape ({n},) or "
                f"neither; got {', '.join(f'{k} {v}' for k, v in shapes.items()) or 'none'}"
            )
        self._pairs = []
        for rows in zip(state["moves"], state["changes"], strict=True):
            self._remember(*(self._like_parameters(row) for row in rows))
        self._last = self._here = None
        if "move" in state:
            self._last = (
                self._like_parameters(state["gradient"]), self._like_parameters(state["move"]),
            )  # fmt: skip

    def _like_parameters(self, a: Any) -> Tensor:
        return Tensor(self.backend.asarray(np.array(a, self.flat.values.dtype_name)), self.backend)


def _dot(a: Tensor, b: Tensor) -> float:
    return float(ops.sum(a * b).item())


def _largest(x: Tensor) -> float:
    """The largest magnitude, 0 of no values."""
    return float(ops.max(ops.abs(x)).item()) if x.size else 0.0
