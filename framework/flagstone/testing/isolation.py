"""Plugins for one test: registered within a block, unknown before and after."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from flagstone import backend
from flagstone.plugins import Registry, registry


@contextlib.contextmanager
def isolated_plugins(*plugins: object) -> Iterator[Registry]:
    """Within it flagstone's own plugins and these are there, and no others.

    Backends are opened anew inside, so that they ask these plugins for kernels, and what was open
    before is open again after it. Tensors cannot go in or out: they belong to an opened backend.

    Args:
        plugins: modules, or objects with hooks.

    Yields:
        The process's registry.

    Raises:
        PluginError: one is not sound, or wants a name that is taken.
    """
    opened = dict(backend._opened)
    backend._opened.clear()
    try:
        with registry.isolated() as inside:
            for plugin in plugins:
                inside.register(plugin)
            yield inside
    finally:
        backend._opened.clear()
        backend._opened.update(opened)
