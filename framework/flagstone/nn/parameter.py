"""Parameters and buffers: tensors that a layer owns, views into one flat array per model."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from flagstone import ops
from flagstone.backend import Backend, open_backend
from flagstone.errors import GradientError, InputError
from flagstone.nn.checks import lengths
from flagstone.nn.init import Initializer, zeros
from flagstone.ops.elementwise import cast
from flagstone.ops.update import accumulate, assign
from flagstone.tape import Known, Node
from flagstone.tape import state as tape_state
from flagstone.tensors import Kind, Tensor, kind_of

ALIGN = 16  # values: a parameter starts at a multiple, 64 bytes in float32, for vector loads


class _Unset:
    """Stands for the array and the backend of a parameter that has no values yet."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Python asks, not the user
            raise AttributeError(name)
        raise InputError(
            "the parameter has no values yet; call initialize(seed) on the outermost layer, or "
            "make an optimizer for it"
        )


UNSET: Any = _Unset()


class Parameter(Tensor):
    """What training changes. It holds no array until its layer is initialised.

    Args:
        shape: fixed when the layer is made.
        init: how it starts, a function such as :func:`flagstone.nn.init.zeros`.
        channels_last: its first axis is "out" and its last "in" with a kernel between; files hold
            it in PyTorch's order (out, in, *kernel).

    Raises:
        InputError: ``shape`` is no tuple of integers >= 0, or ``init`` no function.
    """

    __slots__ = ("channels_last", "declared", "gradient", "init", "low", "low_edge", "owner")
    trainable = True

    def __init__(
        self, shape: tuple[int, ...], init: Initializer, *, channels_last: bool = False
    ) -> None:
        if not callable(init):
            raise InputError(
                f"{type(self).__name__}: init expected a function such as flagstone.nn.init.zeros; "
                f"got {init!r}"
            )
        super().__init__(UNSET, UNSET, self.trainable)  # bound later
        self.declared = lengths(type(self).__name__, "shape", shape)
        self.init = init
        self.channels_last = channels_last
        self.gradient: Tensor | None = None  # its view into the flat gradients, if there are any
        self.owner: Flat | None = None  # the flat array that it is a view of
        self.low: Tensor | None = None  # in mixed precision, its copy in 16 bits
        self.low_edge: Any = None  # of the copy, where a gradient is wanted

    @property
    def is_set(self) -> bool:
        """Whether it has values."""
        return self.array is not UNSET

    @property
    def shape(self) -> tuple[int, ...]:
        return self.declared

    @property
    def size(self) -> int:
        return math.prod(self.declared)

    def accumulate_grad(self, gradient: Tensor) -> None:
        own = self.gradient
        if own is None:
            super().accumulate_grad(gradient)
        elif self.grad is None:
            if own.kind is gradient.kind is not None and tape_state.observer is None:
                own.backend.table[assign](own.array, gradient.array)  # as the op would
            else:
                assign(own, gradient)
            self.grad = own
        else:
            accumulate(own, gradient)

    def place_for(self, kind: Kind) -> Tensor | None:
        own = self.gradient
        return own if own is not None and self.grad is None and own.kind is kind else None

    def __reduce__(self) -> tuple[Any, ...]:
        value = np.array(self.numpy()) if self.is_set else None
        device = self.backend if self.is_set else None
        made = (type(self), self.declared, self.init, self.channels_last)
        return _restored, (*made, self.requires_grad, value, device)

    def __repr__(self) -> str:
        kind = type(self).__name__
        if not self.is_set:
            return f"{kind}(shape={self.shape}, not initialised)"
        return f"{kind}({super().__repr__()})"


class Buffer(Parameter):
    """What a layer remembers but training does not differentiate, such as running means."""

    __slots__ = ()
    trainable = False

    def __init__(self, shape: tuple[int, ...], init: Initializer = zeros) -> None:
        super().__init__(shape, init)


def _restored(
    cls: type[Parameter],
    shape: Any,
    init: Any,
    channels_last: bool,
    requires_grad: bool,
    value: Any,
    device: Any,
) -> Parameter:
    """A parameter that was copied or pickled, with an array of its own until its layer binds it."""
    p = cls.__new__(cls)
    Parameter.__init__(p, shape, init, channels_last=channels_last)
    p.requires_grad = requires_grad
    if value is not None:
        p.backend = open_backend(device)
        p.array = p.backend.asarray(value)
    return p


class _Lowered:
    """Stands on the tape between a parameter and its copy in 16 bits."""

    name = "lower"

    def pull(self, node: Node, gradients: list[Tensor | None]) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        return (None if gradient is None else ops.astype(gradient, node.edges[0].dtype_name),)


_LOWERED = _Lowered()


class Flat:
    """Tensors as views into one array, each at a multiple of :data:`ALIGN`; the gaps stay zero.

    Attributes:
        tensors: the parameters, in order.
        offsets: where each starts.
        values: the array, as a tensor (size,).
        gradients: an array like it, once :meth:`need_gradients` was called.
        low: in mixed precision, its values in 16 bits, which products are computed from.
        replaced: whether a tensor has moved to another flat array, so that this one is dead.
    """

    def __init__(
        self, tensors: list[Parameter], initial: list[Any], backend: Backend, dtype: str
    ) -> None:
        self.tensors = tensors
        self.offsets = []
        end = 0
        for t in tensors:
            self.offsets.append(end)
            end += -(-t.size // ALIGN) * ALIGN
        host = np.zeros(end, dtype)
        for t, offset, value in zip(tensors, self.offsets, initial, strict=True):
            host[offset : offset + t.size] = value.reshape(-1)
        self.values = Tensor(backend.asarray(host), backend)
        self.gradients: Tensor | None = None
        self.replaced = False
        for t, view in zip(tensors, self._views(self.values), strict=True):
            if t.owner is not None:
                t.owner.replaced = True
            t.array, t.backend, t.owner = view.array, backend, self
            t.gradient = t.low = t.kind = None
        self.low: Tensor | None = None
        if backend.low is not None and dtype == "float32" and any(t.trainable for t in tensors):
            self._make_low(backend, backend.low)

    def _make_low(self, backend: Backend, dtype: str) -> None:
        self.low = cast(self.values, dtype=dtype)
        for t, view in zip(self.tensors, self._views(self.low), strict=True):
            known = Known(backend, (kind_of(view),), several=False)
            view.edge = Node(_LOWERED, [t], (), {}, known), 0
            t.low, t.low_edge = view, view.edge

    def lower(self) -> None:
        """Bring :attr:`low` up to date; whoever has written to the values calls it."""
        if self.low is not None:
            ops.lower(self.low, self.values)

    def need_gradients(self) -> Tensor:
        """The flat gradients; made, and the parameters' views with them, at the first call."""
        if self.gradients is None:
            zeros_like = self.values.backend.xp.zeros_like(self.values.array)
            self.gradients = Tensor(zeros_like, self.values.backend)
            for t, view in zip(self.tensors, self._views(self.gradients), strict=True):
                t.gradient = view
                kind_of(view)
        return self.gradients

    def zero_untouched(self) -> None:
        """Zero the gradients that the last backward passes did not reach."""
        for t in self.tensors:
            if t.grad is None:
                if t.gradient is None:
                    raise GradientError("zero_untouched: call need_gradients() first")
                assign(t.gradient, 0.0)

    def _views(self, flat: Tensor) -> list[Tensor]:
        xp = flat.backend.xp
        return [
            Tensor(xp.reshape(flat.array[o : o + t.size], t.declared), flat.backend)
            for t, o in zip(self.tensors, self.offsets, strict=True)
        ]
