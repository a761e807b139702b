"""``flagstone compare``: what differs between runs."""

from __future__ import annotations

import typing

from flagstone.plugins import hookimpl

if typing.TYPE_CHECKING:
    import click


@hookimpl
def flagstone_commands(cli: click.Group) -> None:
    from flagstone_compare.command import main

    cli.add_command(main, "compare")
