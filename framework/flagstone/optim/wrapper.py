"""The base of what goes around an optimizer and looks at the parameters after each of its steps."""

from __future__ import annotations

from typing import Any

from flagstone import ops
from flagstone.errors import ConfigurationError
from flagstone.optim.optimizer import Optimizer
from flagstone.tape import no_grad
from flagstone.tape import state as tape_state
from flagstone.tensors import Tensor


class Wrapper(Optimizer):
    """An optimizer that steps as another one does and then does something of its own.

    A subclass makes its states in ``__init__`` and defines :meth:`after_step`. The other one's
    states are kept in checkpoints too, their names after ``base.``.

    Args:
        optimizer: the other one; it may be a wrapper.

    Raises:
        ConfigurationError: it is no optimizer.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise ConfigurationError(
                f"{type(self).__name__}: optimizer expected an optimizer made over a layer, such "
                f"as SGD(layer, 0.1); got {type(optimizer).__name__}"
            )
        self.optimizer = optimizer
        self.flat, self.backend = optimizer.flat, optimizer.backend
        self.loss_scale = optimizer.loss_scale
        self.options, self.rates, self.decays = optimizer.options, optimizer.rates, optimizer.decays
        self.states = {f"base.{name}": t for name, t in optimizer.states.items()}

    @property
    def lr(self) -> float:
        """The other one's learning rate."""
        return self.optimizer.lr

    @lr.setter
    def lr(self, value: float) -> None:
        self.optimizer.lr = value

    def __repr__(self) -> str:
        return super().__repr__().replace("(", f"({self.optimizer!r}, ", 1)

    def step(self, *, lr: Tensor | None = None, scale: Tensor | None = None) -> None:
        """The other one's step, and then :meth:`after_step`."""
        if tape_state.watcher is not None:
            tape_state.watcher.stepping(self)
        self.optimizer.step(lr=lr, scale=scale)
        with no_grad():
            if self.loss_scale is None or self.leaves_out:
                self.after_step()
            else:
                with self._guarded(self.loss_scale):
                    self.after_step()
            self.flat.lower()

    def start_epoch(self, epoch: int, epochs: float, steps: int) -> None:
        inner = self.optimizer
        inner.start_epoch(epoch, epochs, steps)
        self.options, self.rates, self.decays = inner.options, inner.rates, inner.decays

    def finish(self) -> None:
        self.optimizer.finish()

    @property
    def factor(self) -> Tensor | None:
        """What gradients were multiplied by in ``mixed-fp16``, NaN where the step was left out;
        ``None`` in other precisions."""
        return None if self.loss_scale is None else self.loss_scale.factor

    def after_step(self) -> None:
        """What is done after every step, without gradients; ``leaves_out`` says whether it does
        nothing itself where :attr:`factor` is NaN."""
        raise NotImplementedError(f"{type(self).__name__} defines no after_step")

    def copy_of_parameters(self, name: str) -> Tensor:
        """A new state that starts as the parameters are, kept in checkpoints under ``name``."""
        copy = self.state(name)
        ops.assign(copy, self.flat.values)
        return copy

    def state_dict(self) -> dict[str, Any]:
        inner = {f"base.{name}": a for name, a in self.optimizer.state_dict().items()}
        return {**inner, **super().state_dict()}
