"""``python -m flagstone.cli``: the command where its script is not on the path."""

from flagstone.cli import main

main()
