"""The base of every layer: parameters found by name, initialised together, saved together."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from flagstone import random
from flagstone.backend import Backend, open_backend
from flagstone.devices import Device
from flagstone.errors import ConfigurationError, FlagstoneError, InputError, ShapeError
from flagstone.nn.checks import by_position, require_dtype, truth
from flagstone.nn.parameter import Buffer, Flat, Parameter
from flagstone.tape import state as tape_state
from flagstone.tensors import Tensor
from flagstone.watching import Changes

Place = str | Device | Backend | None
"""Where values live; ``None`` is the default device."""


class Layer:
    """Named parameters, and a ``forward`` made of ops.

    A subclass sets parameters, buffers and other layers (or lists and dicts of them) as attributes
    and defines ``forward``. They are found by attribute name, in order of assignment.

    Parameters get their values when the outermost layer is initialised: by :meth:`initialize`, or
    at its first call, with seed 0, on the device and with the dtype of its input. What a parameter
    starts with depends on the seed and on its path from the outermost layer only, so it is the same
    on every backend. Parameters that have values keep them when their layers are called as part of
    another one; only :meth:`initialize` draws them anew.

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

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        if options:
            inputs = by_position(type(self).__name__, self.forward, inputs, options)
        if not self._ready:
            self._get_ready(inputs)
        watcher = tape_state.watcher
        try:
            return self.forward(*inputs) if watcher is None else watcher.call(self, inputs)
        except FlagstoneError as error:
            if not getattr(error, "__notes__", ()):  # the innermost layer says where
                path = f" {self.path!r}" if self.path else ""
                error.add_note(f"in layer{path}: {type(self).__name__}({self.describe()})")
            raise

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        Changes.token = object()  # a captured step looks what has changed

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        Changes.token = object()

    # Its parts

    def parts(self) -> Iterator[tuple[str, Parameter | Layer]]:
        """The parameters, buffers and layers right below, with their names."""
        for name, value in vars(self).items():
            yield from _parts_of(name, value)

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

    def initialize(self, seed: int = 0, *, device: Place = None, dtype: str = "float32") -> Layer:
        """Give every parameter below its first value, as views into one flat array.

        Args:
            seed: of the random stream; equal seeds give equal values on every backend.
            device: where they live; the default device if not given.
            dtype: ``"float32"`` or ``"float64"``; values are drawn in float32 either way.

        Returns:
            The layer itself.

        Raises:
            DTypeError: ``dtype`` is neither of the two.
            ShapeError: an initialiser gave values of another shape than its parameter's.
        """
        require_dtype("initialize", dtype)
        draw = {name: _first_value(name, p, seed) for name, p in self._named_tensors()}
        for p in self.parameters():
            p.grad = None
        return self._bind(draw, seed, open_backend(device), dtype)

    def own_parameters(self, device: Place = None, dtype: str = "float32") -> Flat:
        """The flat array of exactly the parameters below, made where there is none yet.

        Parameters that have values keep them, and say device and dtype; the others are drawn. An
        optimizer needs this; parameters that were another layer's are this one's from then on.

        Raises:
            ConfigurationError: this layer is inside another, which owns its parameters.
        """
        named = dict(self._named_tensors())
        parts = [t for flat in (self.flat, self.flat_buffers) if flat for t in flat.tensors]
        whole = self.flat is not None and not self.flat.replaced
        if self.flat is not None and whole and {*map(id, parts)} == {*map(id, named.values())}:
            return self.flat
        if self.path and any(p.owner is not None and not p.owner.replaced for p in named.values()):
            raise ConfigurationError(
                f"{type(self).__name__}: expected the outermost layer, which owns the parameters' "
                f"array; got the layer {self.path!r} inside of it"
            )
        for p in named.values():
            if p.is_set:
                device, dtype = p.backend, p.dtype_name
                break
        self._rebind(device, dtype)
        assert self.flat is not None  # _bind makes it
        return self.flat

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
        """A copy of this layer, on the same device, whose values are of another dtype,
        ``"float32"`` or ``"float64"``."""
        require_dtype("with_dtype", dtype)
        self._require_values("with_dtype")
        return copy.deepcopy(self)._rebind(self.backend, dtype)

    def _rebind(self, device: Place, dtype: str) -> Layer:
        """Its present values, and first ones where there are none, as views of new flat arrays."""
        values = {
            name: np.array(p.numpy()) if p.is_set else _first_value(name, p, self.seed)
            for name, p in self._named_tensors()
        }
        return self._bind(values, self.seed, open_backend(device), dtype)

    def __copy__(self) -> Layer:
        """Another layer with the same parameters, as for any object with attributes."""
        other = type(self).__new__(type(self))
        vars(other).update(vars(self))
        return other

    def __getstate__(self) -> dict[str, Any]:
        """For copy and pickle: parameters carry their values, the flat arrays are made anew."""
        state = {k: v for k, v in vars(self).items() if k not in ("flat", "flat_buffers")}
        if self.flat is not None and not self.flat.replaced:
            values = self.flat.values
            state["_outermost"] = (values.backend, values.dtype_name)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        place = state.get("_outermost")
        vars(self).update({k: v for k, v in state.items() if k != "_outermost"})
        if place is not None:
            self._rebind(*place)

    @property
    def backend(self) -> Backend:
        """Where its values live."""
        return self._some_values("backend").backend

    @property
    def dtype_name(self) -> str:
        """The dtype of its values."""
        return self._some_values("dtype_name").dtype_name

    def _some_values(self, what: str) -> Tensor:
        self._require_values(what)
        first = next((p for _, p in self._named_tensors()), None)
        if first is None:
            return self.own_parameters().values
        return first

    def _get_ready(self, inputs: tuple[Any, ...]) -> None:
        """Before the first call: give parameters values, unless they have them from elsewhere."""
        first = next((x for x in inputs if isinstance(x, Tensor)), None)
        if first is None:
            first = require_tensor(type(self).__name__, *inputs)
        dtype = first.dtype_name if first.dtype_name in ("float32", "float64") else "float32"
        own = [p for _, p in self._named_tensors()]
        if own and all(p.is_set for p in own):
            self._ready = True
        else:
            self.own_parameters(first.backend, dtype)

    def requires_grad_(self, requires_grad: bool = True) -> Layer:
        """Whether gradients reach the parameters here and below; see :func:`flagstone.nn.freeze`.

        Returns:
            The layer itself.
        """
        truth("requires_grad_", requires_grad=requires_grad)
        for p in self.parameters():
            p.requires_grad = requires_grad
            if not requires_grad:
                p.grad = None
        return self

    def train(self, mode: bool = True) -> Layer:
        """Set :attr:`training` here and below."""
        truth("train", mode=mode)
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
            InputError: names are missing or unexpected, or an array holds no real numbers; nothing
                is changed.
            ShapeError: an array has another shape than its parameter; nothing is changed.
        """
        self._require_values("load_state_dict")
        if not isinstance(state, Mapping):
            raise InputError(
                "load_state_dict: state expected a dict of arrays by name, as state_dict() gives; "
                f"got {type(state).__name__}"
            )
        own = dict(self._named_tensors())
        missing = sorted(own.keys() - state.keys())
        extra = sorted(map(str, state.keys() - own.keys()))
        if missing or extra:
            raise InputError(
                "load_state_dict: names differ from this layer's; "
                f"missing: {', '.join(missing) or 'none'}; unexpected: {', '.join(extra) or 'none'}"
            )
        values = {}
        for name, p in own.items():
            given = np.asarray(state[name])
            if given.dtype.kind not in "fiub":
                raise InputError(
                    f"load_state_dict: {name} expected numbers; got dtype {given.dtype}"
                )
            values[name] = _from_file(p, given)
            if values[name].shape != p.shape:
                raise ShapeError(
                    f"load_state_dict: {name} expected shape "
                    f"{_to_file(p, np.empty(p.shape)).shape}; got {np.shape(state[name])}"
                )
        for name, p in own.items():
            value = values[name].astype(p.dtype_name, copy=False)
            p.array[...] = p.backend.asarray(np.ascontiguousarray(value))
        for flat in {id(p.owner): p.owner for p in own.values() if p.owner is not None}.values():
            flat.lower()

    def _require_values(self, what: str) -> None:
        if any(not p.is_set for _, p in self._named_tensors()):
            raise InputError(f"{what}: the layer has no values yet; call initialize(seed) first")

    # Printing

    def describe(self) -> str:
        """The hyper-parameters that ``repr`` shows."""
        return ""

    def __repr__(self) -> str:
        below = [(n, p) for n, p in self.parts() if isinstance(p, Layer)]
        if not below:
            return f"{type(self).__name__}({self.describe()})"
        own = self.describe()
        lines = [own] if own else []
        lines += [f"({name}): {part!r}" for name, part in below]
        inside = "".join("\n  " + line.replace("\n", "\n  ") for line in lines)
        return f"{type(self).__name__}({inside}\n)"


def require_tensor(owner: str, *given: Any) -> Tensor:
    """The first of what a layer was given, which is a tensor, or an error says what it is."""
    if given and isinstance(given[0], Tensor):
        return given[0]
    raise InputError(
        f"{owner}: expected a Tensor; got {', '.join(type(x).__name__ for x in given) or 'nothing'}"
        ". Wrap data with flagstone.tensor(...)"
    )


def _parts_of(name: str, value: Any) -> Iterator[tuple[str, Parameter | Layer]]:
    if isinstance(value, (Parameter, Layer)):
        yield name, value
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from _parts_of(f"{name}.{i}", item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _parts_of(f"{name}.{key}", item)


def _first_value(name: str, p: Parameter, seed: int) -> Any:
    value = np.asarray(p.init(p.declared, random.key(seed, "init", name)))
    if value.shape != p.declared:
        raise ShapeError(
            f"initialize: the initialiser of {name} expected to give shape {p.declared}; "
            f"it gave {value.shape}"
        )
    return value


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
    return np.array(np.moveaxis(value, -1, 1) if p.channels_last else value, order="C")


def _from_file(p: Parameter, value: Any) -> Any:
    return np.moveaxis(value, 1, -1) if p.channels_last and value.ndim > 1 else value


__all__ = ["Buffer", "Layer", "Parameter"]
