"""Whether something refuses what it cannot take in words that help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flagstone.errors import FlagstoneError

Errors = type[Exception] | tuple[type[Exception], ...]


def accepts_or_refuses(what: str, action: Callable[[], Any]) -> Exception | None:
    """Run ``action``, which may work, or raise an error of flagstone's in one line.

    Args:
        what: what is tried, for the message.

    Returns:
        The error that it raised, if any.

    Raises:
        AssertionError: it raised anything else.
    """
    try:
        action()
    except FlagstoneError as error:
        require_one_line(what, error)
        return error
    except Exception as error:
        raise AssertionError(
            f"{what}: expected an error of flagstone's (flagstone.errors) that says what was "
            f"expected; got {type(error).__name__}: {' '.join(str(error).split()) or 'no message'}"
        ) from error
    return None


def refuses(what: str, action: Callable[[], Any], errors: Errors, *words: str) -> None:
    """Run ``action``, which must raise one of ``errors``, of flagstone's, with those words.

    Raises:
        AssertionError: it raised nothing, something else, or with other words.
    """
    wanted = errors if isinstance(errors, tuple) else (errors,)
    names = " or ".join(e.__name__ for e in wanted)
    error = accepts_or_refuses(what, action)
    if error is None:
        raise AssertionError(f"{what}: expected {names}; nothing was raised")
    if not isinstance(error, wanted):
        raise AssertionError(f"{what}: expected {names}; got {type(error).__name__}: {error}")
    for word in words:
        if word.lower() not in str(error).lower():
            raise AssertionError(f"{what}: expected a message with {word!r}; got {str(error)!r}")


def require_one_line(what: str, error: Exception) -> None:
    """Raise unless the error has a message, of one line."""
    text = str(error)
    if not text.strip() or "\n" in text:
        raise AssertionError(
            f"{what}: expected a message of one line; got {type(error).__name__}({text!r})"
        )
