"""Lookahead: slow weights that follow fast ones."""

from __future__ import annotations

import math

import numpy as np

from flagstone import ops
from flagstone.errors import ConfigurationError
from flagstone.named import is_number, make
from flagstone.nn.layer import Layer
from flagstone.optim.checks import require, require_count
from flagstone.optim.optimizer import Optimizer
from flagstone.optim.wrapper import Wrapper
from flagstone.schedules import Schedule
from flagstone.tensors import Tensor


class Lookahead(Wrapper):
    """After every ``k`` steps of another optimizer, slow weights move part of the way to the
    parameters, and these go back to them (Zhang et al., NeurIPS 2019, algorithm 1). The other
    one's states are kept over that. After training the parameters are the slow weights, unless it
    took fewer steps than ``k``.

    Args:
        optimizer: makes the fast steps.
        k: how many of them.
        alpha: what part of the way, in (0, 1].
        schedule: what the rest of the way, ``1 - alpha``, is multiplied by from step to step; for
            training whose length is told by :meth:`start_epoch`, as a trainer does.
        buffers: further values that are averaged in the same way, such as a layer's
            ``flat_buffers.values``: (m,).
    """

    leaves_out = True

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        k: int = 5,
        alpha: float = 0.5,
        schedule: Schedule | None = None,
        buffers: Tensor | None = None,
    ) -> None:
        super().__init__(optimizer)
        require_count("Lookahead", k=k)
        in_range = is_number(alpha) and 0 < alpha <= 1
        require("Lookahead", "alpha", alpha, in_range, "a number in (0, 1]")
        scheduled = schedule is None or isinstance(schedule, Schedule)
        require("Lookahead", "schedule", schedule, scheduled, "a Schedule or None")
        tensor = buffers is None or isinstance(buffers, Tensor)
        require("Lookahead", "buffers", buffers, tensor, "a Tensor or None")
        self.k, self.alpha, self.schedule = k, alpha, schedule
        self._t = self.counter("t")
        self._averaged = [(self.flat.values, self.copy_of_parameters("slow"), self._t)]
        if buffers is not None:
            slow, t = self._copy("slow_buffers", buffers), self.counter("t_buffers")
            self._averaged.append((buffers, slow, t))
        self._moves: Tensor | None = None  # of a schedule, for every step of training
        self._length: tuple[float, int] = (0, 0)

    def start_epoch(self, epoch: int, epochs: float, steps: int) -> None:
        super().start_epoch(epoch, epochs, steps)
        before, self._length = self._length, (epochs, steps)
        if self.schedule is None or self._length == before:
            return
        count = round(epochs * steps)
        moves = np.zeros(count, self.flat.values.dtype_name)
        for step in range(self.k, count + 1, self.k):
            rest = (1 - self.alpha) * self.schedule.factor(step, count, steps)
            require("Lookahead", "schedule", rest, 0 <= rest < 1, "to leave a rest in [0, 1)")
            moves[step - 1] = 1 - rest
        self._moves = Tensor(self.backend.asarray(moves), self.backend)

    def after_step(self) -> None:
        if self.schedule is None:
            for fast, slow, t in self._averaged:
                ops.lookahead_update(fast, slow, t, self.factor, k=self.k, alpha=self.alpha)
            return
        if self._moves is None:
            raise ConfigurationError(
                "Lookahead: schedule expected to be told how long training takes; call "
                "start_epoch(epoch, epochs, steps) before the steps of an epoch"
            )
        place = ops.astype(ops.reshape(self._t, (1,)), dtype="int64")
        move = ops.reshape(ops.take(self._moves, place), ())  # 0 but at every k-th step
        one: Tensor | float = 1.0
        if self.factor is not None:  # 0 where the step was left out: NaN equals nothing
            one = ops.astype(ops.equal(self.factor, self.factor), move.dtype_name)
            move = move * one
        for fast, slow, _ in self._averaged:
            ops.assign(slow, slow + (fast - slow) * move)
            ops.assign(fast, ops.where(ops.greater(move, 0.0), slow, fast))
        ops.assign(self._t, self._t + one)

    def finish(self) -> None:
        super().finish()
        if 0 < math.prod(self._length) < self.k:
            return  # the slow weights are where they started
        for fast, slow, _ in self._averaged:
            ops.assign(fast, slow)
        self.flat.lower()

    def _copy(self, name: str, values: Tensor) -> Tensor:
        """A state that starts as ``values`` are."""
        copy = Tensor(values.backend.xp.full_like(values.array, 0.0), values.backend)
        ops.assign(copy, values)
        self.states[name] = copy
        return copy


def lookahead(
    layer: Layer,
    lr: float = 0.1,
    *,
    base: str = "sgd(momentum=0.9)",
    k: int = 5,
    alpha: float = 0.5,
    schedule: str | None = None,
    buffers: bool = False,
) -> Lookahead:
    """:class:`Lookahead` around the registered optimizer that ``base`` writes, as on the command
    line: ``--optimizer "lookahead(base='adamw(weight_decay=0.1)', k=5)"``.

    Args:
        layer: the outermost layer.
        lr: the learning rate.
        base: a registered optimizer, as text.
        k, alpha: as in :class:`Lookahead`.
        schedule: of the rest, ``1 - alpha``, as text; ``None`` for a constant one.
        buffers: average the running statistics of normalisations as well.
    """
    require("lookahead", "base", base, isinstance(base, str), "a registered optimizer as text")
    worded = schedule is None or isinstance(schedule, str)
    require("lookahead", "schedule", schedule, worded, "a registered schedule as text, or None")
    require("lookahead", "buffers", buffers, isinstance(buffers, bool), "True or False")
    optimizer = make("optimizer", base, layer, lr)
    flat = layer.flat_buffers if buffers else None
    return Lookahead(
        optimizer,
        k=k,
        alpha=alpha,
        schedule=None if schedule is None else make("schedule", schedule),
        buffers=flat.values if flat is not None and flat.tensors else None,
    )
