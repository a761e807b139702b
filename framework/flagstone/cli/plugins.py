"""``flagstone plugins list``: the story of every plugin, broken ones included."""

from __future__ import annotations

import dataclasses

import click

from flagstone.cli.options import json_option
from flagstone.cli.output import emit, table
from flagstone.plugins import KINDS, ProviderRow, registry


@click.group()
def plugins() -> None:
    """Plugins that are installed."""


@plugins.command("list")
@click.option("--kind", type=click.Choice(sorted(KINDS)), help="Only those that bring this kind.")
@click.option("--where", is_flag=True, help="Show the file or folder of each.")
@json_option
def list_(kind: str | None, where: bool, as_json: bool) -> None:
    """List the plugins: what each provides, or why it does not, and where it comes from."""
    rows = [row for row in registry.providers() if kind is None or _brings(row, kind)]
    if as_json:
        emit({"plugins": [dataclasses.asdict(row) for row in rows]})
        return
    last = "is at" if where else "provides, or what is wrong"
    cells = [
        [
            row.name,
            row.status,
            _source(row),
            row.location if where else row.reason or _provides(row, kind),
        ]
        for row in rows
    ]
    table(("name", "status", "from", last), cells)


def _brings(row: ProviderRow, kind: str) -> bool:
    """Whether it does or, being broken, might: one that was never loaded has told nothing."""
    never_loaded = row.status == "failed" and not row.hooks
    return kind in row.provides or KINDS[kind].hook in row.hooks or never_loaded


def _source(row: ProviderRow) -> str:
    return f"{row.distribution} {row.version}".strip() or "this process"


def _provides(row: ProviderRow, kind: str | None) -> str:
    kinds = row.provides if kind is None else {kind: row.provides.get(kind, ())}
    told = [f"{name}: {', '.join(names)}" for name, names in kinds.items()]
    if kind is None:  # kernels, callbacks, commands: which, depends on what they are asked for
        named = {spec.hook for spec in KINDS.values()}
        told += [hook.removeprefix("flagstone_") for hook in row.hooks if hook not in named]
    return "; ".join(told)
