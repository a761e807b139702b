"""The base of every layer: parameters found by name, initialised together, saved together."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from flagstone import random
from flagstone.backend import Backend, open_backend
from flagstone.devices import Device
from flagstone.errors import InputError, ShapeError
from flagstone.nn.parameter import Buffer, Flat, Parameter
from flagstone.tensors import Tensor


class Layer:
    """Named parameters, and a ``forward`` made of ops.

    A subclass sets parameters, buffers and other layers (or lists of layers) as attributes and
    defines ``forward``. They are found by attribute name, in order of assignment.

    Parameters get their values when the outermost layer is initialised: by :meth:`initialize`, or
    at its first call, with seed 0, on the device and with the dtype of its input. What a parameter
    starts with depends on the seed and on its path from the outermost layer only, so it is the same
    on every backend.

    Attributes:
        training: whether dropout drops and batch normalisation uses the batch; see :meth:`train`.
        seed: what it was initialised with.
        path: its name within the outermost layer, such as ``"block.0"``; set with the values.
        flat: on the outermost layer, the one array that all its parameters are views of.
        flat_buffers: the same for its buffers.

    Example:
        >>> class Twice(Layer):
        ...     def __init__(self, features):
        ...         self.inner = Linear(features, features)
        ...     def forward(self, x):
        ...         return self.inner(self.inner(x))
    """

    training = True
    seed = 0
    path = ""
    flat: Flat | None = None
    flat_buffers: Flat | None = None
    _ready = False

    def forward(self, *inputs: Any) -> Any:
        """The layer's function of its inputs; a subclass defines it."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def __call__(self, *inputs: Any) -> Any:
        if not self._ready:
            self._initialize_like(inputs)
        return self.forward(*inputs)

    # Its parts

    def parts(self) -> Iterator[tuple[str, Parameter | Layer]]:
        """The parameters, buffers and layers right below, with their names."""
        for name, value in vars(self).items():
            if isinstance(value, (Parameter, Layer)):
                yield name, value
            elif isinstance(value, (list, tuple)):
                for i, item in enumerate(value):
                    if isinstance(item, (Parameter, Layer)):
                        yield f"{name}.{i}", item

    def named_layers(self, prefix: str = "") -> Iterator[tuple[str, Layer]]:
        """This layer and all below, outermost first, each once, with dotted paths."""
        yield from _walk(self, prefix, set())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Every trained parameter once, with its dotted path."""
        return ((n, p) for n, p in self._named_tensors() if p.trainable)

    def named_buffers(self) -> Iterator[tuple[str, Parameter]]:
        """Every buffer once, with its dotted path."""
        return ((n, p) for n, p in self._named_tensors() if not p.trainable)

    def parameters(self) -> list[Parameter]:
        """Every trained parameter once."""
        return [p for _, p in self.named_parameters()]

    def count_parameters(self) -> int:
        """How many numbers training changes."""
        return sum(p.size for p in self.parameters())

    def _named_tensors(self) -> Iterator[tuple[str, Parameter]]:
        seen = set()
        for prefix, layer in self.named_layers():
            for name, part in layer.parts():
                if isinstance(part, Parameter) and id(part) not in seen:
                    seen.add(id(part))
                    yield _join(prefix, name), part

    # Values

    def initialize(
        self, seed: int = 0, *, device: str | Device | None = None, dtype: str = "float32"
    ) -> Layer:
        """Give every parameter below its first value, as views into one flat array.

        Args:
            seed: of the random stream; equal seeds give equal values on every backend.
            device: where they live; the default device if not given.
            dtype: ``"float32"`` or ``"float64"``; values are drawn in float32 either way.

        Returns:
            The layer itself.
        """
        draw = {
            name: p.init(p.declared, random.key(seed, "init", name))
            for name, p in self._named_tensors()
        }
        return self._bind(draw, seed, open_backend(device), dtype)

    def _bind(self, values: Mapping[str, Any], seed: int, backend: Backend, dtype: str) -> Layer:
        """Give every parameter and buffer its value (a NumPy array in the layer's own order)."""
        for attribute, named in (
            ("flat", list(self.named_parameters())),
            ("flat_buffers", list(self.named_buffers())),
        ):
            initial = [values[name] for name, _ in named]
            setattr(self, attribute, Flat([p for _, p in named], initial, backend, dtype))
        for path, layer in self.named_layers():
            layer.path, layer.seed, layer._ready = path, seed, True
        return self

    def with_dtype(self, dtype: str) -> Layer:
        """A copy of this layer, on the same device, whose values are of another dtype."""
        self._require_values("with_dtype")
        return copy.deepcopy(self)._rebind(dtype)

    def _rebind(self, dtype: str) -> Layer:
        """Its present values as views into new flat arrays."""
        own = dict(self._named_tensors())
        device = next((str(p.device) for p in own.values()), None)
        values = {name: p.numpy() for name, p in own.items()}
        return self._bind(values, self.seed, open_backend(device), dtype)

    def __getstate__(self) -> dict[str, Any]:
        """For copy and pickle: parameters carry their values, the flat arrays are made anew."""
        state = {k: v for k, v in vars(self).items() if k not in ("flat", "flat_buffers")}
        if self.flat is not None:
            state["_outermost"] = self.flat.values.dtype_name
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        dtype = state.pop("_outermost", None)
        vars(self).update(state)
        if dtype is not None:
            self._rebind(dtype)

    @property
    def backend(self) -> Backend:
        """On the outermost layer: where its values live."""
        return self._own_flat().values.backend

    @property
    def dtype_name(self) -> str:
        """On the outermost layer: the dtype of its values."""
        return self._own_flat().values.dtype_name

    def _own_flat(self) -> Flat:
        if self.flat is None:
            raise InputError(
                "expected the outermost layer, initialised; got "
                + (f"the layer {self.path!r} inside of it" if self._ready else "one without values")
            )
        return self.flat

    def _initialize_like(self, inputs: tuple[Any, ...]) -> None:
        first = next((x for x in inputs if isinstance(x, Tensor)), None)
        if first is None:
            raise InputError(
                f"{type(self).__name__}: expected a Tensor; got "
                f"{', '.join(type(x).__name__ for x in inputs) or 'nothing'}. "
                "Wrap data with flagstone.tensor(...)"
            )
        dtype = first.dtype_name if first.dtype_name in ("float32", "float64") else "float32"
        self.initialize(device=first.device, dtype=dtype)

    def train(self, mode: bool = True) -> Layer:
        """Set :attr:`training` here and below."""
        for _, layer in self.named_layers():
            layer.training = mode
        return self

    def eval(self) -> Layer:
        """Predict rather than train: ``train(False)``."""
        return self.train(False)

    def state_dict(self) -> dict[str, Any]:
        """Name -> NumPy array of every parameter and buffer, in PyTorch's axis order."""
        self._require_values("state_dict")
        return {name: _to_file(p, p.numpy()) for name, p in self._named_tensors()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take values from a :meth:`state_dict`.

        Raises:
            InputError: names are missing or unexpected; nothing is changed.
            ShapeError: an array has another shape than its parameter; nothing is changed.
        """
        import numpy as np

        self._require_values("load_state_dict")
        own = dict(self._named_tensors())
        missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
        if missing or extra:
            raise InputError(
                "load_state_dict: names differ from this layer's; "
                f"missing: {', '.join(missing) or 'none'}; unexpected: {', '.join(extra) or 'none'}"
            )
        values = {}
        for name, p in own.items():
            values[name] = _from_file(p, np.asarray(state[name]))
            if values[name].shape != p.shape:
                raise ShapeError(
                    f"load_state_dict: {name} expected shape "
                    f"{_to_file(p, np.empty(p.shape)).shape}; got {np.shape(state[name])}"
                )
        for name, p in own.items():
            value = values[name].astype(p.dtype_name, copy=False)
            p.array[...] = p.backend.asarray(np.ascontiguousarray(value))

    def _require_values(self, what: str) -> None:
        if not self._ready:
            raise InputError(f"{what}: the layer has no values yet; call initialize(seed) first")

    # Printing

    def describe(self) -> str:
        """The hyper-parameters that ``repr`` shows."""
        return ""

    def __repr__(self) -> str:
        below = [(n, p) for n, p in self.parts() if isinstance(p, Layer)]
        if not below:
            return f"{type(self).__name__}({self.describe()})"
        lines = "".join(
            f"\n  ({name}): " + repr(part).replace("\n", "\n  ") for name, part in below
        )
        return f"{type(self).__name__}({self.describe()}{lines}\n)"


def _walk(layer: Layer, path: str, seen: set[int]) -> Iterator[tuple[str, Layer]]:
    if id(layer) in seen:
        return
    seen.add(id(layer))
    yield path, layer
    for name, part in layer.parts():
        if isinstance(part, Layer):
            yield from _walk(part, _join(path, name), seen)


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _to_file(p: Parameter, value: Any) -> Any:
    """PyTorch's axis order, as a copy of its own: (out, *kernel, in) -> (out, in, *kernel)."""
    import numpy as np

    return np.array(np.moveaxis(value, -1, 1) if p.channels_last else value, order="C")


def _from_file(p: Parameter, value: Any) -> Any:
    import numpy as np

    return np.moveaxis(value, 1, -1) if p.channels_last and value.ndim > 1 else value


__all__ = ["Buffer", "Layer", "Parameter"]
