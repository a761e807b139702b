"""Reading a Parquet file, through polars (the extra ``data``)."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flagstone.data.table import Columns, check_header, column_label
from flagstone.errors import InputError, UnavailableError


class ParquetTable:
    """Typed columns; a :class:`~flagstone.data.table.Table`.

    Raises:
        UnavailableError: polars is not installed.
        InputError: the file cannot be read or holds no row.
    """

    def __init__(self, path: Path) -> None:
        try:
            polars: Any = importlib.import_module("polars")
        except ImportError as error:
            raise UnavailableError(
                f"{path}: reading .parquet needs polars; pip install 'flagstone[data]'"
            ) from error
        self.source = str(path)
        try:
            self._frame: Any = polars.read_parquet(path)
        except (polars.exceptions.PolarsError, OSError) as error:
            raise InputError(f"{path}: not a readable Parquet file: {_reason(error)}") from error
        self.names: tuple[str, ...] | None = check_header(
            self.source, "schema", self._frame.columns
        )
        self.width = len(self._frame.columns)
        if not self._frame.height or not self.width:
            raise InputError(f"{path}: the file is empty; it holds no row")

    def read(self, features: Sequence[int], targets: Sequence[int]) -> Columns:
        """The columns; raises InputError with row and column for the first cell that is wrong."""
        X = np.empty((self._frame.height, len(features)))
        for k, i in enumerate(features):
            values = self._values(i)
            if values.dtype.kind not in "biuf":
                raise InputError(
                    f"{self.source}, {column_label(self.names, i)}: a feature must be a number; "
                    f"the column holds {self._frame.dtypes[i]}"
                )
            X[:, k] = values
        columns = [self._target(i) for i in targets]
        return Columns(X, columns, range(self._frame.height), "row")

    def _target(self, i: int) -> npt.NDArray[Any]:
        values = self._values(i)
        if values.dtype.kind in "biuf":
            return values
        if all(isinstance(value, str) for value in values):
            return values.astype(np.str_)
        raise InputError(
            f"{self.source}, {column_label(self.names, i)}: a target must hold numbers or text; "
            f"the column holds {self._frame.dtypes[i]}"
        )

    def _values(self, i: int) -> npt.NDArray[Any]:
        column = self._frame.to_series(i)
        if column.null_count():
            row = int(np.flatnonzero(column.is_null().to_numpy())[0])
            raise InputError(f"{self._at(row, i)}: the cell is empty")
        values: npt.NDArray[Any] = column.to_numpy()
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values))[0])
            raise InputError(f"{self._at(row, i)}: the cell must be finite; got {values[row]}")
        return values

    def _at(self, row: int, i: int) -> str:
        return f"{self.source}, row {row}, {column_label(self.names, i)}"


def _reason(error: BaseException) -> str:
    """What polars says first, without the words that our message has already."""
    text = next(iter(str(error).splitlines()), "") or type(error).__name__
    return text.removeprefix("parquet: ").removeprefix("File out of specification: ")
