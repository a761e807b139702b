"""Calling both sides of a refusal."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from flagstone.errors import FlagstoneError

THEIRS = (
    RuntimeError, LookupError, ValueError, TypeError, AssertionError, AttributeError,
    ArithmeticError,
)  # fmt: skip


def _refused(words: str, ours: Callable[[], Any], theirs: Callable[[], Any]) -> None:
    with warnings.catch_warnings(action="ignore"), pytest.raises(THEIRS):
        theirs()
    with pytest.raises(FlagstoneError) as caught:
        ours()
    expected, got, _ = (message := str(caught.value)).partition("got ")
    assert got, message
    assert "expect" in expected, message
    assert re.search(words, expected), message
    assert "\n" not in message


@pytest.fixture
def refused() -> Callable[..., None]:
    """``refused(words, ours, theirs)``: PyTorch's call raises, and ours raises an error of
    flagstone's of one line that says what was expected, with these words, and what was given."""
    return _refused
