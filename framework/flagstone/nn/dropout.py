"""Dropout of numbers and channels, and where in the random stream a training step is."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import numpy as np

from flagstone import ops, random
from flagstone.errors import ShapeError
from flagstone.nn.checks import probability
from flagstone.nn.layer import Layer, require_tensor
from flagstone.tensors import Tensor


class _Position(threading.local):
    counter: Tensor | None = None


_position = _Position()


@contextlib.contextmanager
def stream_position(counter: Tensor) -> Iterator[None]:
    """Let the layers called inside draw at ``counter``: uint64 (2,), step and epoch, on the device.

    The trainer sets it for every step. Outside of it a layer counts its own calls.
    """
    before, _position.counter = _position.counter, counter
    try:
        yield
    finally:
        _position.counter = before


class Dropout(Layer):
    """While training, zero each element with probability ``p`` and scale the rest by 1/(1-p).

    The mask depends on the seed, the layer's path, the step and the example's place in the batch,
    and is the same on every backend; see :func:`flagstone.ops.dropout`.

    Args:
        p: the probability of zero, in [0, 1).

    Shapes: (n, ...), the same out.

    Raises:
        InputError: ``p`` is out of range.
    """

    def __init__(self, p: float = 0.5) -> None:
        probability(type(self).__name__, p=p)
        self.p = p
        self._calls = 0
        self._key: tuple[tuple[int, str], tuple[int, int]] | None = None

    def forward(self, x: Tensor) -> Tensor:
        require_tensor(type(self).__name__, x)
        self._check_axes(x)
        if not self.training or not self.p:
            return x
        counter = _position.counter
        if counter is None:
            now = np.array([self._calls, 0], np.uint64)
            counter = Tensor(x.backend.asarray(now), x.backend)
            self._calls += 1
        return self._drop(x, counter)

    def _check_axes(self, x: Tensor) -> None:
        if not x.ndim:
            raise ShapeError("Dropout: x expected at least one axis, of examples; got a scalar")

    def _drop(self, x: Tensor, counter: Tensor) -> Tensor:
        return ops.dropout(x, self.p, counter, self._stream_key())

    def _stream_key(self) -> tuple[int, int]:
        place = (self.seed, self.path)
        if self._key is None or self._key[0] != place:
            low, high = random.key(self.seed, "dropout", self.path)
            self._key = (place, (int(low), int(high)))
        return self._key[1]

    def describe(self) -> str:
        return f"p={self.p}"


class _ChannelDropout(Dropout):
    """:class:`Dropout` of whole channels; the public classes say of how many axes the input is."""

    shape = ""  # of the input, in words

    def _check_axes(self, x: Tensor) -> None:
        axes = self.shape.count(",") + 1
        if x.ndim != axes:
            raise ShapeError(
                f"{type(self).__name__}: x expected {axes} axes {self.shape}; got {x.shape}"
            )

    def _drop(self, x: Tensor, counter: Tensor) -> Tensor:
        return ops.channel_dropout(x, self.p, counter, self._stream_key())


class Dropout1d(_ChannelDropout):
    """While training, zero whole channels of signals (n, length, channels) with probability ``p``.

    See :func:`flagstone.ops.channel_dropout`.

    Args:
        p: the probability of zero, in [0, 1).
    """

    shape = "(n, length, channels)"


class Dropout2d(_ChannelDropout):
    """While training, zero whole channels of images (n, h, w, channels) with probability ``p``.

    See :func:`flagstone.ops.channel_dropout`.

    Args:
        p: the probability of zero, in [0, 1).
    """

    shape = "(n, h, w, channels)"


class Dropout3d(_ChannelDropout):
    """While training, zero whole channels of volumes (n, d, h, w, channels) with probability ``p``.

    See :func:`flagstone.ops.channel_dropout`.

    Args:
        p: the probability of zero, in [0, 1).
    """

    shape = "(n, d, h, w, channels)"
