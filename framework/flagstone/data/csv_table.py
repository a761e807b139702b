"""Reading comma-separated text, one row at a time, with every mistake named by its line.

What is understood: an optional header (the first row, when no cell of it is a number), comment
lines that start with ``#``, blank lines, quoted fields, UTF-8 with or without a byte-order mark,
any line ending, cells left empty at the end of a line, and ``;`` or a tab as the separator when
the first line holds no comma.
"""

from __future__ import annotations

import csv
import io
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flagstone.data.table import Columns, check_header, column_label
from flagstone.errors import InputError

_INT64 = np.iinfo(np.int64)


class CsvTable:
    """Rows of text; a :class:`~flagstone.data.table.Table`.

    Arguments:
        lines: the lines of the file, line endings included.
        source: the file, as messages call it.

    Raises:
        InputError: the text is empty, not CSV, or its header has a nameless or repeated column.
    """

    def __init__(self, lines: Iterable[str], source: str) -> None:
        self.source = source
        self._rows = _records(lines, source)
        first = next(self._rows, None)
        if first is None:
            raise InputError(f"{source}: the file is empty; it holds no row")
        line, cells = first
        cells = [cell.strip() for cell in _trimmed(cells, 1)]
        self.width = len(cells)
        self.names: tuple[str, ...] | None = None
        self._pending = [first]
        if _is_header(cells):
            self.names = check_header(source, f"line {line}", cells)
            self._pending = []
        self._first_line = line

    def read(self, features: Sequence[int], targets: Sequence[int]) -> Columns:
        """The rows; raises InputError with line and column for the first cell that is wrong."""
        numbers = array("d")
        texts: list[list[str]] = [[] for _ in targets]
        lines: list[int] = []
        for line, row in self._body():
            cells = self._checked_width(line, row)
            self._append_numbers(numbers, line, [cells[i] for i in features], features)
            for text, i in zip(texts, targets, strict=True):
                text.append(cells[i].strip())
                if not text[-1]:
                    raise InputError(self._at(line, i) + ": the cell is empty")
            lines.append(line)
        if not lines:
            raise InputError(f"{self.source}: the file has a header but no row below it")
        X = np.array(numbers, dtype=np.float64).reshape(len(lines), len(features))
        self._check_finite(X, lines, features)
        columns = [self._typed(texts[k], lines, i) for k, i in enumerate(targets)]
        return Columns(X, columns, lines, "line")

    def _body(self) -> Iterator[tuple[int, list[str]]]:
        yield from self._pending
        yield from self._rows

    def _checked_width(self, line: int, row: list[str]) -> list[str]:
        cells = _trimmed(row, self.width)
        if len(cells) != self.width:
            few = len(cells) < self.width
            missing = (
                f"; {column_label(self.names, len(cells))} is missing"
                if few
                else "; a cell that holds the separator must stand in double quotes"
            )
            raise InputError(
                f"{self.source}, line {line}: expected {self.width} cells as on line "
                f"{self._first_line}, got {len(cells)}{missing}"
            )
        return cells

    def _append_numbers(
        self, numbers: array[float], line: int, cells: list[str], features: Sequence[int]
    ) -> None:
        try:
            numbers.extend(map(float, cells))
            plain = "_" not in "".join(cells)  # float() reads 1_000, a table does not mean it
        except ValueError:
            plain = False
        if plain:
            return
        for cell, i in zip(map(str.strip, cells), features, strict=True):
            if not cell:
                raise InputError(self._at(line, i) + ": the cell is empty")
            if not _is_number(cell):
                hint = ""
                if self.names is None and line == self._first_line:
                    hint = ". If this line is a header, no cell of it may be a number"
                raise InputError(
                    f"{self._at(line, i)}: a feature must be a number; got {cell!r}{hint}"
                )

    def _check_finite(
        self, X: npt.NDArray[np.float64], lines: list[int], features: Sequence[int]
    ) -> None:
        finite = np.isfinite(X)
        if not finite.all():
            row, column = (int(i) for i in np.argwhere(~finite)[0])
            raise InputError(
                f"{self._at(lines[row], features[column])}: a feature must be finite; "
                f"got {X[row, column]}"
            )

    def _typed(self, cells: list[str], lines: list[int], i: int) -> npt.NDArray[Any]:
        values = typed_column(cells)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values))[0])
            raise InputError(
                f"{self._at(lines[row], i)}: a target must be finite; got {cells[row]}"
            )
        return values

    def _at(self, line: int, i: int) -> str:
        return f"{self.source}, line {line}, {column_label(self.names, i)}"


@contextmanager
def open_csv(path: Path | None) -> Iterator[CsvTable]:
    """The table in the file ``path``, or on standard input when ``path`` is None."""
    if path is not None:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield CsvTable(file, str(path))
        return
    source = "standard input"
    binary = getattr(sys.stdin, "buffer", None)
    if binary is None:  # a stream of text that a test or a notebook put in its place
        yield CsvTable(sys.stdin, source)
        return
    text = io.TextIOWrapper(binary, encoding="utf-8-sig", newline="")
    try:
        yield CsvTable(text, source)
    finally:
        text.detach()  # closing the wrapper would close standard input


def typed_column(cells: Sequence[str]) -> npt.NDArray[Any]:
    """A column of text as int64 when every cell is a whole number, else as float64 when every
    cell is a number, else as the text it is."""
    if all(_is_number(cell) for cell in cells):
        try:
            whole = [int(cell) for cell in cells]
        except ValueError:
            return np.array([float(cell) for cell in cells], dtype=np.float64)
        if all(_INT64.min <= value <= _INT64.max for value in whole):
            return np.array(whole, dtype=np.int64)
    return np.array(cells, dtype=np.str_)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _is_header(cells: Sequence[str]) -> bool:
    return any(cells) and not any(_is_number(cell) for cell in cells)


def _trimmed(cells: list[str], width: int) -> list[str]:
    """``cells`` without the empty ones that stand beyond ``width``."""
    end = len(cells)
    while end > width and not cells[end - 1].strip():
        end -= 1
    return cells if end == len(cells) else cells[:end]


class _Lines:
    """The lines that hold rows, counted; comments and blank lines are passed over.

    A ``#`` inside a quoted field that runs over several lines is text, so a line is looked at
    only where a row starts, which the reader of rows says through ``row_starts``.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self.number = 0
        self.first = 0
        self.row_starts = True

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        for line in self._lines:
            self.number += 1
            if self.row_starts:
                bare = line.strip()
                if not bare or bare.startswith("#"):
                    continue
                self.first = self.number
                self.row_starts = False
            return line
        raise StopIteration


def _records(lines: Iterable[str], source: str) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of every row; a cell may still end in spaces."""
    counted = _Lines(lines)
    try:
        first = next(counted, None)
        if first is None:
            return
        delimiter = next((mark for mark in ",;\t" if mark in first), ",")

        def replayed() -> Iterator[str]:
            yield first
            yield from counted

        reader = csv.reader(replayed(), delimiter=delimiter, strict=True, skipinitialspace=True)
        for row in reader:
            counted.row_starts = True
            yield counted.first, row
    except csv.Error as error:
        raise InputError(
            f"{source}, line {counted.first}: not valid CSV: {error}. "
            f"A double quote inside a quoted field is written twice"
        ) from error
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise InputError(
            f"{source}: not UTF-8 text (byte 0x{byte:02x}: {error.reason}); save the file as UTF-8"
        ) from error
