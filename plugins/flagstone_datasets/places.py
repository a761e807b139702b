"""Where data files are looked for: ``FLAGSTONE_DATA`` first, then the user's cache."""

from __future__ import annotations

import os
from pathlib import Path

from flagstone.errors import ConfigurationError

VARIABLE = "FLAGSTONE_DATA"


def data_directory() -> Path | None:
    """The directory that ``FLAGSTONE_DATA`` names, or None when it is not set.

    Raises ConfigurationError when it names something else.
    """
    value = os.environ.get(VARIABLE)
    if not value:
        return None
    directory = Path(value).expanduser()
    if not directory.is_dir():
        raise ConfigurationError(f"{VARIABLE}={value} is not a directory")
    return directory


def cache_directory() -> Path:
    """Where downloads are kept: the platform's cache directory for ``flagstone``."""
    import platformdirs  # the light entry module of this package is imported by every command

    return Path(platformdirs.user_cache_dir("flagstone", appauthor=False))
