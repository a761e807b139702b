"""From an exception to one line on standard error and an exit code."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Any

import click

from flagstone.cli.output import say
from flagstone.errors import FlagstoneError

DEBUG = "FLAGSTONE_DEBUG"
FAILED, USAGE, INTERRUPTED = 1, 2, 130
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EIO}


def guarded(action: Callable[[], Any]) -> int:
    """Run a command; returns the exit code, having told what went wrong.

    With ``FLAGSTONE_DEBUG=1`` a traceback comes before the line. Warnings, and what is logged about
    work that takes its time, such as a download, are told as lines too.
    """
    with warnings.catch_warnings(), _telling_the_log():
        warnings.showwarning = _show_warning
        try:
            result = action()
            sys.stdout.flush()
        except BrokenPipeError:  # the reader, such as head, has seen enough
            _discard_standard_output()
            return FAILED
        except (click.Abort, KeyboardInterrupt) as error:
            notes = getattr(error.__cause__ or error, "__notes__", ())  # click hides the cause
            say(" ".join(["interrupted", *notes]))
            return INTERRUPTED
        except click.exceptions.Exit as done:
            return done.exit_code
        except Exception as error:  # noqa: BLE001 - the last resort; all are told
            if isinstance(error, OSError) and error.errno in FULL and error.filename is None:
                _discard_standard_output()  # every file of ours has its own message
                say(f"error: standard output: cannot be written: {error.strerror}")
                return FAILED
            return _told(error)
    return result if isinstance(result, int) else 0


class _Teller(logging.Handler):
    """Says what is logged."""

    def emit(self, record: logging.LogRecord) -> None:
        say(_one_line(record.getMessage()))


@contextlib.contextmanager
def _telling_the_log() -> Iterator[None]:
    """Say what is logged under "flagstone", from INFO on."""
    logger, teller = logging.getLogger("flagstone"), _Teller()
    level = logger.level
    logger.addHandler(teller)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(teller)
        logger.setLevel(level)


def _told(error: Exception) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return USAGE
    if debugging():
        traceback.print_exception(error)
    if isinstance(error, click.ClickException):
        say(f"error: {_usage(error)}{_where_help_is(error)}")
        return error.exit_code
    if isinstance(error, FlagstoneError):
        say(f"error: {_one_line(str(error))}")
        return error.exit_code
    where = "".join(f" {note}" for note in getattr(error, "__notes__", ()))
    text = f"unexpected {type(error).__name__}{where}: {_one_line(str(error)) or 'no message'}"
    hint = "" if debugging() else f"; set {DEBUG}=1 to see where it comes from"
    say(f"error: {text}{hint}")
    return FAILED


def debugging() -> bool:
    """Whether tracebacks are wanted."""
    return os.environ.get(DEBUG, "") not in ("", "0")


def _one_line(message: str) -> str:
    return " ".join(message.split())


def _usage(error: click.ClickException) -> str:
    if isinstance(error, click.NoSuchOption):  # click names every option that is at all alike
        near = get_close_matches(error.option_name, error.possibilities or (), n=1, cutoff=0.7)
        nearest = f" Did you mean {near[0]!r}?" if near else ""
        return f"no such option {error.option_name!r}.{nearest}"
    message = _one_line(error.format_message())
    return message[:1].lower() + message[1:]


def _where_help_is(error: click.ClickException) -> str:
    ctx = getattr(error, "ctx", None)
    return f" (see {ctx.command_path} --help)" if ctx is not None else ""


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    say(f"warning: {_one_line(str(message))}")


def _discard_standard_output() -> None:
    """Point the closed pipe elsewhere, or the interpreter's last flush fails once more."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
