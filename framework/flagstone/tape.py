"""The tape: which op made which tensor, and reverse-mode differentiation over it.

Every op call that a gradient may have to pass through leaves a :class:`Node`. The node keeps what
the op's pullback names as its parameters and nothing else, so activations that no derivative needs
are freed as soon as the forward pass lets go of them. Differentiation is Linnainmaa's reverse
accumulation (BIT 16, 1976): nodes are visited once each, the last made first, so that every
consumer comes before its producer.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, heappush
from typing import Any, Protocol

from flagstone import tensors
from flagstone.backend import Backend
from flagstone.errors import DeviceMismatchError, DTypeError, GradientError, ShapeError
from flagstone.tensors import LEAF, Kind, Tensor


class Differentiable(Protocol):
    """What the tape needs to know of an op."""

    name: str

    def pull(self, node: Node, gradients: list[Tensor | None]) -> Sequence[Tensor | None]: ...


class Watcher(Protocol):
    """What may follow layers and the tape through a step, besides an observer of op calls."""

    def call(self, layer: Any, inputs: tuple[Any, ...]) -> Any:
        """What ``layer.forward(*inputs)`` gives."""

    def stepping(self, optimizer: Any) -> None:
        """An optimizer is about to take a step."""

    def taped(self, node: Node) -> None:
        """An op call was noted."""

    def pulling(self, node: Node | None) -> None:
        """The gradients of this call come next; ``None`` after the last."""


class _State(threading.local):
    grad_enabled = True
    observer: Callable[..., None] | None = None
    watcher: Watcher | None = None
    pulling = False  # gradients are being computed


state = _State()


next_number = itertools.count().__next__


class Known:
    """What is known of op calls whose arguments are of the same kinds.

    Attributes:
        backend: of all arguments.
        kinds: of the outputs; ``None`` of a call that is not remembered.
        several: whether they come as a tuple.
        table: the backend's table of kernels, as long as :attr:`kernel` is right.
        kernel: what serves such calls.
        pulls: for which gradients are wanted, how often the pullback was asked for them, or what
            :mod:`flagstone.ops.unrolled` has made of it.
    """

    __slots__ = ("backend", "kernel", "kinds", "pulls", "several", "table")

    def __init__(
        self, backend: Backend, kinds: tuple[Kind | None, ...], several: bool, kernel: Any = None
    ) -> None:
        self.backend, self.kinds, self.several = backend, kinds, several
        self.table, self.kernel = backend.table, kernel
        self.pulls: dict[tuple[bool, ...], Any] = {}


class Node:
    """One op call on the tape.

    Attributes:
        op: what was called.
        edges: for each array argument that the op has: a leaf tensor, ``(node, output)``, or
            ``None`` where no gradient is wanted.
        saved: what the pullback asked for; ``None`` once it has been used up.
        static: the call's other arguments.
        known: what is known of such calls.
        wanted: for each array argument, whether its gradient is.
        number: later calls have higher ones.
    """

    __slots__ = ("__weakref__", "edges", "known", "number", "op", "saved", "static", "wanted")

    def __init__(
        self,
        op: Differentiable,
        edges: Sequence[Any],
        saved: tuple[Any, ...] | None,
        static: dict[str, Any],
        known: Known,
    ) -> None:
        self.op = op
        self.edges = edges
        self.saved = saved
        self.static = static
        self.known = known
        self.wanted = tuple([edge is not None for edge in edges])
        self.number = next_number()


class _GradMode(contextlib.ContextDecorator):
    __slots__ = ("_before", "_enabled", "_pulling")

    def __init__(self, enabled: bool, pulling: bool = False) -> None:
        self._enabled, self._pulling = enabled, pulling

    def __enter__(self) -> None:
        self._before = state.grad_enabled, state.pulling
        state.grad_enabled, state.pulling = self._enabled, self._pulling or state.pulling

    def __exit__(self, *_: object) -> None:
        state.grad_enabled, state.pulling = self._before

    def _recreate_cm(self) -> _GradMode:
        return _GradMode(self._enabled, self._pulling)  # a decorated function may call itself


def no_grad() -> _GradMode:
    """A context (or decorator) in which ops leave nothing on the tape."""
    return _GradMode(False)


def enable_grad() -> _GradMode:
    """A context in which ops are taped again, inside a :func:`no_grad`."""
    return _GradMode(True)


@contextlib.contextmanager
def observe(observer: Callable[..., None]) -> Iterator[None]:
    """Call ``observer(op, inputs, static, outputs)`` after every op call of this thread."""
    before = state.observer
    state.observer = observer
    try:
        yield
    finally:
        state.observer = before


def _pull(
    node: Node, gradients: list[Tensor | None], _leaves: Sequence[Any] | None
) -> Sequence[Tensor | None]:
    return node.op.pull(node, gradients)


unroll: Callable[[Node, list[Tensor | None], Sequence[Any] | None], Sequence[Tensor | None]] = _pull
"""What is called where nobody looks on; ``flagstone.ops.unrolled`` sets it to what is quicker."""


def backward(output: Tensor, gradient: Tensor | None = None, *, retain_graph: bool = False) -> None:
    """Add the derivative of ``output`` to ``grad`` of every leaf that requires it.

    Args:
        output: the tensor to differentiate, usually a loss of shape ().
        gradient: the derivative of something with respect to ``output``, of its shape; 1 by
            default, which needs ``output`` to hold one value.
        retain_graph: keep what the pullbacks need, for another call.

    Raises:
        GradientError: nothing below ``output`` requires a gradient, or the tape was used up.
        ShapeError: ``gradient`` is missing or has another shape than ``output``.
    """
    seed = _seed(output, gradient)
    grad_enabled, pulling = state.grad_enabled, state.pulling
    if grad_enabled:
        state.grad_enabled = False
    if not pulling:
        state.pulling = True
    try:
        if output.edge is LEAF:
            output.accumulate_grad(seed)
        else:
            node, index = output.edge
            _propagate(node, index, seed, None, None, retain_graph)
    finally:
        if grad_enabled:
            state.grad_enabled = True
        if not pulling:
            state.pulling = False


def grad(
    output: Tensor,
    inputs: Sequence[Tensor],
    gradient: Tensor | None = None,
    *,
    create_graph: bool = False,
    retain_graph: bool | None = None,
) -> tuple[Tensor | None, ...]:
    """The derivatives of ``output`` with respect to ``inputs``; no ``grad`` is touched.

    Args:
        output: the tensor to differentiate.
        inputs: leaves or intermediate tensors below it.
        gradient: as in :func:`backward`.
        create_graph: tape the derivative itself, so that it can be differentiated again.
        retain_graph: keep the tape of ``output``; by default what ``create_graph`` says.

    Returns:
        One tensor per input, ``None`` where ``output`` does not depend on it.
    """
    seed = _seed(output, gradient)
    found: dict[Any, Tensor | None] = {_key(x): None for x in inputs}
    keep = create_graph if retain_graph is None else retain_graph

    def leaf(x: Tensor, g: Tensor) -> None:
        if id(x) in found:
            before = found[id(x)]
            found[id(x)] = g if before is None else before + g

    with _GradMode(create_graph, pulling=True):
        if output.edge is LEAF:
            leaf(output, seed)
        else:
            node, index = output.edge
            _propagate(node, index, seed, leaf, found, keep)
    return tuple(found[_key(x)] for x in inputs)


def _key(x: Tensor) -> Any:
    return x.edge if type(x.edge) is tuple else id(x)


def _seed(output: Tensor, gradient: Tensor | None) -> Tensor:
    if output.edge is None:
        raise GradientError(
            "backward: nothing that this tensor was computed from has requires_grad=True "
            "(or it was computed under no_grad)"
        )
    if gradient is None:
        if output.array.shape and output.size != 1:
            raise ShapeError(
                f"backward: expected a tensor of one value, or gradient= of shape {output.shape}; "
                f"got shape {output.shape} and no gradient. Sum or average it first"
            )
        seed = Tensor(output.backend.ones_like(output.array), output.backend)
        seed.kind = output.kind
        return seed
    if not isinstance(gradient, Tensor):
        raise DTypeError(
            f"backward: expected gradient as a Tensor of {output.dtype_name}; "
            f"got {type(gradient).__name__}"
        )
    if gradient.backend is not output.backend:
        raise DeviceMismatchError(
            f"backward: expected gradient on {output.device}; got one on {gradient.device}"
        )
    if gradient.array.dtype != output.array.dtype:
        raise DTypeError(
            f"backward: expected gradient of {output.dtype_name}; got {gradient.dtype_name}"
        )
    if gradient.shape != output.shape:
        raise ShapeError(
            f"backward: expected gradient of shape {output.shape}; got {gradient.shape}"
        )
    return gradient


def _propagate(
    root: Node,
    output: int,
    seed: Tensor,
    leaf: Callable[[Tensor, Tensor], None] | None,
    wanted: dict[Any, Tensor | None] | None,
    retain: bool,
) -> None:
    """Visit the nodes below ``root`` that a gradient reaches, each after all of its consumers.

    Args:
        root, output, seed: where to start, with which gradient.
        leaf: given each gradient that reaches a leaf, which by default adds it to its ``grad``.
        wanted: where there is one, filled with the gradients of the outputs that are its keys.
        retain: keep what the pullbacks need.
    """
    watcher = state.watcher
    is_plain = watcher is None and state.observer is None and not state.grad_enabled
    first: list[Tensor | None] = [None] * len(root.known.kinds)
    first[output] = seed
    node, gradients = root, first
    arrived: dict[int, tuple[Node, list[Tensor | None]]] = {}
    waiting: list[int] = []  # a heap: a call's number is above those of all that it is made from
    while True:
        if wanted:
            for i, g in enumerate(gradients):
                if (node, i) in wanted:
                    wanted[node, i] = g
        if watcher is not None:
            watcher.pulling(node)
        if is_plain:
            results = unroll(node, gradients, node.edges if leaf is None else None)
        else:
            results = node.op.pull(node, gradients)
        if not retain:
            node.saved = None
        for edge, g in zip(node.edges, results):  # noqa: B905  # saying so takes as long as a node
            if edge is None or g is None:
                continue
            if type(edge) is not tuple:
                if leaf is None:
                    edge.accumulate_grad(g)
                else:
                    leaf(edge, g)
                continue
            parent, index = edge
            number = parent.number
            sums = arrived.get(number)
            if sums is not None:
                before = sums[1][index]
                sums[1][index] = g if before is None else before + g
                before = None  # for the same reason
                continue
            heappush(waiting, -number)
            if parent.known.several:
                made: list[Tensor | None] = [None] * len(parent.known.kinds)
                made[index] = g
                arrived[number] = parent, made
            else:
                arrived[number] = parent, [g]
        if not waiting:
            break
        results, g = (), None  # so that a pullback may let go of what is used up
        node, gradients = arrived.pop(-heappop(waiting))
    if watcher is not None:
        watcher.pulling(None)


tensors.differentiate = backward
