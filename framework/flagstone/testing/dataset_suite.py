"""The checks of a dataset."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from flagstone.data import Dataset
from flagstone.plugins import registry
from flagstone.testing.comparing import require_same
from flagstone.testing.randomness import SEEDS, global_seed
from flagstone.testing.suite import Suite, skip

ROWS = 200  # that a model is trained on
ARRAYS = ("X", "y", "X_test", "y_test")
_ELSEWHERE = """
import sys
sys.path[:] = {path!r}
from flagstone.plugins.targets import import_target
from flagstone.testing.dataset_suite import fingerprint
print("fingerprint", fingerprint(import_target({target!r})()))
"""


class DatasetSuite(Suite):
    """The checks of a dataset: ``target()`` returns a :class:`flagstone.data.Dataset`.

    Attributes:
        network: whether it may be downloaded to be checked; otherwise it is checked where it is on
            this machine already.
    """

    kind: ClassVar[str] = "dataset"
    network: bool = False

    def load(self) -> Dataset:
        """The dataset, loaded once more."""
        asked: list[str] = []
        with contextlib.nullcontext() if self.network else _offline(asked):
            try:
                data = self.target()
            except Exception as error:
                if asked:
                    skip(f"needs the network ({asked[0]}), which checks do not use: {error}")
                raise
        if not isinstance(data, Dataset):
            raise AssertionError(f"expected a flagstone.data.Dataset; got {type(data).__name__}")
        return data

    def test_contract(self) -> None:
        """It is a Dataset of the task that its spec says, with at least two classes."""
        data, task = self.load(), registry.find("dataset", self.name).task
        if data.task != task:
            raise AssertionError(f"task: expected {task!r}, as in its spec; got {data.task!r}")
        if data.name != self.name:
            raise AssertionError(f"name: expected {self.name!r}, as in its spec; got {data.name!r}")
        if task == "classification" and len(np.unique(data.y)) < 2:
            raise AssertionError("y: expected at least two classes; got one")

    def test_determinism(self) -> None:
        """Every load gives the same rows in the same order; no global generator is drawn from."""
        found = []
        for seed in SEEDS:
            with global_seed(seed):
                found.append(self.load())
        for field in ARRAYS:
            one, other = (getattr(data, field) for data in found)
            if (one is None) != (other is None):
                raise AssertionError(f"{field}: expected in every load; got it in one of two")
            if one is not None:
                require_same(other, one, f"{field} of a second load")

    def test_other_processes(self) -> None:
        """Another process, in which sets and hashes have another order, gets the same rows."""
        expected = fingerprint(self.load())
        seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
        found = self._elsewhere(seed)
        if found is not None and found != expected:
            raise AssertionError(
                f"expected the same rows in a process with PYTHONHASHSEED={seed}; got others, or "
                "another order: does it go through a set, or list a folder unsorted?"
            )

    def _elsewhere(self, hash_seed: str) -> str | None:
        """What another process loads; None where it cannot, as for a module made in a test."""
        done = subprocess.run(
            [sys.executable, "-c", _ELSEWHERE.format(path=sys.path, target=self.spec.target)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=False,
        )
        lines = [line for line in done.stdout.splitlines() if line.startswith("fingerprint ")]
        return lines[-1].removeprefix("fingerprint ") if lines and not done.returncode else None

    def test_ownership(self) -> None:
        """Who changes the arrays of one load changes no other's."""
        first = self.load()
        expected = fingerprint(first)
        for field in ARRAYS:
            array = getattr(first, field)
            if array is not None and array.flags.writeable:
                array[...] = array[:1].copy()
        if fingerprint(self.load()) != expected:
            raise AssertionError(
                "expected the arrays of a second load as they were; got what was written into the "
                "first's: return copies, or arrays that cannot be written to"
            )

    def test_trains(self) -> None:
        """A model of its task trains on its first rows."""
        data = self.load()
        for spec in registry.specs("model"):
            model = spec.load()
            if (
                spec.task == data.task
                and not model.takes_images_only
                and not model_is_binary(model)
            ):
                break
        else:
            skip(f"no model for {data.task} is installed")
        rows = _some_of_each(data)
        trained = model(epochs=1, device=self.device).fit(data.X[rows], data.y[rows])
        loss = trained.history_[-1]["train"]["loss"]
        if not np.isfinite(loss):
            raise AssertionError(f"expected a finite loss of {spec.name}; got {loss}")


def model_is_binary(model: Any) -> bool:
    """Whether it takes two classes only."""
    return bool(getattr(model, "binary_only", False))


def fingerprint(data: Dataset) -> str:
    """A digest of every array's dtype, shape and values."""
    digest = hashlib.sha256()
    for field in ARRAYS:
        array = getattr(data, field)
        if array is not None:
            digest.update(f"{field} {array.dtype} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _some_of_each(data: Dataset) -> Any:
    """Numbers of the first rows; of each class the first ones too."""
    rows = set(range(min(ROWS, len(data.X))))
    if data.task == "classification":
        for label in np.unique(data.y):
            rows.update(np.flatnonzero(data.y == label)[:3].tolist())
    return np.array(sorted(rows))


@contextlib.contextmanager
def _offline(asked: list[str]) -> Iterator[None]:
    """No connection is made; whom one was asked of is noted."""

    def refuse(_socket: Any, address: Any, *_: Any) -> Any:
        asked.append(str(address))
        raise OSError("the network is off while a dataset is checked")

    def unresolved(host: Any, *_: Any, **__: Any) -> Any:
        asked.append(str(host))
        raise OSError("the network is off while a dataset is checked")

    before = socket.socket.connect, socket.getaddrinfo
    socket.socket.connect = refuse  # type: ignore[method-assign]
    socket.getaddrinfo = unresolved
    try:
        yield
    finally:
        socket.socket.connect, socket.getaddrinfo = before  # type: ignore[method-assign]
