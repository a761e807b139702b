"""The command ``flagstone``. Importing this imports nothing; ``main`` does."""

from __future__ import annotations


def main() -> None:
    """Run the command line and exit with its code."""
    from flagstone.cli.app import cli

    cli.main(prog_name="flagstone")
