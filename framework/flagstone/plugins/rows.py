"""The story of one plugin, as ``flagstone plugins list`` tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from flagstone.plugins.specs import KINDS

if TYPE_CHECKING:
    from flagstone.plugins.loader import Plugin

Status = Literal["ok", "failed", "conflict", "disabled"]


@dataclass(frozen=True)
class ProviderRow:
    """The story of one plugin.

    Attributes:
        name: its entry point's name.
        status: ``"ok"``; ``"failed"``: something in it broke; ``"conflict"``: it wants a name that
            belongs to another; ``"disabled"``. What ``provides`` lists works whatever the status.
        reason: why the status is not ``"ok"``.
        distribution, version: of the installed project; empty if registered in this process.
        module: what the entry point names.
        location: the module's file, or, where it was not imported, the project's folder.
        hooks: the hooks that it implements.
        provides: kind -> names.
    """

    name: str
    status: Status
    reason: str
    distribution: str
    version: str
    module: str
    location: str
    hooks: tuple[str, ...]
    provides: dict[str, tuple[str, ...]]


def row_of(plugin: Plugin) -> ProviderRow:
    """What there is to tell of ``plugin`` now."""
    status: Status = "ok"
    if plugin.disabled:
        status = "disabled"
    elif plugin.failures:
        status = "failed"
    elif plugin.conflicts:
        status = "conflict"
    provides = {
        kind: names
        for kind in KINDS
        if (names := tuple(spec.name for spec in plugin.specs if spec.kind == kind))
    }
    return ProviderRow(
        name=plugin.provider.name,
        status=status,
        reason=plugin.disabled or "; ".join(plugin.problems),
        distribution=plugin.provider.distribution,
        version=plugin.provider.version,
        module=plugin.provider.module,
        location=plugin.location,
        hooks=plugin.hooks,
        provides=provides,
    )
