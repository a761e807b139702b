"""Who has which name: the specs of all plugins by kind, the first to claim a name keeping it."""

from __future__ import annotations

from flagstone.plugins.loader import Plugin
from flagstone.plugins.specs import KINDS, Spec


class Tables:
    """The plugins, and kind -> name -> spec for the kinds that have been asked for."""

    def __init__(self) -> None:
        self.plugins: list[Plugin] = []
        self.specs: dict[str, dict[str, Spec]] = {}

    def admit(self, plugin: Plugin) -> None:
        """Load an installed plugin, unless it is off or its name is taken."""
        holder = next((p for p in self.plugins if p.provider.name == plugin.provider.name), None)
        if holder is not None and not (plugin.disabled or plugin.failures):
            plugin.conflicts.append(
                f"the plugin name {plugin.provider.name!r} belongs to {holder.provider}; "
                "rename this one's entry point"
            )
        elif not (plugin.disabled or plugin.failures):
            plugin.load()
        self.plugins.append(plugin)

    def ask(self, kind: str) -> None:
        """Ask every plugin for its specs of ``kind``, once; nothing is imported for the others."""
        if kind not in self.specs:
            self.specs[kind] = {}
            for plugin in self.plugins:
                self._take(plugin, kind)

    def join(self, plugin: Plugin) -> None:
        """Take a loaded plugin, and its specs of the kinds that have been asked for already."""
        self.plugins.append(plugin)
        plugin.specs = []
        for kind in list(self.specs):  # its hooks may look something up, which asks for more
            self._take(plugin, kind)

    def drop(self, plugin: Plugin) -> None:
        """Forget a plugin and what it provides; nothing happens if it is not there."""
        self.plugins = [other for other in self.plugins if other is not plugin]
        for spec in plugin.specs:
            del self.specs[spec.kind][spec.name]

    def _take(self, plugin: Plugin, kind: str) -> None:
        """The plugin's specs of that kind; a name that is taken stays with who has it."""
        for spec in plugin.gather(KINDS[kind]):
            owner = self._owner(spec)
            if owner is None:
                self.specs[kind][spec.name] = spec
                plugin.specs.append(spec)
            else:
                plugin.conflicts.append(conflict(spec, owner))

    def _owner(self, spec: Spec) -> Spec | None:
        claims = set(spec.claims)
        others = self.specs[spec.kind].values()
        return next((other for other in others if claims & set(other.claims)), None)


def conflict(spec: Spec, owner: Spec) -> str:
    """Why ``spec`` was left out: ``owner`` has the name."""
    shared = [name for name in spec.claims if name in owner.claims]
    names = ", ".join(map(repr, shared))
    return f"{spec} left out: {names} belongs to {owner}"
