"""``flagstone new``: the project of a plugin that passes its own tests."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from flagstone.cli.scaffold import KINDS, Project


@click.command()
@click.argument("name")
@click.option(
    "--kind", type=click.Choice(list(KINDS)), required=True, help="What the plugin provides."
)
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path),
    help="Where the project goes: a new or empty directory.  [default: NAME]",
)
def new(name: str, kind: str, folder: Path | None) -> None:
    """Make a plugin's project: typed source, tests, a benchmark, and CI that runs them."""
    project = Project(name, kind)
    folder = Path(project.name) if folder is None else folder
    files = project.write(folder)
    where = shlex.quote(str(folder))
    click.echo(f"made {folder}, {len(files)} files: {kind} {project.name!r}; next:")
    click.echo(f"  pip install -e {where}'[dev]'")
    click.echo(f"  pytest {where}")
    click.echo(f"  {project.try_it}")
