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

    def tables(self, count: int) -> list[tuple[Any, Any]]:
        """For each array that holds them, one with ``count`` rows to keep it in, and itself."""
        xp = self._backend.xp
        return [(xp.zeros((count, TOGETHER), dtype=a.dtype), a) for a in self._arrays]

    def means(self, tables: Sequence[tuple[Any, Any]], count: int, weight: float) -> Any:
        """Their names, and their values in the first rows of :meth:`tables` over ``weight``."""
        rows = [self._backend.to_numpy(table)[:count] for table, _ in tables]
        together = np.concatenate(rows, axis=1, dtype=np.float64)[:, : len(self._tensors)]
        return list(self._tensors), together / weight

    def clear(self) -> None:
        """Make all 0, in place: captured steps add to them."""
        for array in self._arrays:
            array[...] = 0

    def state(self) -> dict[str, Any]:
        """Name -> value as a NumPy array."""
        return {name: np.array(t.numpy()) for name, t in self._tensors.items()}

    def restore(self, state: Mapping[str, Any], names: Sequence[str] = ()) -> None:
        """Begin with what :meth:`state` gave, in the order of ``names``, which files lose."""
        self._arrays, self._tensors = [], {}
        for name in sorted(state, key=[*names, *state].index):
            value = np.asarray(state[name], self._dtype)
            self._new(name).array[...] = self._backend.asarray(value)

    def _new(self, name: str) -> Tensor:
        xp, place = self._backend.xp, len(self._tensors) % TOGETHER
        if not place:
            self._arrays.append(xp.zeros((TOGETHER,), dtype=getattr(xp, self._dtype)))
        made = self._tensors[name] = Tensor(self._arrays[-1][place, ...], self._backend)
        return made
