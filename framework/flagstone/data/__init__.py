"""Data: what a :class:`Dataset` is, how files become one, and how one is split.

``load`` takes the name of a registered dataset or a path; ``read_features`` reads the rows that a
fitted model is to predict; ``split`` chooses the validation rows from the framework's own random
stream. ``read_idx`` and ``read_idx_directory`` are there for plugins that bring datasets.
"""

from __future__ import annotations

from flagstone.data.dataset import Dataset, Task
from flagstone.data.features import read_features
from flagstone.data.idx import read_idx, read_idx_directory
from flagstone.data.loading import load
from flagstone.data.splitting import split

__all__ = ["Dataset", "Task", "load", "read_features", "read_idx", "read_idx_directory", "split"]
