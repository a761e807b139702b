"""The directory of one training run: what is in it, and how it survives a crash.

::

    runs/softmax-0001/
        config.toml               what was asked for, resolved; written once
        environment.json          what it ran on first; under "sessions", what it was resumed on
        metrics.jsonl             one line per epoch
        checkpoints/
            last.safetensors      the state after the last epoch
            previous.safetensors  the one before, should the last be damaged
        model.safetensors         the trained model; there once the run is complete
        summary.json              the document that ``flagstone train --json`` prints; likewise

Every file but ``metrics.jsonl`` is replaced as a whole. Lines are appended to that one and
synchronised; a crash can tear only the last, which readers pass over.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import re
import shlex
import shutil
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flagstone.errors import ChecksumError, ConfigurationError, InputError, RunError
from flagstone.training.files import (
    TEMPORARY,
    Arrays,
    PathLike,
    read_arrays,
    sync_directory,
    to_json,
    write_arrays,
    write_atomically,
)

MOST_NAMED = 8  # runs that a message lists


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A state that was read back.

    Attributes:
        arrays, metadata: what :meth:`RunDirectory.save_checkpoint` was given.
        path: the file that held them.
        problem: why an earlier choice was passed over; empty when there was no reason.
    """

    arrays: Arrays
    metadata: dict[str, Any]
    path: Path
    problem: str = ""


class RunDirectory:
    """The files of one run; make one with :meth:`create` or :meth:`open`."""

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        self._made: list[Path] = []  # the directories that create() made, outermost first

    def __str__(self) -> str:
        return os.fspath(self.path)

    def __repr__(self) -> str:
        return f"RunDirectory({str(self)!r})"

    @classmethod
    def create(cls, parent: PathLike, model_name: str, config: Mapping[str, Any]) -> RunDirectory:
        """Make ``parent/MODEL-NNNN`` with the next free number and write its config.

        Any number of processes may do this at once; each gets a number of its own.

        Raises:
            ConfigurationError: the directory cannot be made; nothing is left of it.
        """
        parent = Path(parent)
        try:
            made = _make_missing(parent)
            number = _highest_number(parent, model_name)
            while True:
                number += 1
                path = parent / f"{model_name}-{number:04d}"
                try:
                    path.mkdir()
                    break
                except FileExistsError:
                    continue
        except OSError as error:
            raise _no_place(parent, error) from error
        run = cls(path)
        run._made = [*made, path]
        try:
            (path / "checkpoints").mkdir()
            run.write_config(config)
            sync_directory(parent)
        except BaseException:
            run.discard()
            raise
        return run

    @staticmethod
    def require_place(parent: PathLike) -> None:
        """Raise ConfigurationError where :meth:`create` would; nothing is made."""
        parent = Path(parent)
        there = next(folder for folder in (parent, *parent.absolute().parents) if folder.exists())
        try:
            with tempfile.TemporaryFile(dir=there):
                pass
        except OSError as error:
            raise _no_place(parent, error) from error

    @classmethod
    def open(cls, path: PathLike) -> RunDirectory:
        """The run that ``path`` holds.

        Raises:
            InputError: there is no directory of that name, or it holds no run.
        """
        run = cls(path)
        if run.path.is_file():
            raise InputError(f"{run}: is a file; give a run's directory, such as runs/NAME")
        if not run.path.is_dir():
            raise InputError(f"{run}: no such run directory{_known_runs(run.path)}")
        if not run._config.is_file():
            raise InputError(f"{run}: not a run directory; it has no config.toml")
        return run

    def discard(self) -> None:
        """Remove what :meth:`create` made; nothing happens to a run that was opened."""
        if self._made:
            shutil.rmtree(self.path, ignore_errors=True)
            for parent in reversed(self._made[:-1]):
                with contextlib.suppress(OSError):  # someone else's run is in it by now
                    parent.rmdir()
        self._made = []

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training this run; a killed process lets go by itself.

        Raises:
            RunError: another process holds it.
        """
        try:
            import fcntl
        except ImportError:  # Windows has no lock on a directory
            yield
            return
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunError(f"{self}: another process is training this run") from error
            except OSError:  # a file system without locks: as on Windows
                pass
            yield
        finally:
            os.close(descriptor)

    @property
    def model_file(self) -> Path:
        """Where the trained model is kept; there only once the run is complete."""
        return self.path / "model.safetensors"

    @property
    def is_complete(self) -> bool:
        """Whether the run reached its last epoch and its model was saved."""
        return self._summary.is_file() and self.model_file.is_file()

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is a state to resume from, be it damaged."""
        return any(path.exists() for path in self._checkpoints)

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write ``config.toml``. TOML has no None: leave such keys out."""
        import tomli_w

        write_atomically(self._config, tomli_w.dumps(config))

    def read_config(self) -> dict[str, Any]:
        """What :meth:`write_config` wrote; raises RunError if that cannot be read."""
        try:
            return tomllib.loads(self._config.read_text(encoding="utf-8"))
        except OSError as error:
            raise _unreadable(self._config, error) from error
        except ValueError as error:  # not TOML, not UTF-8
            raise RunError(f"{self._config}: not readable as TOML: {error}") from error

    def reopen(self, config: Mapping[str, Any]) -> None:
        """Make a complete run one that goes on, with another config.

        The summary goes first: killed in between, the run is one that can be resumed as it was.
        """
        try:
            self._summary.unlink(missing_ok=True)
        except OSError as error:
            raise RunError(f"{self._summary}: cannot be removed: {error.strerror}") from error
        self.write_config(config)

    def write_environment(self, environment: Mapping[str, Any]) -> None:
        """Write ``environment.json``; one that is there stays and gets this as a session more."""
        path = self.path / "environment.json"
        document: dict[str, Any] = dict(environment)
        with contextlib.suppress(OSError, ValueError):  # not there, or damaged: written anew
            first = json.loads(path.read_text(encoding="utf-8"))
            document = {**first, "sessions": [*first.get("sessions", []), document]}
        write_atomically(path, to_json(document, indent=2) + "\n")

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write ``summary.json``; call it last, because it makes the run complete."""
        write_atomically(self._summary, to_json(summary, indent=2) + "\n")

    def read_summary(self) -> dict[str, Any]:
        """What :meth:`write_summary` wrote; raises RunError if that cannot be read."""
        try:
            summary: dict[str, Any] = json.loads(self._summary.read_text(encoding="utf-8"))
        except OSError as error:
            raise _unreadable(self._summary, error) from error
        except ValueError as error:
            raise RunError(f"{self._summary}: not readable as JSON: {error}") from error
        return summary

    def append_metrics(self, *rows: Mapping[str, Any]) -> None:
        """Add one line per epoch to ``metrics.jsonl`` and synchronise it."""
        try:
            with self._metrics.open("a", encoding="utf-8", newline="\n") as file:
                file.write("".join(to_json(row) + "\n" for row in rows))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RunError(f"{self._metrics}: cannot be written: {error.strerror}") from error

    def history(self) -> list[dict[str, Any]]:
        """One mapping per epoch, in order; a last line that a crash tore is passed over.

        Raises:
            RunError: a line before the last is not JSON.
        """
        try:
            lines = self._metrics.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _unreadable(self._metrics, error) from error
        rows = []
        for number, line in enumerate(lines[:-1], 1):  # what follows the last newline is torn
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise RunError(f"{self._metrics}, line {number}: not JSON: {error}") from error
        return rows

    def keep_history(self, epochs: int) -> None:
        """Drop a torn last line and what was written after epoch ``epochs``, before resuming."""
        rows = self.history()[:epochs]
        write_atomically(self._metrics, "".join(to_json(row) + "\n" for row in rows))

    def save_checkpoint(self, arrays: Arrays, metadata: Mapping[str, Any]) -> None:
        """Keep a state; the one that was there becomes the previous one.

        Killed at any moment, :meth:`load_checkpoint` finds this state or the one before.
        """
        complete = self.path / "checkpoints" / "next.safetensors"
        write_arrays(complete, arrays, metadata)
        last, previous = self._checkpoints
        try:
            if last.exists():
                os.replace(last, previous)
            os.replace(complete, last)
            sync_directory(last.parent)
        except OSError as error:
            raise RunError(f"{last}: cannot be written: {error.strerror or error}") from error

    def load_checkpoint(self) -> Checkpoint | None:
        """The newest state that is whole, or None when there never was one.

        Raises:
            ChecksumError: there are checkpoints, and all are damaged.
            RunError: there were checkpoints once, and now there are none.
        """
        problems = []
        for path in self._checkpoints:
            if path.exists():
                try:
                    arrays, metadata = read_arrays(path)
                except ChecksumError as error:
                    problems.append(str(error))
                else:
                    return Checkpoint(arrays, metadata, path, "; ".join(problems))
        if problems:
            raise ChecksumError("; ".join(problems) + "; train anew")
        folder = self._checkpoints[0].parent
        # The first epoch is always saved, so a killed process leaves one line without a checkpoint.
        if not folder.is_dir() or self.is_complete or len(self.history()) > 1:
            raise RunError(
                f"{self}: its checkpoints are gone, so it cannot go on; train anew: "
                f"flagstone train --config {shlex.quote(str(self._config))}"
            )
        return None

    def remove_leftovers(self) -> None:
        """Remove files that a killed process had only begun; only under :meth:`locked`."""
        for folder in (self.path, self.path / "checkpoints"):
            for path in folder.glob(f".*{TEMPORARY}"):
                path.unlink(missing_ok=True)

    @property
    def _config(self) -> Path:
        return self.path / "config.toml"

    @property
    def _metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def _summary(self) -> Path:
        return self.path / "summary.json"

    @property
    def _checkpoints(self) -> tuple[Path, Path]:
        folder = self.path / "checkpoints"
        return folder / "last.safetensors", folder / "previous.safetensors"


def _no_place(parent: Path, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"{parent}: a run directory cannot be made here: {error.strerror or error}; "
        "choose another place with --out"
    )


def _make_missing(path: Path) -> list[Path]:
    """Make a directory and those above it; returns the ones that were not there."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    return missing[::-1]


def _highest_number(parent: Path, model_name: str) -> int:
    pattern = re.compile(re.escape(model_name) + r"-(\d{4,})")
    matches = (pattern.fullmatch(entry.name) for entry in parent.iterdir())
    return max((int(match[1]) for match in matches if match), default=0)


def _known_runs(path: Path) -> str:
    with contextlib.suppress(OSError):
        runs = sorted(entry.parent.name for entry in path.parent.glob("*/config.toml"))
        if runs:
            if len(runs) <= MOST_NAMED:
                return f"; {path.parent} holds {', '.join(runs)}"
            near = difflib.get_close_matches(path.name, runs, n=MOST_NAMED, cutoff=0.0)
            return f"; of {len(runs)} runs in {path.parent} the nearest are {', '.join(near)}"
    return ""


def _unreadable(path: Path, error: OSError) -> RunError:
    return RunError(f"{path}: cannot be read: {error.strerror or error}")
