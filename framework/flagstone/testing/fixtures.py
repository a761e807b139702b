"""pytest's fixtures for a plugin's tests; the only module here that needs pytest.

In a test module, or in ``conftest.py`` for all of them::

    from flagstone.testing.fixtures import command_line, isolated_registry
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flagstone.plugins import Registry
from flagstone.testing.command_line import CommandResult, run_command
from flagstone.testing.isolation import isolated_plugins


@pytest.fixture
def isolated_registry() -> Iterator[Registry]:
    """The registry with flagstone's own plugins; what a test registers is gone after it."""
    with isolated_plugins() as registry:
        yield registry


@pytest.fixture
def command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., CommandResult]:
    """``command_line("train", "softmax", "--data", "iris")``, in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    return run_command
