"""Sums that an epoch's steps add to on the device, read once at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flagstone import ops
from flagstone.backend import Backend
from flagstone.tensors import Tensor

TOGETHER = 8  # sums of one array, so that one read brings them to the host


class Sums:
    """Running sums by name.

    Args:
        backend: where they are.
        dtype: theirs.
    """

    def __init__(self, backend: Backend, dtype: str) -> None:
        self._backend, self._dtype = backend, dtype
        self._arrays: list[Any] = []
        self._tensors: dict[str, Tensor] = {}

    def add(self, name: str, value: Tensor) -> None:
        """Add a tensor of shape (); nothing of it goes through the host."""
        if name not in self._tensors:
            self._new(name)
        ops.accumulate(self._tensors[name], value.detach())

    def read(self) -> dict[str, float]:
        """Their values."""
        values = [self._backend.to_numpy(a) for a in self._arrays]
        return {
            name: float(values[i // TOGETHER][i % TOGETHER]) for i, name in enumerate(self._tensors)
        }

    def take(self, tables: list[Any], i: int, count: int) -> None:
        """Copy them into row ``i`` of ``tables``, one for each array, made here with ``count`` rows
        where there is none yet, and make them 0."""
        if len(tables) < len(self._arrays):
            xp, new = self._backend.xp, self._arrays[len(tables) :]
            tables += [xp.zeros((count, TOGETHER), dtype=a.dtype) for a in new]
        for table, array in zip(tables, self._arrays):  # noqa: B905  # one for each, as above
            table[i] = array
            array[...] = 0

    def named(self, tables: Sequence[Any], count: int) -> list[dict[str, float]]:
        """Their values in the first ``count`` rows of what :meth:`take` filled."""
        names = list(self._tensors)
        if not tables:
            return [{} for _ in range(count)]
        rows = np.concatenate([self._backend.to_numpy(t)[:count] for t in tables], axis=1)
        return [dict(zip(names, row, strict=False)) for row in rows.tolist()]

    def clear(self) -> None:
        """Make all 0, in place: captured steps add to them."""
        for array in self._arrays:
            array[...] = 0

    def state(self) -> dict[str, Any]:
        """Name -> value as a NumPy array."""
        return {name: np.array(t.numpy()) for name, t in self._tensors.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Begin with what :meth:`state` gave."""
        self._arrays, self._tensors = [], {}
        for name, value in state.items():
            self._new(name).array[...] = self._backend.asarray(np.asarray(value, self._dtype))

    def _new(self, name: str) -> Tensor:
        xp, place = self._backend.xp, len(self._tensors) % TOGETHER
        if not place:
            self._arrays.append(xp.zeros((TOGETHER,), dtype=getattr(xp, self._dtype)))
        made = self._tensors[name] = Tensor(self._arrays[-1][place, ...], self._backend)
        return made
