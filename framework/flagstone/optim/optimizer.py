"""The base of optimizers: one update over a model's flat parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from flagstone import ops
from flagstone.errors import ConfigurationError, InputError
from flagstone.named import is_number
from flagstone.nn.layer import Layer
from flagstone.tape import no_grad
from flagstone.tensors import Tensor


class Optimizer:
    """Changes a layer's parameters by their gradients.

    A subclass makes its states with :meth:`state` in ``__init__`` and defines :meth:`update`.

    Args:
        layer: the outermost layer; it is initialised if it was not.
        lr: the learning rate.
        clip_norm: scale gradients down so that their Euclidean norm over all parameters is at most
            this (Pascanu et al., ICML 2013); ``None`` for no limit.

    Raises:
        ConfigurationError: a number is out of range, or the layer is inside another.

    An optimizer made before the layer is initialised again, or becomes part of another layer that
    is trained, is of no use from then on; its :meth:`step` says so.
    """

    def __init__(self, layer: Layer, lr: float, *, clip_norm: float | None = None) -> None:
        require(type(self).__name__, "lr", lr, not_negative(lr), "a number >= 0")
        require(
            type(self).__name__, "clip_norm", clip_norm,
            clip_norm is None or (is_number(clip_norm) and clip_norm > 0),
            "a positive number or None",
        )  # fmt: skip
        self.flat = layer.own_parameters()
        self.backend = self.flat.values.backend
        self.clip_norm = clip_norm
        self.states: dict[str, Tensor] = {}
        self._lr = self._scalar(lr)
        self._one = self._scalar(1.0)

    @property
    def lr(self) -> float:
        """The learning rate that :meth:`step` uses; set it to change it."""
        return float(self._lr.item())

    @lr.setter
    def lr(self, value: float) -> None:
        require(type(self).__name__, "lr", value, not_negative(value), "a number >= 0")
        self._lr = self._scalar(value)

    def state(self, name: str) -> Tensor:
        """A new state array like the parameters, zero, kept in checkpoints under ``name``."""
        like = self.flat.values
        self.states[name] = Tensor(like.backend.xp.zeros_like(like.array), like.backend)
        return self.states[name]

    def counter(self, name: str) -> Tensor:
        """A new state of shape (), zero, kept in checkpoints under ``name``."""
        self.states[name] = self._scalar(0.0)
        return self.states[name]

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for p in self.flat.tensors:
            p.grad = None

    def step(self, *, lr: Tensor | None = None, scale: Tensor | None = None) -> None:
        """Update the parameters by the gradients that ``backward`` left.

        Args:
            lr: the learning rate for this step, shape (), on the device; :attr:`lr` by default.
            scale: what the gradients are multiplied by first, shape (); 1 by default. The trainer
                passes 1 / batch size, for it sums losses.

        Raises:
            ConfigurationError: the parameters have moved to another array since.
        """
        if self.flat.replaced:
            raise ConfigurationError(
                f"{type(self).__name__}: the layer was initialised again, or is part of another "
                "one since; make a new optimizer"
            )
        if self.flat.gradients is None:
            self._adopt_gradients()
        gradients = self.flat.need_gradients()
        with no_grad():
            self.flat.zero_untouched()
            scale = self._one if scale is None else scale
            if self.clip_norm is not None:
                size = ops.norm(gradients) * scale
                scale = scale * ops.minimum(self.clip_norm / (size + 1e-6), 1.0)
            self.update(self.flat.values, gradients, self._lr if lr is None else lr, scale)

    def update(self, p: Tensor, g: Tensor, lr: Tensor, scale: Tensor) -> None:
        """Change ``p`` in place by the gradient ``g * scale`` at rate ``lr``."""
        raise NotImplementedError(f"{type(self).__name__} defines no update")

    def state_dict(self) -> dict[str, Any]:
        """Name -> NumPy array of every state, as copies."""
        return {name: np.array(t.numpy()) for name, t in self.states.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take states from a :meth:`state_dict`.

        Raises:
            InputError: names or shapes differ; nothing is changed.
        """
        if extra := sorted(state.keys() - self.states.keys()):
            raise InputError(
                f"load_state_dict: {type(self).__name__} expected states "
                f"{', '.join(self.states) or 'none'}; got also {', '.join(extra)}"
            )
        for name, t in self.states.items():
            if name not in state or np.shape(state[name]) != t.shape:
                raise InputError(
                    f"load_state_dict: {type(self).__name__} expected state {name!r} of shape "
                    f"{t.shape}; got {np.shape(state[name]) if name in state else 'none'}"
                )
        for name, t in self.states.items():
            t.array[...] = self.backend.asarray(np.asarray(state[name], t.numpy().dtype))

    def _adopt_gradients(self) -> None:
        """Move gradients that came before the flat array existed into it."""
        early = [(p, p.grad) for p in self.flat.tensors]
        self.flat.need_gradients()
        for p, gradient in early:
            if gradient is not None:
                p.grad = None
                p.accumulate_grad(gradient)

    def _scalar(self, value: float) -> Tensor:
        dtype = self.flat.values.dtype_name
        return Tensor(self.backend.asarray(np.asarray(value, dtype)), self.backend)


def not_negative(value: Any) -> bool:
    """Whether an option is a number >= 0."""
    return is_number(value) and bool(value >= 0)


def require(owner: str, name: str, value: object, holds: bool, expected: str) -> None:
    """Raise unless ``holds``: ``owner``'s option ``name`` is not what is expected."""
    if not holds:
        raise ConfigurationError(f"{owner}: {name} expected {expected}; got {value!r}")
