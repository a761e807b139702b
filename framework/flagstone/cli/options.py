"""Options that several commands share."""

from __future__ import annotations

import click

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
