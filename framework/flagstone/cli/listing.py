"""``flagstone models``, ``datasets`` and ``backends``: what is there, and who provides it."""

from __future__ import annotations

from typing import Any

import click

from flagstone.cli.options import json_option
from flagstone.cli.output import emit, table
from flagstone.plugins import Spec, registry


@click.command()
@json_option
def models(as_json: bool) -> None:
    """List the models that can be trained."""
    rows = [{**_row(spec), "task": spec.task} for spec in registry.specs("model")]
    _show("models", ("name", "task", "summary", "provider"), rows, as_json)


@click.command()
@json_option
def datasets(as_json: bool) -> None:
    """List the datasets that have a name."""
    rows = [{**_row(spec), "task": spec.task} for spec in registry.specs("dataset")]
    _show("datasets", ("name", "task", "summary", "provider"), rows, as_json)


@click.command()
@json_option
def backends(as_json: bool) -> None:
    """List the backends, and whether each works here."""
    columns = ("name", "devices", "summary", "provider", "works")
    _show("backends", columns, backend_rows(), as_json)


def backend_rows() -> list[dict[str, Any]]:
    """One row per backend, each asked by its probe; what ``auto`` would take comes first."""
    rows = []
    for spec in sorted(registry.specs("backend"), key=lambda spec: -spec.priority):
        probe = spec.run_probe()
        rows.append(
            {
                **_row(spec),
                "devices": list(spec.devices),
                "works": probe.ok,
                "reason": probe.reason,
                "detail": probe.detail,
            }
        )
    return rows


def _row(spec: Spec) -> dict[str, Any]:
    from importlib.util import find_spec

    provider = spec.provider
    return {
        "name": spec.name,
        "summary": spec.summary,
        "requires": list(spec.requires),
        "missing": [name for name in spec.requires if find_spec(name) is None],
        "provider": "" if provider is None else provider.name,
        "distribution": "" if provider is None else provider.distribution,
        "version": "" if provider is None else provider.version,
    }


def _show(kind: str, columns: tuple[str, ...], rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        emit({kind: rows})
        return
    table(columns, [[_cell(row, column) for column in columns] for row in rows])


def _cell(row: dict[str, Any], column: str) -> str:
    value = row[column]
    if column == "summary" and row["missing"]:
        return f"{value} (needs {', '.join(row['missing'])}, not installed)"
    if column == "works":
        return "yes" if value else f"no: {row['reason']}"
    return ", ".join(value) if isinstance(value, list) else str(value)
