"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import click
from click.core import ParameterSource

from flagstone.errors import FlagstoneError

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document on standard output."
)
device_option = click.option(
    "--device",
    metavar="DEVICE",
    default="auto",
    envvar="FLAGSTONE_DEVICE",
    help="auto, cpu, cuda, cuda:N or a backend.  [default: auto]",
)


precision_option = click.option(
    "--precision",
    metavar="NAME",
    envvar="FLAGSTONE_PRECISION",
    help="exact, or what else the backend computes in.  [default: what it was trained in]",
)


def device_source(message: str, source: ParameterSource | None) -> str:
    """A message about a device that the environment named says so."""
    if source is ParameterSource.ENVIRONMENT and re.match(r"(unknown )?device\b", message):
        return f"FLAGSTONE_DEVICE: {message.removeprefix('device: ')}"
    return message


@contextmanager
def naming_device() -> Iterator[None]:
    """In a command with ``device_option``: a FlagstoneError of the block names the variable, and
    the option for the precision."""
    source = click.get_current_context().get_parameter_source("device")
    try:
        yield
    except FlagstoneError as error:
        message = re.sub(r"^precision\b", "--precision", device_source(str(error), source))
        error.args = (message.replace("precision='exact'", "--precision exact"),)
        raise
