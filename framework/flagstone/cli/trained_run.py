"""A run that was trained, opened again to evaluate it or to predict."""

from __future__ import annotations

import math
import shlex
from typing import TYPE_CHECKING, Any

from flagstone.cli.train_options import config_of, spec_of_run
from flagstone.errors import RunError
from flagstone.plugins.specs import WITHOUT_TARGETS
from flagstone.training.run_directory import RunDirectory

if TYPE_CHECKING:
    from flagstone.backend import Backend


class TrainedRun:
    """The directory, what it says, and its model on a device.

    Raises:
        InputError: there is no such run.
        RunError: it has no trained model yet, or a file of it is damaged.
        UnavailableError: the device or the model's plugin is not there.
    """

    def __init__(self, path: str, device: str, precision: str | None = None) -> None:
        from flagstone.backend import open_backend
        from flagstone.estimator import load

        self.directory = RunDirectory.open(path)
        self.config = config_of(self.directory)
        self.about: dict[str, Any] = self.config["run"]
        if not self.directory.model_file.is_file():
            raise RunError(
                f"{path}: has no trained model yet; finish it with "
                f"`flagstone train --resume {shlex.quote(path)}`"
            )
        spec_of_run(self.config["model"], self.directory)
        place = str(open_backend(device).device)
        self.model: Any = load(self.directory.model_file, device=place, precision=precision)
        self.backend: Backend = self.model.layer_.backend

    def __str__(self) -> str:
        return f"{self.config['model']} on {self.backend.device} ({self.backend.describe()})"

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """The columns it was trained on, if they had names."""
        names = self.about.get("features")
        return None if names is None else tuple(names)

    @property
    def target_names(self) -> tuple[str, ...]:
        """The target columns; empty if they had no names."""
        return tuple(self.about.get("targets", ()))

    @property
    def not_features(self) -> tuple[str | int, ...]:
        """The target columns that rows to predict may still hold: by name, and by place for a file
        without a header, where the place is known."""
        target = self.config.get("target")
        last = [] if self.about["task"] in WITHOUT_TARGETS else ["-1"]
        places = last if target is None else str(target).split(",")
        known = (int(p) for p in places if p.strip().removeprefix("-").isdecimal())
        return (*self.target_names, *known)

    @property
    def n_features(self) -> int:
        """Numbers in one row."""
        return math.prod(self.about["shape"])
