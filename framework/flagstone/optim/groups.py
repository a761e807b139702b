"""Which parameter learns at which rate, and which one decays by how much."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import numpy as np

from flagstone.errors import ConfigurationError
from flagstone.nn.layer import Layer
from flagstone.nn.parameter import Flat
from flagstone.optim.checks import require, require_not_negative
from flagstone.tensors import Tensor

Groups = Mapping[str, Mapping[str, float]]


class ParameterOptions(NamedTuple):
    """What holds for one parameter: a factor of the learning rate, its weight decay, and after how
    many epochs it is held as it is."""

    lr_scale: float
    weight_decay: float
    epochs: float = math.inf


def held(options: ParameterOptions) -> ParameterOptions:
    """The options of a parameter that nothing moves, not even a decay."""
    return options._replace(lr_scale=0.0, weight_decay=0.0)


def options_of_parameters(
    owner: str, layer: Layer, weight_decay: float, groups: Groups | None, decay_biases: bool
) -> list[ParameterOptions]:
    """The options of every parameter of ``layer``, in order.

    Args:
        owner: the optimizer's name, for errors.
        layer: whose parameters.
        weight_decay: of parameters of which nothing else is said.
        groups: pattern of dotted names (``*`` and ``?``) -> some of ``lr_scale``, ``weight_decay``
            and ``epochs``. Where several patterns match a name, what the later ones say holds.
        decay_biases: ``False`` for no weight decay of parameters of fewer than two axes (biases,
            and the factors of normalisations), unless a group says one.

    A frozen parameter has a rate and a decay of 0, whatever else is said.

    Raises:
        ConfigurationError: there is no parameter, an option is none of these or out of range, or a
            pattern matches no parameter.
    """
    require(owner, "decay_biases", decay_biases, isinstance(decay_biases, bool), "True or False")
    named = dict(layer.named_parameters())
    if not named:
        raise ConfigurationError(
            f"{owner}: layer expected at least one parameter to train; got "
            f"{type(layer).__name__}, which has none"
        )
    groups = _checked(owner, groups, list(named))
    options = []
    for name, p in named.items():
        decay = weight_decay if decay_biases or len(p.shape) > 1 else 0.0
        own: dict[str, float] = {"lr_scale": 1.0, "weight_decay": decay}
        for pattern, given in groups.items():
            if fnmatchcase(name, pattern):
                own.update(given)
        made = ParameterOptions(**own)
        options.append(made if p.requires_grad else held(made))
    return options


def _checked(owner: str, groups: Any, names: Sequence[str]) -> Groups:
    if groups is None:
        return {}
    known = ParameterOptions._fields
    for pattern, given in require_mapping(owner, "groups", groups).items():
        for option, value in require_mapping(owner, f"groups[{pattern!r}]", given).items():
            require(
                owner,
                f"groups[{pattern!r}]",
                option,
                option in known,
                f"only {', '.join(known)}",
            )
            if option != "epochs" or value != math.inf:
                require_not_negative(owner, **{f"groups[{pattern!r}][{option!r}]": value})
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigurationError(
                f"{owner}: groups expected patterns that match a parameter; {pattern!r} matches "
                f"none of {', '.join(names)}"
            )
    checked: Groups = groups
    return checked


def require_mapping(owner: str, name: str, value: Any) -> Mapping[Any, Any]:
    """``value``, which is a mapping, or an error."""
    require(owner, name, value, isinstance(value, Mapping), "a dict")
    mapping: Mapping[Any, Any] = value
    return mapping


def spread(flat: Flat, values: Sequence[float]) -> Tensor:
    """An array like the flat parameters with one value for every parameter; gaps are zero."""
    host = np.zeros(flat.values.shape, flat.values.dtype_name)
    for t, offset, value in zip(flat.tensors, flat.offsets, values, strict=True):
        host[offset : offset + t.size] = value
    return Tensor(flat.values.backend.asarray(host), flat.values.backend)


def pieces(flat: Flat, whole: Tensor) -> list[Tensor]:
    """For every parameter, its part of ``whole`` (an array like the flat one), as a view with the
    parameter's shape."""
    xp = whole.backend.xp
    return [
        Tensor(xp.reshape(whole.array[o : o + t.size], t.shape), whole.backend)
        for t, o in zip(flat.tensors, flat.offsets, strict=True)
    ]
