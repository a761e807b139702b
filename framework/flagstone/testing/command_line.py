"""Running the command ``flagstone`` in this process."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flagstone.errors import UnavailableError


@dataclass(frozen=True)
class CommandResult:
    """How a command line ended.

    Attributes:
        exit_code: 0 done, 1 failed, 2 usage, 3 unavailable, 130 interrupted.
        stdout: the result.
        stderr: everything else.
    """

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The one document that ``--json`` prints."""
        return json.loads(self.stdout)


def run_command(*arguments: str, stdin: str = "") -> CommandResult:
    """Run ``flagstone`` with these arguments, as a shell would.

    Args:
        arguments: one by one, as in ``run_command("train", "softmax", "--data", "iris")``.
        stdin: what it reads.

    Raises:
        UnavailableError: flagstone is importable but not installed, so there is no command.
    """
    main = _command()
    out, err = _pipe(), _pipe()
    before = sys.argv, sys.stdin
    sys.argv = ["flagstone", *arguments]
    sys.stdin = io.TextIOWrapper(io.BytesIO(stdin.encode()), "utf-8")
    code: Any = 0
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("default")  # the command shows warnings, whatever tests do
            main()
    except SystemExit as ended:
        code = ended.code
    finally:
        sys.argv, sys.stdin = before
    exit_code = code if isinstance(code, int) else int(code is not None)
    return CommandResult(exit_code, _read(out), _read(err))


def _command() -> Callable[[], None]:
    for point in importlib.metadata.entry_points(group="console_scripts", name="flagstone"):
        command: Callable[[], None] = point.load()
        return command
    raise UnavailableError("the command flagstone is not installed: pip install flagstone")


def _pipe() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), "utf-8", newline="")


def _read(pipe: io.TextIOWrapper) -> str:
    pipe.flush()
    buffer = pipe.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode()
