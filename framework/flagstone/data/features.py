"""Reading the rows that a fitted model is to predict."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from flagstone.data.csv_table import open_csv
from flagstone.data.image_folder import SUFFIXES, read_images
from flagstone.data.npz import read_npz_features
from flagstone.data.parquet import ParquetTable
from flagstone.data.table import Table, missing_columns
from flagstone.errors import InputError

Rows = npt.NDArray[np.float64]


def read_features(
    path: str | os.PathLike[str],
    *,
    feature_names: Sequence[str] | None = None,
    n_features: int | None = None,
    drop: Sequence[str | int] = (),
    note: Callable[[str], None] | None = None,
) -> Rows:
    """The rows of a ``.csv``, ``.parquet`` or ``.npz`` file, or CSV from standard input; or an
    image, or a folder's by file name.

    A header is optional. Where both the file and the model have column names, columns are taken
    by name and put in the model's order, and further columns are passed over. Otherwise they are
    taken by place, and their number must be right.

    Arguments:
        path: the file, or ``"-"`` for standard input.
        feature_names: the columns that the model was fitted on, in its order, if they had names.
        n_features: how many features the model takes; checked when given.
        drop: columns that are no features (the target), by name or by place (counted from 0,
            negative from the end). They may be absent: a name that the file does not have is
            ignored, and places count only in a file without such names that is wider than
            ``n_features`` by just these columns.
        note: called with one line that says which columns were passed over by their place.

    Returns:
        ``(n, features)`` float64 for a table; the array itself, as float64, for an archive;
        ``(n, height, width)`` or ``(n, height, width, 3)`` float64 for images.

    Raises:
        InputError: the file is missing, empty or damaged, a cell is not a finite number, or the
            number of columns is wrong; or columns that the model needs are missing.
    """
    names = None if feature_names is None else tuple(feature_names)
    if names is not None and n_features is None:
        n_features = len(names)
    if os.fspath(path) == "-":
        with open_csv(None) as table:
            return _select(table, names, n_features, drop, note)
    file = Path(path).expanduser()
    if not file.exists():
        raise InputError(f"{file}: no such file or folder")
    try:
        if file.is_dir() or file.suffix.lower() in SUFFIXES:
            return read_images(file).astype(np.float64)
        if file.suffix.lower() == ".csv":
            with open_csv(file) as table:
                return _select(table, names, n_features, drop, note)
        if file.suffix.lower() == ".parquet":
            return _select(ParquetTable(file), names, n_features, drop, note)
        if file.suffix.lower() == ".npz":
            return _archive(file, n_features)
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror or error}") from error
    raise InputError(
        f"{file}: the extension {file.suffix or '(none)'} is not supported; expected .csv, "
        f".parquet, .npz, an image or a folder of images, or - for CSV on standard input"
    )


def _select(
    table: Table,
    names: tuple[str, ...] | None,
    n_features: int | None,
    drop: Sequence[str | int],
    note: Callable[[str], None] | None,
) -> Rows:
    if table.names is not None and names is not None:
        place = {name: i for i, name in enumerate(table.names)}
        if missing := [name for name in names if name not in place]:
            raise InputError(f"{table.source}: {missing_columns(missing, table.names)}")
        return table.read([place[name] for name in names], []).numbers
    dropped = {i for i, name in enumerate(table.names or ()) if name in drop}
    if not dropped and n_features is not None and table.width > n_features:
        places = [i for i in drop if isinstance(i, int) and -table.width <= i < table.width]
        if n_features == table.width - len({i % table.width for i in places}):
            dropped = {i % table.width for i in places}
            if dropped and note is not None:
                note(_ignored(table.source, sorted(dropped)))
    columns = [i for i in range(table.width) if i not in dropped]
    if n_features is not None and len(columns) != n_features:
        without = ""
        if dropped and table.names is not None:
            shown = ", ".join(repr(table.names[i]) for i in sorted(dropped))
            without = f" columns, {len(columns)} without the target's ({shown})"
        extra = (
            " If it holds the target too, remove that column or add a header"
            if len(columns) > n_features
            else ""
        )
        raise InputError(
            f"{table.source}: the model takes {n_features} feature columns; "
            f"the file has {table.width}{without}.{extra}"
        )
    return table.read(columns, []).numbers


def _ignored(source: str, places: Sequence[int]) -> str:
    shown = ", ".join(map(str, places))
    which = f"column {shown} was" if len(places) == 1 else f"columns {shown} were"
    return f"{source}: {which} ignored as the target (counted from 0; the file has no header)"


def _archive(file: Path, n_features: int | None) -> Rows:
    X = read_npz_features(file)
    if X.dtype.kind not in "biuf" or X.ndim < 2 or not X.size:
        raise InputError(
            f"{file}: expected an array of numbers with rows on its first axis; "
            f"got dtype {X.dtype}, shape {X.shape}"
        )
    per_row = int(np.prod(X.shape[1:]))
    if n_features is not None and per_row != n_features:
        raise InputError(
            f"{file}: the model takes {n_features} values a row; the array has {per_row}"
        )
    if X.dtype.kind == "f" and not np.isfinite(X).all():
        row = int(np.argwhere(~np.isfinite(X))[0][0])
        raise InputError(f"{file}, row {row}: every value must be finite")
    return X.astype(np.float64)
