"""The base of optimizers: one update over a model's flat parameters."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar, TypedDict

import numpy as np

from flagstone import ops
from flagstone.errors import ConfigurationError, InputError
from flagstone.nn.layer import Layer
from flagstone.optim.checks import positive, require, require_not_negative, require_states
from flagstone.optim.groups import Groups, held, options_of_parameters, spread
from flagstone.optim.loss_scale import LossScale
from flagstone.tape import state as tape_state
from flagstone.tensors import Tensor

_NOTHING = object()


class Common(TypedDict, total=False):
    """The options that :class:`Optimizer` itself takes, for subclasses to pass on."""

    clip_norm: float | None
    clip_value: float | None
    groups: Groups | None
    decay_biases: bool


class Optimizer:
    """Changes a layer's parameters by their gradients.

    A subclass makes its states with :meth:`state` in ``__init__`` and defines :meth:`update`. Its
    ``**common: Unpack[Common]`` stands for the options from ``clip_norm`` on; its signature, as
    help and the command line see it, spells them out.

    Args:
        layer: the outermost layer; it is initialised if it was not.
        lr: the learning rate.
        weight_decay: how much of itself each parameter loses; how it does is the subclass's.
        clip_norm: scale gradients down so that their Euclidean norm over all parameters is at most
            this (Pascanu et al., ICML 2013); ``None`` for no limit.
        clip_value: bring every value of the gradients into [-clip_value, clip_value], before their
            norm is limited; ``None`` for no limit.
        groups: parameters with other rates: pattern of their names -> ``lr_scale``, which
            multiplies ``lr``, ``weight_decay``, and ``epochs``, after which they are held, as in
            ``{"head.*": {"lr_scale": 10.0}, "*.bias": {"weight_decay": 0.0, "epochs": 3}}``. Where
            several patterns match, what the later ones say holds.
        decay_biases: ``False`` for no weight decay of parameters of fewer than two axes: biases,
            and the factors of normalisations.

    Attributes:
        flat: the parameters, whose arrays are views of one.
        options: for each parameter, its ``lr_scale``, ``weight_decay`` and ``epochs``.
        rates: ``lr_scale`` for each value, like the flat parameters; ``None`` if all are 1.
        decays: ``weight_decay`` for each value; ``None`` if all are the attribute of this name.
        settings: how often an attribute was set to something else; a captured step is recorded
            anew when it has changed.
        loss_scale: what keeps gradients within float16, where the precision is ``mixed-fp16``.
        leaves_out: whether :meth:`update` itself changes nothing where ``scale`` is NaN, as it is
            after gradients that overflowed; updates of ``flagstone.ops`` change nothing then. A
            class that defines ``update`` and does not say so has its parameters and states copied
            before each step in ``mixed-fp16``, and put back.

    Raises:
        ConfigurationError: a number is out of range, or the layer is inside another.

    An optimizer made before the layer is initialised again, or becomes part of another layer that
    is trained, is of no use from then on; its :meth:`step` says so.
    """

    __signature__: ClassVar[inspect.Signature]
    leaves_out = False
    settings = 0

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        own = vars(cls)
        if "leaves_out" not in own and ("update" in own or "after_step" in own):
            cls.leaves_out = False  # what bases say of theirs does not hold
        cls.__signature__ = _spelled_out(cls)

    def __init__(
        self,
        layer: Layer,
        lr: float,
        *,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        groups: Groups | None = None,
        decay_biases: bool = True,
        **unknown: Any,
    ) -> None:
        name = type(self).__name__
        if unknown:
            known = list(inspect.signature(type(self)).parameters)[2:]
            raise ConfigurationError(
                f"{name}: there is no option {next(iter(unknown))!r}; known: {', '.join(known)}"
            )
        if not isinstance(layer, Layer):
            raise ConfigurationError(
                f"{name}: layer expected a flagstone.nn.Layer; got {type(layer).__name__}. "
                f"Pass the outermost layer itself, as in {name}(layer, lr=0.01), "
                "not its parameters()"
            )
        require_not_negative(name, lr=lr, weight_decay=weight_decay)
        for option, bound in (("clip_norm", clip_norm), ("clip_value", clip_value)):
            holds = bound is None or positive(bound)
            require(name, option, bound, holds, "a finite number > 0, or None")
        self.flat = layer.own_parameters()
        self.backend = self.flat.values.backend
        self.weight_decay, self.clip_norm, self.clip_value = weight_decay, clip_norm, clip_value
        self.options = options_of_parameters(name, layer, weight_decay, groups, decay_biases)
        self._first_options = self.options
        self._holds_from = min((o.epochs for o in self.options), default=0)
        self.use_options()
        self._trained = [p.requires_grad for p in self.flat.tensors]
        self._all_trained = all(self._trained)
        self.states: dict[str, Tensor] = {}
        self._lr = self._scalar(lr)
        self._one = self._scalar(1.0)
        self.loss_scale: LossScale | None = None
        if self.backend.low == "float16" and self.flat.low is not None:
            scale, steps = self.counter("loss_scale", 2.0**16), self.counter("loss_scale_steps")
            self.loss_scale = LossScale(scale, steps)

    def __setattr__(self, name: str, value: Any) -> None:
        held = self.__dict__
        before = held.get(name, _NOTHING)
        super().__setattr__(name, value)
        after = held.get(name, _NOTHING)  # ``lr`` is a property, whose array captured steps read
        if not _same(after, before):
            held["settings"] = self.settings + 1

    @property
    def lr(self) -> float:
        """The learning rate that :meth:`step` uses; set it to change it."""
        return float(self._lr.item())

    @lr.setter
    def lr(self, value: float) -> None:
        require_not_negative(type(self).__name__, lr=value)
        self._lr.array[...] = self._scalar(value).array  # in place: captured steps read it there

    def state(self, name: str, start: float = 0.0) -> Tensor:
        """A new state array like the parameters, all of one value, kept in checkpoints under
        ``name``."""
        self.states[name] = self.scratch(start)
        return self.states[name]

    def scratch(self, start: float = 0.0) -> Tensor:
        """A new array like the parameters that no checkpoint keeps."""
        like = self.flat.values
        return Tensor(like.backend.xp.full_like(like.array, start), like.backend)

    def counter(self, name: str, start: float = 0.0) -> Tensor:
        """A new state of shape (), kept in checkpoints under ``name``."""
        self.states[name] = self._scalar(start)
        return self.states[name]

    def use_options(self) -> None:
        """Make of :attr:`options` what :meth:`update` reads; called again when they change."""
        scales, decays = ([o[i] for o in self.options] for i in (0, 1))
        self.rates = spread(self.flat, scales) if any(s != 1 for s in scales) else None
        self.decays = None
        if any(d != self.weight_decay for d in decays):
            self.decays = spread(self.flat, decays)

    def start_epoch(self, epoch: int, epochs: float, steps: int) -> None:
        """Before the first step of an epoch: hold the parameters whose ``epochs`` are over. A
        trainer calls it; so does a loop of your own that wants what changes with epochs.

        Args:
            epoch: from 0.
            epochs: of the whole training; one that ends within an epoch tells the share too.
            steps: of each epoch.
        """
        if epoch < self._holds_from and self.options is self._first_options:
            return
        now = [held(o) if o.epochs <= epoch else o for o in self._first_options]
        if now != self.options:
            self.options = now
            self.use_options()

    def finish(self) -> None:
        """After the last step of training, if its parameters are to be kept; a trainer calls it."""

    def __repr__(self) -> str:
        options = list(inspect.signature(type(self)).parameters)[1:]
        shown = [f"{o}={getattr(self, o)!r}" for o in options if o != "lr" and hasattr(self, o)]
        rate = [f"lr={self.lr:g}"] if "lr" in options else []  # kept in the parameters' dtype
        return f"{type(self).__name__}({', '.join(rate + shown)})"

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for p in self.flat.tensors:
            p.grad = None

    def backward(self, loss: Tensor, scale: Tensor | None = None) -> None:
        """``loss.backward()``; with a :attr:`loss_scale` the gradients are as much larger until
        :meth:`step`, and overflow no sooner than those of the scaled loss.

        Args:
            loss: of one value.
            scale: what :meth:`step` will be given.
        """
        if self.loss_scale is None:
            loss.backward()
        else:
            self.loss_scale.backward(loss, scale)

    def step(self, *, lr: Tensor | None = None, scale: Tensor | None = None) -> None:
        """Update the parameters by the gradients that ``backward`` left.

        Args:
            lr: the learning rate for this step, shape (), on the device; :attr:`lr` by default.
            scale: what the gradients are multiplied by first, shape (); 1 by default. The trainer
                passes 1 / batch size, for it sums losses.

        Raises:
            ConfigurationError: the parameters have moved to another array since, or some were
                frozen or unfrozen.
        """
        if tape_state.watcher is not None:
            tape_state.watcher.stepping(self)
        flat, gradients = self.flat, self.flat.gradients
        if flat.replaced or not self._all_trained:
            gradients = None
        for p in flat.tensors:
            if p.grad is None or p.edge is None:
                gradients = None
        before = tape_state.grad_enabled
        if before:
            tape_state.grad_enabled = False
        try:
            if gradients is None:  # it takes a closer look
                gradients = self._gradients()
            scale = self._one if scale is None else scale
            if self.loss_scale is not None:
                scale = self.loss_scale.begin(gradients, scale, self.clip_value)
            elif self.clip_value is not None:
                ops.limit(gradients, self.clip_value / scale)
            if self.clip_norm is not None:
                share = self.clip_norm / (ops.norm(gradients) * scale + 1e-6)
                scale = scale * ops.where(
                    share < 1.0, share, 1.0
                )  # NaN gradients make no NaN of it
            lr = self._lr if lr is None else lr
            if self.loss_scale is None or self.leaves_out:
                self.update(flat.values, gradients, lr, scale)
            else:
                with self._guarded(self.loss_scale):
                    self.update(flat.values, gradients, lr, scale)
            if flat.low is not None:
                flat.lower()
        finally:
            if before:
                tape_state.grad_enabled = True

    def _guarded(self, loss_scale: LossScale) -> AbstractContextManager[None]:
        """What is done within is undone if the gradients of this step overflowed."""
        scales = (loss_scale.scale, loss_scale.steps)
        own = {name: t for name, t in self.states.items() if not name.startswith("base.")}
        states = [t for t in own.values() if not any(t is s for s in scales)]
        return loss_scale.guarding([self.flat.values, *states])

    def update(self, p: Tensor, g: Tensor, lr: Tensor, scale: Tensor) -> None:
        """Change ``p`` in place by the gradient ``g * scale`` at rate ``lr``; see ``leaves_out``
        for a ``scale`` that is NaN."""
        raise NotImplementedError(f"{type(self).__name__} defines no update")

    def is_steady(self, lr: Tensor, scale: Tensor) -> bool:
        """Whether the next step will be given these two tensors too."""
        return lr is self._lr and scale is self._one

    def state_dict(self) -> dict[str, Any]:
        """Name -> NumPy array of every state, as copies."""
        return {name: np.array(t.numpy()) for name, t in self.states.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take states from a :meth:`state_dict`.

        Raises:
            InputError: names or shapes differ, or an array holds no real numbers; nothing is
                changed.
        """
        require_states(type(self).__name__, state)
        if extra := sorted(map(str, state.keys() - self.states.keys())):
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

    def _gradients(self) -> Tensor:
        """The flat gradients, zero where ``backward`` left none."""
        flat = self.flat
        if [p.edge is not None for p in flat.tensors] != self._trained:
            raise ConfigurationError(
                f"{type(self).__name__}: expected the parameters that were trained when it was "
                "made; some were frozen or unfrozen since. Make a new optimizer after freeze(), "
                "whose load_state_dict takes this one's state_dict() to go on with its states, and "
                "capture anew a step of your own that is captured"
            )
        if flat.replaced:
            raise ConfigurationError(
                f"{type(self).__name__}: the layer was initialised again, or is part of another "
                "one since; make a new optimizer"
            )
        if flat.gradients is None:
            self._adopt_gradients()
        gradients = flat.need_gradients()
        flat.zero_untouched()
        return gradients

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


def _same(a: Any, b: Any) -> bool:
    """Whether two values of an attribute are one object, or equal as far as Python can tell."""
    if a is b or type(a) is not type(b):
        return a is b
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return isinstance(a, (bool, int, float, str)) and a == b


def _spelled_out(cls: type[Optimizer]) -> inspect.Signature:
    """The signature of a subclass, with the options of :data:`Common` instead of ``**common``."""
    own = list(inspect.signature(cls.__init__).parameters.values())[1:]
    if own and own[-1].kind is inspect.Parameter.VAR_KEYWORD:
        theirs = inspect.signature(Optimizer.__init__).parameters
        named = {parameter.name for parameter in own}
        own[-1:] = [theirs[name] for name in Common.__annotations__ if name not in named]
    return inspect.Signature(own)
