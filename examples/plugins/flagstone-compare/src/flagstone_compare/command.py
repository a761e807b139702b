"""The command."""

from __future__ import annotations

import json
import tomllib
import typing
from pathlib import Path

import click
from flagstone.errors import InputError

Column = dict[str, str]  # a setting's or a measure's name -> its value in one run


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--all", "everything", is_flag=True, help="Also what is the same in all of them.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def main(runs: tuple[Path, ...], everything: bool, as_json: bool) -> None:
    """Show the settings in which RUNS differ, and their results, side by side."""
    columns = {str(path): read(path) for path in runs}
    names = list(dict.fromkeys(name for column in columns.values() for name in column))
    rows = {name: [column.get(name, "") for column in columns.values()] for name in names}
    if not everything:
        rows = {name: row for name, row in rows.items() if len(set(row)) > 1}
    if as_json:
        document = {
            run: {name: column.get(name) for name in rows} for run, column in columns.items()
        }
        click.echo(json.dumps(document, indent=2))
        return
    table = [["", *columns], *([name, *row] for name, row in rows.items())]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())


def read(path: Path) -> Column:
    """A run's settings, and its measures if it is complete.

    Raises:
        InputError: the directory holds no run.
    """
    try:
        config = tomllib.loads((path / "config.toml").read_text("utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: not a run directory: {error}") from None
    settings = {"model": config["model"], "data": config["data"], **config["parameters"]}
    column = {name: str(value) for name, value in settings.items()}
    summary = path / "summary.json"
    if summary.is_file():
        column.update(_measures(json.loads(summary.read_text("utf-8"))))
    return column


def _measures(summary: dict[str, typing.Any]) -> Column:
    found = {"seconds": f"{summary['seconds']:.4g}"}
    for part, values in summary["metrics"].items():
        found.update({f"{part} {name}": f"{value:.4g}" for name, value in values.items()})
    return found
