"""Where the data that is not in the repository lies, and a network that is not there."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from pathlib import Path

import pytest

SHARED = Path(__file__).parents[4] / "shared" / "data"


@pytest.fixture
def data_home(monkeypatch: pytest.MonkeyPatch) -> Path:
    """FLAGSTONE_DATA, or ``../shared/data`` beside the repository; skips without either."""
    home = Path(os.environ.get("FLAGSTONE_DATA") or SHARED)
    if not home.is_dir():
        pytest.skip(f"the data files are not there: FLAGSTONE_DATA is not set and no {SHARED}")
    monkeypatch.setenv("FLAGSTONE_DATA", str(home))
    return home


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache directory, and no FLAGSTONE_DATA."""
    directory = tmp_path / "cache"
    monkeypatch.setattr("flagstone_datasets.downloads.cache_directory", lambda: directory)
    monkeypatch.delenv("FLAGSTONE_DATA", raising=False)
    return directory


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
