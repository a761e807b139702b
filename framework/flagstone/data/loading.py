"""From a name or a path to a :class:`Dataset`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from flagstone.data.csv_table import open_csv
from flagstone.data.dataset import WITHOUT_TARGETS, Dataset, Task, check_task, infer_task
from flagstone.data.idx import is_idx_directory, read_idx_directory
from flagstone.data.image_folder import is_image_folder, read_image_folder
from flagstone.data.npz import read_npz
from flagstone.data.parquet import ParquetTable
from flagstone.data.table import Columns, Table, column_label, find_targets
from flagstone.errors import ConfigurationError, InputError, PluginError, UnknownNameError
from flagstone.plugins import registry
from flagstone.plugins.guests import quiet_output

Array = npt.NDArray[Any]

SUPPORTED = (
    "a .csv or .parquet table, an .npz archive, a directory of MNIST's IDX files, "
    "or a folder of images by class"
)


def load(
    source: str | os.PathLike[str],
    *,
    target: str | None = None,
    task: Task | None = None,
    min_classes: int = 2,
) -> Dataset:
    """Read a registered dataset or a file.

    Arguments:
        source: the name of a registered dataset, or a path: ``.csv``, ``.parquet``, ``.npz``, a
            directory of MNIST's IDX files, a folder of images by class. A registered name wins
            over a file of that name; write ``./digits`` for the file.
        target: for a table, the target column by name or by place (counted from 0, negative from
            the end), or several separated by commas for regression with several targets; the
            last column by default; for a task without targets, what to leave out, nothing by
            default. For an archive, the name of the target array.
        task: what the model is for; it wins over what the targets look like. None leaves it to
            the rule of :func:`flagstone.data.dataset.infer_task`.
        min_classes: the fewest distinct labels that will do for classification. Evaluation
            passes 1: a file to evaluate on may hold one class.

    Raises:
        InputError: the file is missing, empty, damaged or holds a cell that cannot be used; the
            message gives file, line and column.
        ConfigurationError: an option does not fit the source, or it is neither text nor a path.
        UnknownNameError: ``source`` is no registered name and no path, or no column is named
            ``target``.
    """
    if task is not None:
        check_task(task)
    if not isinstance(source, str | os.PathLike):
        raise ConfigurationError(
            f"load: source expected the name of a dataset or a path; got {type(source).__name__}. "
            "Arrays go to a model as they are: model.fit(X, y)"
        )
    if isinstance(source, str) and source in registry.names("dataset"):
        dataset = _registered(source, target, task)
    else:
        dataset = _from_path(source, target, task)
    _check_classes(dataset, min_classes)
    return dataset


def _registered(name: str, target: str | None, task: Task | None) -> Dataset:
    if target is not None:
        raise ConfigurationError(
            f"target={target!r} is for files; the dataset {name} has its own target"
        )
    read = registry.load("dataset", name)
    with quiet_output():  # a stranger's code; what it prints is no result
        dataset = read()
    if not isinstance(dataset, Dataset):
        raise PluginError(
            f"dataset {name}: its target must return a flagstone.data.Dataset; "
            f"it returned {type(dataset).__name__}"
        )
    return dataset if task is None else dataset.with_task(task)


def _from_path(source: str | os.PathLike[str], target: str | None, task: Task | None) -> Dataset:
    path = Path(source).expanduser()
    if not path.exists():
        if isinstance(source, str) and path.name == source and not path.suffix:
            hint = f"A path may be given too: {SUPPORTED}."
            raise UnknownNameError("dataset", source, registry.names("dataset"), hint)
        raise InputError(f"{path}: no such file or directory")
    try:
        return _read(path, target, task)
    except OSError as error:  # permissions, a directory named x.csv, a disk fault
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error


def _read(path: Path, target: str | None, task: Task | None) -> Dataset:
    name, suffix = path.stem, path.suffix.lower()
    if path.is_dir():
        return _from_arrays(path.resolve().name or "data", task, *_read_directory(path, target))
    if suffix == ".csv":
        with open_csv(path) as table:
            return _from_table(name, table, target, task)
    if suffix == ".parquet":
        return _from_table(name, ParquetTable(path), target, task)
    if suffix == ".npz":
        return _from_arrays(name, task, *read_npz(path, target))
    kind = f"the extension {suffix}" if suffix else "a file without an extension"
    raise InputError(f"{path}: {kind} is not supported; expected {SUPPORTED}")


def _read_directory(
    path: Path, target: str | None
) -> tuple[Array, Array, Array | None, Array | None]:
    if target is not None:
        raise ConfigurationError(f"target={target!r} is for tables; {path} is a directory")
    if is_idx_directory(path):
        return read_idx_directory(path)
    if is_image_folder(path):
        return read_image_folder(path)
    raise InputError(
        f"{path}: the directory holds neither train-images-idx3-ubyte (or .gz) nor sub-folders "
        f"of images; expected {SUPPORTED}"
    )


def _from_arrays(
    name: str, task: Task | None, X: Array, y: Array, X_test: Array | None, y_test: Array | None
) -> Dataset:
    return Dataset(name, task or infer_task(y), X, y, X_test=X_test, y_test=y_test)


def _from_table(name: str, table: Table, target: str | None, task: Task | None) -> Dataset:
    without = task is not None and task in WITHOUT_TARGETS
    targets = [] if without and target is None else find_targets(table, target)
    features = [i for i in range(table.width) if i not in targets]
    columns = table.read(features, targets)
    if task is None:
        task = "regression" if len(targets) > 1 else infer_task(columns.targets[0])
    if not targets:
        y = np.zeros(len(columns.numbers), np.int64)
    elif without:
        y = columns.targets[0]
    elif task == "regression":
        y = _regression_targets(table, columns, targets)
    else:
        y = _labels(table, columns, targets)
    names = table.names
    return Dataset(
        name,
        task,
        columns.numbers,
        y,
        feature_names=None if names is None else tuple(names[i] for i in features),
        target_names=None if names is None or without else tuple(names[i] for i in targets),
    )


def _regression_targets(table: Table, columns: Columns, targets: list[int]) -> Array:
    """(n,) for one target, (n, targets) for several; float64."""
    for values, i in zip(columns.targets, targets, strict=True):
        if values.dtype.kind not in "iuf":
            row = next((r for r, value in enumerate(values) if not _is_number(value)), 0)
            raise InputError(
                f"{table.source}, {columns.where(row)}, {column_label(table.names, i)}: "
                f"a regression target must be a number; got {str(values[row])!r}. "
                f"For text labels choose a classification model"
            )
    numbers = [values.astype(np.float64) for values in columns.targets]
    return numbers[0] if len(numbers) == 1 else np.stack(numbers, axis=1)


def _labels(table: Table, columns: Columns, targets: list[int]) -> Array:
    if len(targets) > 1:
        raise ConfigurationError(
            f"{table.source}: classification takes one target column; got {len(targets)}: "
            + ", ".join(column_label(table.names, i) for i in targets)
        )
    y = columns.targets[0]
    if y.dtype.kind == "f" and not np.array_equal(y, np.rint(y)):
        row = int(np.flatnonzero(y != np.rint(y))[0])
        raise InputError(
            f"{table.source}, {columns.where(row)}, {column_label(table.names, targets[0])}: "
            f"{y[row]} is not a whole number, so it is no class label. Choose a regression model, "
            f"or name the column of labels with target"
        )
    return y


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True


def _check_classes(dataset: Dataset, least: int) -> None:
    if dataset.task != "classification":
        return
    classes = np.unique(dataset.y)
    if len(classes) < least:
        column = f" column {dataset.target_names[0]!r}" if dataset.target_names else ""
        raise InputError(
            f"dataset {dataset.name}: classification needs at least {least} classes; the target"
            f"{column} holds only one, {classes[0].item()!r}"
        )
