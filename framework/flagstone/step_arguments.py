"""The tensors among what a step takes and returns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

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
