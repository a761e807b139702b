"""What every kind of table file gives: names, a width, and typed columns with row numbers."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from flagstone.errors import InputError, UnknownNameError


@dataclass(frozen=True, eq=False)
class Columns:
    """The cells of a table, read.

    ``numbers`` is (n, features) float64. ``targets`` are 1-d arrays (int64, float64, bool or
    text), one per target column. ``where(i)`` says where row i stands in the file.
    """

    numbers: npt.NDArray[np.float64]
    targets: list[npt.NDArray[Any]]
    rows: Sequence[int]
    unit: str

    def where(self, row: int) -> str:
        """Such as ``line 7``."""
        return f"{self.unit} {self.rows[row]}"


class Table(Protocol):
    """A file of which the header is known; ``read`` gives its cells, once."""

    @property
    def source(self) -> str:
        """The file, as messages call it."""

    @property
    def names(self) -> tuple[str, ...] | None:
        """The header, or None where the file has none."""

    @property
    def width(self) -> int:
        """The number of columns."""

    def read(self, features: Sequence[int], targets: Sequence[int]) -> Columns:
        """The feature columns as numbers and the target columns with their own types."""


def column_label(names: tuple[str, ...] | None, index: int) -> str:
    """How messages call a column: its name, or its place counted from 0."""
    return f"column {index} (counted from 0)" if names is None else f"column {names[index]!r}"


def check_header(source: str, place: str, names: Sequence[str]) -> tuple[str, ...]:
    """The header as a tuple; raises InputError for a column with no name or a name used twice."""
    seen: set[str] = set()
    for i, name in enumerate(names):
        if not name:
            raise InputError(
                f"{source}, {place}: column {i} (counted from 0) has no name in the header; "
                f"name it, or remove the column (pandas writes one unless index=False)"
            )
        if name in seen:
            raise InputError(f"{source}, {place}: two columns are named {name!r} in the header")
        seen.add(name)
    return tuple(names)


def missing_columns(missing: Sequence[str], names: Sequence[str]) -> str:
    """Such as ``column 'a' is missing; the file has b, c``."""
    columns = ", ".join(map(repr, missing))
    which = f"column {columns} is" if len(missing) == 1 else f"columns {columns} are"
    near = difflib.get_close_matches(missing[0], names, n=1) if len(missing) == 1 else []
    guess = f". Did you mean {near[0]!r}?" if near else ""
    return f"{which} missing; the file has {', '.join(names)}{guess}"


def find_targets(table: Table, target: str | None) -> list[int]:
    """The columns that ``target`` names.

    ``target`` is a column's name, its place (counted from 0; negative from the end), or several
    of either separated by commas; None is the last column.

    Raises:
        UnknownNameError: no column has that name.
        InputError: a place is out of range, a column is named twice, or no feature would be left.
    """
    if target is None:
        places = [table.width - 1]
    elif table.names is not None and target in table.names:
        places = [table.names.index(target)]  # a name may itself contain a comma
    else:
        places = [_find(table, part.strip()) for part in target.split(",")]
    if len(set(places)) != len(places):
        raise InputError(f"{table.source}: target {target!r} names one column twice")
    if len(places) >= table.width:
        raise InputError(
            f"{table.source}: no feature column is left beside the target; the file has "
            f"{table.width} column{'s' if table.width > 1 else ''}"
        )
    return places


def _find(table: Table, part: str) -> int:
    if table.names is not None and part in table.names:
        return table.names.index(part)
    try:
        place = int(part)
    except ValueError:
        if table.names is None:
            raise InputError(
                f"{table.source}: target {part!r} is not the place of a column, and the file has "
                f"no header to name one; give a number from 0 to {table.width - 1}"
            ) from None
        raise UnknownNameError(f"target column of {table.source}", part, table.names) from None
    if not -table.width <= place < table.width:
        raise InputError(
            f"{table.source}: target column {place} does not exist; the file has {table.width} "
            f"columns, 0 to {table.width - 1}"
        )
    return place % table.width
