"""The rows of a run: read, checked, divided, and recognised when they are read again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from flagstone.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from flagstone.data import Dataset, Task

Pair: TypeAlias = "tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]]"

DEFAULT_VALIDATION = 0.1
FEWEST_ROWS_TO_DIVIDE = 20  # a tenth of less is one row or two, which measure nothing


@dataclass(frozen=True, eq=False)
class PreparedData:
    """A dataset divided for one run; ``validation`` and ``test`` are None where there is none."""

    dataset: Dataset
    fraction: float
    train: Pair
    validation: Pair | None
    test: Pair | None

    def __str__(self) -> str:
        held_out = "" if self.validation is None else f" / {len(self.validation[0])} validation"
        test = "" if self.test is None else f" / {len(self.test[0])} test"
        return f"{self.dataset.name}: {len(self.train[0])} train{held_out}{test}"

    def splits(self) -> dict[str, Pair]:
        """Name -> rows, of those that there are."""
        all_ = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: rows for name, rows in all_.items() if rows is not None}


def prepare(
    source: str, target: str | None, task: Task, fraction: float | None, seed: int
) -> PreparedData:
    """Read a dataset and hold out validation rows, of every class in proportion.

    Arguments:
        source: a registered name or a path.
        target: a file's target column; None for the last.
        task: the model's.
        fraction: how much to hold out, 0 for nothing. None is a tenth, or nothing where there are
            fewer than 20 rows.
        seed: of the division.

    Raises:
        FlagstoneError: the data cannot be read, does not suit the task, or cannot be divided so;
            or its test split has a class that no other row has.
    """
    from flagstone.data import load

    return divide(load(source, target=target, task=task), fraction, seed)


def divide(dataset: Dataset, fraction: float | None, seed: int) -> PreparedData:
    """Hold out validation rows of a dataset; see :func:`prepare`."""
    from flagstone.data import split

    _require_known_classes(dataset)
    n = len(dataset.X)
    if fraction is None:
        fraction = DEFAULT_VALIDATION if n >= FEWEST_ROWS_TO_DIVIDE else 0.0
    test = None
    if dataset.X_test is not None and dataset.y_test is not None:
        test = (dataset.X_test, dataset.y_test)
    if not fraction:
        return PreparedData(dataset, 0.0, (dataset.X, dataset.y), None, test)
    stratify = dataset.y if dataset.task == "classification" else None
    chosen = split(n, fraction, seed=seed, stratify=stratify)
    train, validation = ((dataset.X[rows], dataset.y[rows]) for rows in chosen)
    return PreparedData(dataset, fraction, train, validation, test)


def fingerprint(dataset: Dataset) -> str:
    """A hash of every value, label, shape and name: equal only for equal data."""
    import numpy as np

    digest = hashlib.sha256(f"{dataset.task} {dataset.feature_names}".encode())
    for array in (dataset.X, dataset.y, dataset.X_test, dataset.y_test):
        if array is None:
            digest.update(b"none")
            continue
        digest.update(f"{array.dtype.str} {array.shape}".encode())
        # As bytes: a label's text is stored in four bytes a character and knows no other view.
        digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return digest.hexdigest()


def require_same(data: PreparedData, expected: str, run: Any, instead: str) -> None:
    """Raise InputError unless the data is what the run was trained on."""
    if fingerprint(data.dataset) != expected:
        raise InputError(
            f"{run}: the data {data.dataset.name!r} is not what it was when this run began; "
            f"{instead}"
        )


def _require_known_classes(dataset: Dataset) -> None:
    import numpy as np

    if dataset.task == "classification" and dataset.y_test is not None:
        new = np.setdiff1d(dataset.y_test, dataset.y)
        if len(new):
            shown = ", ".join(repr(label) for label in new[:5].tolist())
            raise InputError(
                f"dataset {dataset.name}: the test split has classes that the training rows do not "
                f"have: {shown}"
            )
