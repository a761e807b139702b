"""The scale of the loss in float16, kept and adapted on the device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from flagstone import ops
from flagstone.tensors import Tensor


class LossScale:
    """A factor of the loss that keeps gradients within float16 (Micikevicius et al., ICLR 2018).

    It halves when a gradient overflowed, and that step changes neither parameters nor states, for
    updates find :attr:`factor` NaN. It doubles after ``growth_interval`` steps in a row where none
    did. These are the rules and the numbers of ``torch.amp.GradScaler``, but the host never waits
    for an answer.

    Args:
        scale, steps: tensors of shape (): where scale and count are kept, with their start values.

    Attributes:
        growth_factor, backoff_factor, growth_interval: as in PyTorch.
        factor: of the step that was last begun, what its gradients were multiplied by: NaN if it
            was skipped.
    """

    def __init__(self, scale: Tensor, steps: Tensor) -> None:
        self.scale, self.steps = scale, steps
        self.growth_factor, self.backoff_factor, self.growth_interval = 2.0, 0.5, 2000
        self._is_scaled = False
        self.factor, self._one = (
            Tensor(scale.backend.xp.ones_like(scale.array), scale.backend) for _ in range(2)
        )

    def backward(self, loss: Tensor, by: Tensor | None) -> None:
        """The gradients of ``loss * by``, as much larger as :attr:`scale` says."""
        seed = self.scale.detach() if by is None else self.scale * by
        loss.backward(ops.reshape(seed, loss.shape))
        self._is_scaled = True

    def begin(self, gradients: Tensor, scale: Tensor, clip_value: float | None = None) -> Tensor:
        """Look through the gradients, limit them, and adapt the scale.

        Returns:
            What the gradients are to be multiplied by: 1 / :attr:`scale` where :meth:`backward`
            computed them, else ``scale``; NaN where the step is to be skipped.
        """
        by = (self._one, self.scale) if self._is_scaled else (scale, self._one)
        self._is_scaled = False
        ops.assign(self.factor, ops.gradient_factor(gradients, *by))
        if clip_value is not None:  # by no NaN, which would stay in the gaps between parameters
            ops.limit(gradients, clip_value * by[1] / by[0])
        ops.adapt_loss_scale(
            self.scale, self.steps, self.factor, growth=self.growth_factor,
            backoff=self.backoff_factor, interval=self.growth_interval,
        )  # fmt: skip
        return self.factor

    @contextmanager
    def guarding(self, tensors: Sequence[Tensor]) -> Iterator[None]:
        """Within, ``tensors`` may be changed; afterwards they are as before, if the step that was
        begun is skipped. For updates that do not heed :attr:`factor` themselves."""
        before = [ops.astype(t, t.dtype_name) for t in tensors]
        yield
        for t, old in zip(tensors, before, strict=True):
            ops.undo(t, old, self.factor)
