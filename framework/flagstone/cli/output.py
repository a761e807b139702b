"""Where words go: results to standard output, everything else to standard error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click


def say(line: str) -> None:
    """Tell people something; never a result."""
    click.echo(line, err=True)


def emit(document: Mapping[str, Any]) -> None:
    """The one JSON document of a command."""
    from flagstone.training.files import to_json

    click.echo(to_json(document, indent=2))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their widest cell, the last one free; a result."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())


def number(value: Any) -> str:
    """A measure as people read it: four significant digits and no false zeros."""
    return "nan" if value is None else f"{value:.4g}"


def measures(metrics: Mapping[str, Any]) -> str:
    """Such as ``loss 0.1034  accuracy 0.9821``."""
    return "  ".join(f"{name} {number(v)}" for name, v in metrics.items())
