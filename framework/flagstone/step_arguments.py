"""The tensors among what a step takes and returns, and what else a capture depends on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from flagstone.errors import InputError
from flagstone.tensors import Tensor


def tensors_in(arguments: Any) -> list[Tensor]:
    """The tensors among a step's arguments, in order, those in tuples, lists and dicts too."""
    found: list[Tensor] = []
    for x in arguments:
        if isinstance(x, Tensor):
            found.append(x)
        elif isinstance(x, (tuple, list)):
            found += tensors_in(x)
        elif isinstance(x, dict):
            found += tensors_in(x.values())
    return found


def taken_apart(result: Any) -> tuple[Any, list[Tensor]]:
    """The tensors in what a step returned, and the form that is left: ``Tensor`` for each."""
    if isinstance(result, Tensor):
        return Tensor, [result]
    if isinstance(result, (tuple, list)):
        parts = [taken_apart(item) for item in result]
        kind = type(result) if type(result) in (tuple, list) else tuple
        return kind(form for form, _ in parts), [t for _, found in parts for t in found]
    if isinstance(result, dict):
        taken = {name: taken_apart(item) for name, item in result.items()}
        forms = {name: form for name, (form, _) in taken.items()}
        return forms, [t for _, found in taken.values() for t in found]
    return result, []


def filled(form: Any, tensors: Iterator[Tensor]) -> Any:
    """``form`` with the next of ``tensors`` for each ``Tensor``."""
    if form is Tensor:
        return next(tensors)
    if isinstance(form, (tuple, list)):
        return type(form)(filled(part, tensors) for part in form)
    if isinstance(form, dict):
        return {name: filled(part, tensors) for name, part in form.items()}
    return form


def signature(x: Any) -> Any:
    """What of an argument a capture depends on."""
    if isinstance(x, Tensor):
        a = x.array
        return a.shape, a.dtype, getattr(a, "strides", None), x.requires_grad, x.backend
    if x is None or isinstance(x, (int, float, str)):
        return type(x), x
    if isinstance(x, (tuple, list)):
        return type(x), [signature(item) for item in x]
    if isinstance(x, dict):
        return type(x), [(name, signature(item)) for name, item in x.items()]
    raise InputError(
        "a captured function expected tensors, None, numbers, strings, and tuples, lists and dicts "
        f"of them; got {type(x).__name__}"
    )


class OtherRepeatsError(Exception):
    """Arguments of a step are one array that were two when it was recorded, or the reverse."""


def repeats_in(arrays: Sequence[Any]) -> list[int]:
    """For each array the first place where it stands."""
    places: dict[int, int] = {}
    return [places.setdefault(id(a), i) for i, a in enumerate(arrays)]


def only_for(
    repeats: list[int], replay: Callable[..., Sequence[Any]]
) -> Callable[..., Sequence[Any]]:
    """A replay of a step that was recorded with one array as several of its arguments."""

    def checked(*arrays: Any) -> Sequence[Any]:
        if repeats_in(arrays) != repeats:
            raise OtherRepeatsError
        return replay(*arrays)

    return checked
