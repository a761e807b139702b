"""Checking a plugin that is written for one test."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flagstone.ops import ALL_OPS
from flagstone.testing import isolated_plugins, run_command

HEADER = """
import random
import numpy as np
import flagstone as fs
from dataclasses import dataclass
from flagstone import losses, nn, ops
from flagstone.plugins import *
"""


class Checked:
    """What ``flagstone check planted --json`` said.

    Attributes:
        code: the exit code.
        points: point -> (status, reason).
    """

    def __init__(self, code: int, report: dict[str, Any]) -> None:
        self.code, self.report = code, report
        (self.thing,) = report["checked"]
        self.points = {p["point"]: (p["status"], p["reason"]) for p in self.thing["points"]}

    def of(self, status: str) -> dict[str, str]:
        """Point -> reason of those with that status."""
        return {point: reason for point, (s, reason) in self.points.items() if s == status}


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Checked]]:
    """``check(source, "planted", "--kind", "layer")`` registers the source, and checks it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    ops_before = dict(ALL_OPS)

    def run(source: str, *arguments: str) -> Checked:
        module = "planted_plugin"
        text = HEADER + textwrap.dedent(source)
        (tmp_path / f"{module}.py").write_text(text, encoding="utf-8")
        sys.modules.pop(module, None)
        import importlib

        importlib.invalidate_caches()
        with isolated_plugins(importlib.import_module(module)):
            done = run_command("check", *arguments, "--json", "--device", "cpu")
        assert done.stdout, done.stderr
        return Checked(done.exit_code, done.json)

    yield run
    sys.modules.pop("planted_plugin", None)
    ALL_OPS.clear()
    ALL_OPS.update(ops_before)
