"""Which plugin provides what: look-ups by kind and name, and the story of every plugin.

Entry points are scanned at the first look-up and never before, and plugins are asked for a kind
when something of that kind is first looked up. The functions of this module are the methods of one
process-wide :class:`Registry`; a test makes its own.

Environment, read at the first look-up:
    FLAGSTONE_DISABLE_PLUGINS: names of plugins to leave out, separated by commas.
    FLAGSTONE_NO_PLUGINS: ``1`` leaves out every plugin that is not flagstone's own.
    FLAGSTONE_STRICT_PLUGINS: ``1`` makes any problem of any plugin an error.
"""

from __future__ import annotations

import contextlib
import os
import threading
import warnings
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, overload

from flagstone.errors import PluginError, UnknownNameError
from flagstone.plugins.rows import ProviderRow, row_of
from flagstone.plugins.specs import (
    KINDS,
    BackendSpec,
    CallbackSpec,
    DatasetSpec,
    KernelSpec,
    ModelSpec,
    Provider,
    Spec,
)

if TYPE_CHECKING:
    import click

    from flagstone.plugins.loader import Plugin
    from flagstone.plugins.tables import Tables

DISABLE, NO_PLUGINS, STRICT = (
    "FLAGSTONE_DISABLE_PLUGINS",
    "FLAGSTONE_NO_PLUGINS",
    "FLAGSTONE_STRICT_PLUGINS",
)
OFF = "third-party plugins are off"


class PluginWarning(UserWarning):
    """A plugin failed while a backend was opened or a run was prepared; work goes on without."""


class Registry:
    """Plugins and what they provide. Methods may be called from any thread.

    Args:
        entry_points: the plugins to load; by default those that are installed.
    """

    def __init__(self, entry_points: Iterable[Provider] | None = None) -> None:
        self._entry_points = None if entry_points is None else tuple(entry_points)
        self._third_party = True
        self._registered: dict[str, Plugin] = {}
        self._tables: Tables | None = None
        self._scanning = False
        self._lock = threading.RLock()

    @overload
    def find(self, kind: Literal["backend"], name: str) -> BackendSpec: ...
    @overload
    def find(self, kind: Literal["model"], name: str) -> ModelSpec: ...
    @overload
    def find(self, kind: Literal["dataset"], name: str) -> DatasetSpec: ...
    @overload
    def find(self, kind: str, name: str) -> Spec: ...
    def find(self, kind: str, name: str) -> Spec:
        """The spec of that kind and name.

        Raises:
            UnknownNameError: nobody provides it; names what is near, and plugins with problems.
        """
        specs = self._of_kind(kind)
        if name not in specs:
            raise UnknownNameError(kind, name, specs, self.hint())
        return specs[name]

    @overload
    def specs(self, kind: Literal["backend"]) -> list[BackendSpec]: ...
    @overload
    def specs(self, kind: Literal["model"]) -> list[ModelSpec]: ...
    @overload
    def specs(self, kind: Literal["dataset"]) -> list[DatasetSpec]: ...
    @overload
    def specs(self, kind: str) -> list[Spec]: ...
    def specs(self, kind: str) -> Any:
        """All specs of that kind: flagstone's own first, the rest in the order of their plugins."""
        return list(self._of_kind(kind).values())

    def names(self, kind: str) -> list[str]:
        """The names of that kind, sorted."""
        return sorted(self._of_kind(kind))

    def load(self, kind: str, name: str) -> Any:
        """The object that ``find(kind, name)`` describes; raises what ``find`` and ``load`` do."""
        return self.find(kind, name).load()

    def kernels(self, backend: Any) -> list[KernelSpec]:
        """The kernels that plugins have for ``backend``, one per op, each imported already.

        Left out, with a :class:`PluginWarning`, are those that break, and those for an op that the
        backend or an earlier plugin has a kernel for. ``overrides=True`` replaces the backend's or
        one of the project's own plugins', and a warning says that too, unless it is the project's
        own plugin that replaces.

        Args:
            backend: a ``flagstone.backend.Backend``; its ``name`` and ``kernels`` are read.
        """
        from flagstone.plugins.tables import conflict

        taken: dict[str, KernelSpec] = {}
        ours: set[str] = set()
        replaced: list[KernelSpec] = []
        for plugin in self._plugins():
            known = len(plugin.failures) + len(plugin.conflicts)
            for spec in plugin.gather(KernelSpec, backend=backend):
                if spec.name in taken and not (spec.name in ours and spec.overrides):
                    plugin.conflicts.append(conflict(spec, taken[spec.name]))
                elif spec.name in backend.kernels and not spec.overrides:
                    plugin.conflicts.append(
                        f"kernel {spec.name!r}: backend {backend.name!r} has one; "
                        "to replace it say KernelSpec(..., overrides=True)"
                    )
                else:
                    with plugin.isolated(f"kernel {spec.name!r}"):
                        spec.load()
                        taken[spec.name] = spec
                        if plugin.is_own:
                            ours.add(spec.name)
                        elif spec.name in backend.kernels or spec.name in ours:
                            ours.discard(spec.name)  # the next stranger's is a conflict
                            replaced.append(spec)
            self._tell(plugin, known)
        for spec in replaced:
            warnings.warn(f"{spec} replaces that of backend {backend.name!r}", PluginWarning, 2)
        return list(taken.values())

    def kernel_specs(self, backend: Any) -> list[KernelSpec]:
        """All that plugins say of kernels for ``backend``, used or not; nothing is imported."""
        specs = []
        for plugin in self._plugins():
            specs += plugin.gather(KernelSpec, backend=backend)
        return specs

    def callback_specs(self, run: Any) -> list[CallbackSpec]:
        """What plugins say of the callbacks that they add to ``run``; nothing is made.

        A plugin that breaks is left out with a :class:`PluginWarning`.
        """
        found = []
        for plugin in self._plugins():
            known = len(plugin.failures) + len(plugin.conflicts)
            found += plugin.gather(CallbackSpec, run=run)
            self._tell(plugin, known)
        return found

    def callbacks(self, run: Any) -> list[Any]:
        """The callbacks that plugins add to ``run``, made by calling each target with it.

        One that breaks is left out with a :class:`PluginWarning`.
        """
        made = []
        for plugin in self._plugins():
            known = len(plugin.failures) + len(plugin.conflicts)
            for spec in plugin.gather(CallbackSpec, run=run):
                with plugin.isolated(f"callback {spec.name!r}"):
                    made.append(spec.load()(run))
            self._tell(plugin, known)
        return made

    def commands(self, cli: click.Group, reserved: Iterable[str] = ()) -> dict[str, Provider]:
        """Append the commands of plugins to ``cli``, replacing none.

        Args:
            cli: the group to append to.
            reserved: names that are taken although ``cli`` does not hold them yet.

        Returns:
            The appended commands' names and who provides them.
        """
        import click

        taken = {*cli.commands, *reserved}
        added: dict[str, Provider] = {}
        for plugin in self._plugins():
            group = click.Group(cli.name)
            with plugin.isolated("flagstone_commands"):
                if plugin.implements("flagstone_commands"):
                    plugin.call("flagstone_commands", cli=group)
                for name, command in group.commands.items():
                    if name in taken:
                        owner = added.get(name, "flagstone")
                        plugin.conflicts.append(f"command {name!r} belongs to {owner}")
                    else:
                        cli.add_command(command, name)
                        taken.add(name)
                        added[name] = plugin.provider
        self._raise_if_strict()
        return added

    def providers(self) -> list[ProviderRow]:
        """The story of every plugin, in the order in which they were asked; never raises."""
        with self._lock:
            return [row_of(plugin) for plugin in self._scan(*KINDS).plugins]

    def register(self, plugin: object, name: str | None = None) -> ProviderRow:
        """Add a module, or any object with hooks, as a plugin of this process.

        Args:
            plugin: what implements the hooks; it is asked at once.
            name: the plugin's name; by default its ``__name__``, or its type's.

        Raises:
            PluginError: it is not sound, or wants a name that is taken; nothing is added then.
        """
        from flagstone.plugins.loader import Plugin

        name = name or str(getattr(plugin, "__name__", type(plugin).__name__))
        module = str(getattr(plugin, "__module__", None) or getattr(plugin, "__name__", ""))
        candidate = Plugin(Provider(name, module))
        with self._lock:
            if any(name == other.provider.name for other in self._scan().plugins):
                raise PluginError(f"a plugin named {name!r} is there already; give another name")
            with candidate.isolated(f"registering {name!r}"):
                candidate.adopt(plugin)
            kinds = [kind for kind, spec in KINDS.items() if candidate.implements(spec.hook)]
            tables = self._scan(*kinds)
            with candidate.isolated(f"registering {name!r}"):
                tables.join(candidate)
            if candidate.problems:
                tables.drop(candidate)
                raise PluginError(f"{candidate.provider}: {'; '.join(candidate.problems)}")
            self._registered[name] = candidate
            return row_of(candidate)

    def unregister(self, name: str) -> None:
        """Remove a plugin that was added with :meth:`register`."""
        with self._lock:
            if name not in self._registered:
                raise UnknownNameError("registered plugin", name, self._registered)
            self._scan().drop(self._registered.pop(name))

    def disable_third_party(self) -> None:
        """Leave out all installed plugins but flagstone's own (the command line's --no-plugins)."""
        with self._lock:
            self._third_party = False
            self._tables = None

    @contextlib.contextmanager
    def isolated(self, entry_points: Iterable[Provider] | None = None) -> Iterator[Registry]:
        """Within it this registry knows these plugins only, and forgets what is registered.

        For tests: what the block registers is gone after it.

        Args:
            entry_points: the plugins; by default flagstone's own.
        """
        from flagstone.plugins.loader import discover

        if entry_points is None:
            entry_points = [plugin.provider for plugin in discover() if plugin.is_own]
        before = dict(vars(self))
        vars(self).update(vars(Registry(entry_points)))
        try:
            yield self
        finally:
            vars(self).update(before)

    def _of_kind(self, kind: str) -> dict[str, Spec]:
        if kind not in KINDS:
            raise UnknownNameError("kind", kind, KINDS)
        with self._lock:
            self._raise_if_strict()
            return dict(self._scan(kind).specs[kind])  # a copy: another thread may register

    def _plugins(self) -> list[Plugin]:
        with self._lock:
            self._raise_if_strict()
            return list(self._scan().plugins)

    def _scan(self, *kinds: str) -> Tables:
        """The tables, plugins asked for these kinds. Interrupted, the next call begins anew."""
        with self._lock:
            if self._scanning:  # by this thread: any other waits for the lock
                raise PluginError(
                    "a plugin looked something up while plugins were being collected; "
                    "look up when a spec's target is used, not when its module is imported"
                )
            self._scanning = True
            tables, self._tables = self._tables, None
            try:
                if tables is None:
                    tables = self._collect()
                for kind in kinds:
                    tables.ask(kind)
                self._tables = tables
            finally:
                self._scanning = False
            return tables

    def _collect(self) -> Tables:
        from flagstone.plugins.loader import Plugin, discover, in_order
        from flagstone.plugins.tables import Tables

        plugins = (
            discover()
            if self._entry_points is None
            else in_order([Plugin(provider) for provider in self._entry_points])
        )
        unwanted = {name.strip() for name in os.environ.get(DISABLE, "").split(",")} - {""}
        third_party = self._third_party and not _is_set(NO_PLUGINS)
        tables = Tables()
        for plugin in plugins:
            if plugin.provider.name in unwanted:
                plugin.disabled = f"named in {DISABLE}"
            elif not (third_party or plugin.is_own):
                plugin.disabled = f"{OFF} (--no-plugins or {NO_PLUGINS})"
            tables.admit(plugin)
        for name in sorted(unwanted - {plugin.provider.name for plugin in plugins}):
            absent = Plugin(Provider(name, ""), disabled=f"named in {DISABLE}, but not installed")
            tables.plugins.append(absent)
        for plugin in self._registered.values():
            tables.join(plugin)
        return tables

    def hint(self) -> str:
        """Why a name may be unknown here: plugins that are off or broken; empty if none is."""
        plugins = self._scan().plugins
        bad = [plugin.provider.name for plugin in plugins if plugin.problems or plugin.disabled]
        hints = []
        if any(plugin.disabled.startswith(OFF) for plugin in plugins):
            how = NO_PLUGINS if self._third_party else "--no-plugins"
            hints.append(f"{how} leaves out plugins that are installed; go without it.")
        if bad:
            hints.append(
                f"Plugins off or with problems: {', '.join(bad)} "
                "(`flagstone plugins list` says why)."
            )
        if self._entry_points is None and not any(plugin.is_own for plugin in plugins):
            hints.append("flagstone itself is not installed, only importable: pip install it.")
        return " ".join(hints)

    def _tell(self, plugin: Plugin, known: int) -> None:
        if len(plugin.failures) + len(plugin.conflicts) > known:
            self._raise_if_strict()
            message = f"{plugin.provider}: {'; '.join(plugin.problems)}; work goes on without it"
            warnings.warn(message, PluginWarning, stacklevel=3)

    def _raise_if_strict(self) -> None:
        if _is_set(STRICT):
            stories = [
                f"{plugin.provider}: {'; '.join(plugin.problems)}"
                for plugin in self._scan(*KINDS).plugins
                if plugin.problems and not plugin.disabled
            ]
            if stories:
                told = "\n  ".join(stories)
                raise PluginError(f"{STRICT} is set, and plugins have problems:\n  {told}")


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "").strip().lower() not in ("", "0", "false", "no", "off")


_process = Registry()

find = _process.find
specs = _process.specs
names = _process.names
load = _process.load
kernels = _process.kernels
kernel_specs = _process.kernel_specs
callback_specs = _process.callback_specs
callbacks = _process.callbacks
commands = _process.commands
providers = _process.providers
register = _process.register
unregister = _process.unregister
hint = _process.hint
disable_third_party = _process.disable_third_party
isolated = _process.isolated
