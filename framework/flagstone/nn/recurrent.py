"""Recurrent layers over (n, time, features), looping over time in ops."""

from __future__ import annotations

from typing import Any, ClassVar

from flagstone import ops
from flagstone.errors import InputError, ShapeError
from flagstone.nn.checks import positive, probability, truth
from flagstone.nn.dropout import Dropout
from flagstone.nn.init import fan_in_uniform
from flagstone.nn.layer import Layer, require_tensor
from flagstone.nn.parameter import Parameter
from flagstone.tensors import Tensor

State = tuple[Tensor, ...]


class Recurrent(Layer):
    """What :class:`RNN`, :class:`LSTM` and :class:`GRU` share: layers, directions, time.

    Parameters have PyTorch's names, shapes and order of gates: ``weight_ih_l0`` (gates * hidden,
    input), ``weight_hh_l0`` (gates * hidden, hidden), ``bias_ih_l0``, ``bias_hh_l0``; a second
    layer's end in ``_l1``, those of the direction from the end in ``_reverse``. They start uniform
    on ±1/sqrt(hidden).

    Args:
        input_size: length of the input's last axis.
        hidden_size: length of the state.
        num_layers: each takes what the one before gives.
        bias: whether there are any.
        dropout: the probability of zero between layers while training.
        bidirectional: whether a second state runs from the end; the outputs are put side by side.

    Shapes: x (n, time, input_size) and the first states, each (num_layers * directions, n,
    hidden_size), zeros if not given -> (n, time, directions * hidden_size) and the last states. As
    in PyTorch with ``batch_first=True``, the states' first axis is not the batch.

    Raises:
        ShapeError: the input or a state has another shape, or there is no time.
        InputError: an argument is out of range, or another number of states is given.
    """

    gates: ClassVar[int]
    states: ClassVar[int] = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        name = type(self).__name__
        positive(name, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        truth(name, bias=bias, bidirectional=bidirectional)
        probability(name, dropout=dropout)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.has_bias, self.bidirectional = bias, bidirectional
        self.suffixes = [
            f"l{layer}{direction}"
            for layer in range(num_layers)
            for direction in (("", "_reverse") if bidirectional else ("",))
        ]
        self.dropout = dropout
        self.between = [Dropout(dropout) for _ in range(num_layers - 1)]  # masks of their own
        init = fan_in_uniform(hidden_size)
        rows = self.gates * hidden_size
        for i, suffix in enumerate(self.suffixes):
            columns = input_size if i < self._directions else self._directions * hidden_size
            setattr(self, f"weight_ih_{suffix}", Parameter((rows, columns), init))
            setattr(self, f"weight_hh_{suffix}", Parameter((rows, hidden_size), init))
            if bias:
                setattr(self, f"bias_ih_{suffix}", Parameter((rows,), init))
                setattr(self, f"bias_hh_{suffix}", Parameter((rows,), init))

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def step(self, given: Tensor, state: State, w: Tensor, b: Tensor | None) -> State:
        """The next state, from the input's share of the gates (n, gates * hidden); the first of
        its tensors (n, hidden) is the output."""
        raise NotImplementedError(f"{type(self).__name__} defines no step")

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        first = self._first_states(x, state)
        last: list[State] = []
        for layer in range(self.num_layers):
            if layer:
                x = self.between[layer - 1](x)
            outputs = []
            for direction in range(self._directions):
                at = layer * self._directions + direction
                y, end = self._through_time(x, at, tuple(s[at] for s in first))
                outputs.append(y)
                last.append(end)
            x = outputs[0] if len(outputs) == 1 else ops.concatenate(*outputs, axis=2)
        ends = tuple(ops.stack(*tensors) for tensors in zip(*last, strict=True))
        return x, (ends[0] if self.states == 1 else ends)

    def _through_time(self, x: Tensor, at: int, state: State) -> tuple[Tensor, State]:
        """The outputs (n, time, hidden) of one layer in one direction, and its last state."""
        suffix = self.suffixes[at]
        w_in, w = getattr(self, f"weight_ih_{suffix}"), getattr(self, f"weight_hh_{suffix}")
        b_in, b = (
            (getattr(self, f"bias_ih_{suffix}"), getattr(self, f"bias_hh_{suffix}"))
            if self.has_bias
            else (None, None)
        )
        shares = ops.unstack(ops.linear(x, w_in, b_in), axis=1)
        backwards = suffix.endswith("_reverse")
        outputs = []
        for share in reversed(shares) if backwards else shares:
            state = self.step(share, state, w, b)
            outputs.append(state[0])
        y: Tensor = ops.stack(*(reversed(outputs) if backwards else outputs), axis=1)
        return y, state

    def _first_states(self, x: Tensor, state: Any) -> list[State]:
        name = type(self).__name__
        require_tensor(name, x)
        if x.ndim != 3 or x.shape[2] != self.input_size or not x.shape[1]:
            raise ShapeError(
                f"{name}: x expected shape (n, time, {self.input_size}) with time >= 1; "
                f"got {x.shape}"
            )
        shape = (len(self.suffixes), x.shape[0], self.hidden_size)
        if state is None:
            zeros = Tensor(x.backend.xp.zeros(shape[1:], dtype=x.dtype), x.backend)
            return [(zeros,) * shape[0]] * self.states
        given = tuple(state) if isinstance(state, (tuple, list)) else (state,)
        if len(given) != self.states or not all(isinstance(s, Tensor) for s in given):
            what = "one tensor" if self.states == 1 else f"a tuple of {self.states} tensors"
            raise InputError(
                f"{name}: state expected {what} of shape {shape}; "
                f"got {', '.join(type(s).__name__ for s in given)}"
            )
        for s in given:
            if s.shape != shape:
                raise ShapeError(f"{name}: state expected shape {shape}; got {s.shape}")
        return [ops.unstack(s) for s in given]

    def describe(self) -> str:
        parts = [f"{self.input_size}, {self.hidden_size}"]
        if self.num_layers > 1:
            parts.append(f"num_layers={self.num_layers}")
        if not self.has_bias:
            parts.append("bias=False")
        if self.dropout:
            parts.append(f"dropout={self.dropout}")
        if self.bidirectional:
            parts.append("bidirectional=True")
        return ", ".join(parts)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.describe()})"  # the dropouts inside are among these


class RNN(Recurrent):
    """``h' = tanh(x @ W_ih.T + b_ih + h @ W_hh.T + b_hh)`` (Elman, Cognitive Science 14, 1990).

    Args:
        input_size, hidden_size, num_layers, bias, dropout, bidirectional: see :class:`Recurrent`,
            also for shapes.
        nonlinearity: ``"tanh"`` or ``"relu"``.
    """

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        **options: Any,
    ) -> None:
        super().__init__(input_size, hidden_size, num_layers, **options)
        if nonlinearity not in ("tanh", "relu"):
            raise InputError(f"RNN: nonlinearity expected 'tanh' or 'relu'; got {nonlinearity!r}")
        self.nonlinearity = nonlinearity

    def step(self, given: Tensor, state: State, w: Tensor, b: Tensor | None) -> State:
        total = given + ops.linear(state[0], w, b)
        return (ops.tanh(total) if self.nonlinearity == "tanh" else ops.relu(total),)


class LSTM(Recurrent):
    """Long short-term memory (Hochreiter & Schmidhuber, Neural Computation 9, 1997; with the
    forget gate of Gers et al., 2000); its state is a tuple (h, c).

    ``c' = sigmoid(f)*c + sigmoid(i)*tanh(g)``, ``h' = sigmoid(o)*tanh(c')``, where the rows of the
    weights give i, f, g and o in this order. See :class:`Recurrent` for arguments and shapes.
    """

    gates = 4
    states = 2

    def step(self, given: Tensor, state: State, w: Tensor, b: Tensor | None) -> State:
        h, c = state
        i, f, g, o = ops.split(given + ops.linear(h, w, b), 4, axis=1)
        c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
        return ops.sigmoid(o) * ops.tanh(c), c


class GRU(Recurrent):
    """Gated recurrent unit (Cho et al., EMNLP 2014), in cuDNN's and PyTorch's form.

    ``r, z = sigmoid(...)``, ``n = tanh(x @ W_in.T + b_in + r * (h @ W_hn.T + b_hn))``,
    ``h' = (1 - z)*n + z*h``, where the rows of the weights give r, z and n in this order. See
    :class:`Recurrent` for arguments and shapes.
    """

    gates = 3

    def step(self, given: Tensor, state: State, w: Tensor, b: Tensor | None) -> State:
        (h,) = state
        r_in, z_in, n_in = ops.split(given, 3, axis=1)
        r_h, z_h, n_h = ops.split(ops.linear(h, w, b), 3, axis=1)
        z = ops.sigmoid(z_in + z_h)
        n = ops.tanh(n_in + ops.sigmoid(r_in + r_h) * n_h)
        return (n + z * (h - n),)
