"""``flagstone plugins``: the story of every plugin, broken ones included, and what they bring."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from difflib import get_close_matches

import click

from flagstone.cli.describe import INITIALIZER, Described, described, names
from flagstone.cli.describe import KINDS as SHOWN
from flagstone.cli.options import json_option
from flagstone.cli.output import emit, table
from flagstone.errors import PluginError, UnknownNameError
from flagstone.plugins import KINDS, PluginWarning, ProviderRow, registry

KERNELS = "flagstone_kernels"


@click.group()
def plugins() -> None:
    """Plugins that are installed."""


@plugins.command("list")
@click.option("--kind", type=click.Choice(sorted(KINDS)), help="Only those that bring this kind.")
@click.option("--where", is_flag=True, help="Show the file or folder of each.")
@json_option
def list_(kind: str | None, where: bool, as_json: bool) -> None:
    """List the plugins: what each provides, or why it does not, and where it comes from."""
    _ask_for_kernels()
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


def _ask_for_kernels() -> None:
    """Open the backends if a stranger brings kernels: what is wrong with these shows only then."""
    if not any(
        KERNELS in row.hooks and row.distribution != "flagstone" for row in registry.providers()
    ):
        return
    from flagstone.backend import open_backend

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)  # the list tells it
        with contextlib.suppress(PluginError):  # strict mode: what is wrong is known by then
            for name in registry.names("backend"):
                with contextlib.suppress(Exception):  # `flagstone backends` tells what is wrong
                    open_backend(name)


@plugins.command()
@click.argument("name", required=False)
@click.option("--kind", type=click.Choice(SHOWN), help="What NAME is, or all of this kind.")
@json_option
@click.pass_context
def show(ctx: click.Context, name: str | None, kind: str | None, as_json: bool) -> None:
    """Show what NAME is and which options it takes, or what there is of a kind.

    NAME is what a plugin or flagstone itself registers, as it is written on the command line: a
    model, or an optimizer, a schedule, an augmentation, a loss, a layer, an initializer.
    """
    if name is None and kind is None:
        raise click.UsageError("say a NAME, or --kind", ctx)
    kinds = SHOWN if kind is None else (kind,)
    chosen = [(k, each) for k in kinds for each in names(k) if name in (None, each)]
    if not chosen and name is not None:
        known = sorted({each for k in kinds for each in names(k)})
        near = get_close_matches(name, known, n=5)
        raise UnknownNameError(kind or "name", name, near or known, registry.hint())
    shown = [described(*one) for one in chosen]
    if as_json:
        emit({"shown": [one.document() for one in shown]})
    elif name is None:
        rows = [
            [one.name, f"cannot be loaded: {one.problem}" if one.problem else one.summary, one.text]
            for one in shown
        ]
        table(("name", "what it does", "written with its options"), rows)
    else:
        for i, one in enumerate(shown):
            _tell(one, first=not i)


def _tell(one: Described, first: bool) -> None:
    width = min(click.get_current_context().terminal_width or 100, 100)
    formatter = click.HelpFormatter(width=width)
    if not first:
        formatter.write_paragraph()
    source = f", of the plugin {one.provider}" if one.provider else ""
    formatter.write_text(f"{one.name}: {one.kind}{source}")
    formatter.write_text(one.problem or one.about or one.summary)
    if one.options:
        rows = []
        for option in one.options:
            default = "[required]" if option.default is None else f"[default: {option.default}]"
            rows.append((option.name, f"{option.help}  {default}".strip()))
        with formatter.section("Options in Python" if one.kind == INITIALIZER else "Options"):
            formatter.write_dl(rows)
    click.echo(formatter.getvalue(), nl=False)


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
