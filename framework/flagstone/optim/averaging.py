"""The exponential moving average of the parameters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flagstone import ops
from flagstone.optim.checks import require_fraction
from flagstone.optim.optimizer import Optimizer
from flagstone.optim.wrapper import Wrapper
from flagstone.tape import no_grad


class EMA(Wrapper):
    """Another optimizer, and beside it the exponential moving average of what it makes of the
    parameters (Polyak & Juditsky, 1992): after the first step it is the parameters, after every
    other ``decay * average + (1 - decay) * parameters``, as in PyTorch's ``get_ema_avg_fn``.

    Training goes on with the parameters; :meth:`averages` puts the average in their place.
    Buffers, such as the running statistics of batch normalisation, are not averaged.

    Args:
        optimizer: makes the steps.
        decay: how much of the average is kept, in [0, 1).
    """

    leaves_out = True

    def __init__(self, optimizer: Optimizer, *, decay: float = 0.999) -> None:
        super().__init__(optimizer)
        require_fraction("EMA", decay=decay)
        self.decay = decay
        self._average, self._t = self.copy_of_parameters("average"), self.counter("t")

    def after_step(self) -> None:
        average, p = self._average, self.flat.values
        ops.average_update(average, p, self._t, self.factor, decay=self.decay)

    @contextmanager
    def averages(self) -> Iterator[None]:
        """Within, the parameters are the averages; afterwards they are themselves again.

        Example:
            >>> with optimizer.averages():
            ...     predictions = layer(x)
        """
        kept = self.scratch()
        with no_grad():
            ops.assign(kept, self.flat.values)
            self.use_averages()
        try:
            yield
        finally:
            with no_grad():
                ops.assign(self.flat.values, kept)
                self.flat.lower()

    def use_averages(self) -> None:
        """Make the averages the parameters, for good."""
        with no_grad():
            ops.assign(self.flat.values, self._average)
            self.flat.lower()
