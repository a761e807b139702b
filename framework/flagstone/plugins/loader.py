"""Finding the installed plugins, and loading and asking one so that only it can fail."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from flagstone.errors import PluginError
from flagstone.plugins import hookspecs
from flagstone.plugins.guests import importing, quiet_output
from flagstone.plugins.specs import Provider, Spec
from flagstone.plugins.targets import a_type, explain, import_target, with_article

if TYPE_CHECKING:
    import importlib.metadata

    import pluggy

GROUP = "flagstone"
OWN_DISTRIBUTION = "flagstone"
HOOKS = tuple(name for name in vars(hookspecs) if name.startswith("flagstone_"))

SpecT = TypeVar("SpecT", bound=Spec)


@dataclass(eq=False)
class Plugin:
    """One plugin: where it comes from, its hooks, and all that is wrong with it.

    Attributes:
        provider: where it comes from.
        manager: pluggy's view of this plugin alone; ``None`` until it has been loaded.
        disabled: why it was switched off; empty if it was not.
        failures: what broke in it, one line each.
        conflicts: names that it wanted and that belong to others, one line each.
        specs: what it provides, conflicts left out.
    """

    provider: Provider
    manager: pluggy.PluginManager | None = None
    disabled: str = ""
    failures: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    specs: list[Spec] = field(default_factory=list)

    @property
    def is_own(self) -> bool:
        """Whether the project's own distribution brings it."""
        return canonical(self.provider.distribution) == OWN_DISTRIBUTION

    @property
    def problems(self) -> list[str]:
        """Failures, then conflicts; a problem met twice is told once."""
        return list(dict.fromkeys(self.failures + self.conflicts))

    @property
    def hooks(self) -> tuple[str, ...]:
        """The hooks that it implements."""
        return tuple(name for name in HOOKS if self.implements(name))

    @property
    def location(self) -> str:
        """The file of its module once that is imported, else the folder it is installed in."""
        module = sys.modules.get(self.provider.module.partition(":")[0])
        return str(getattr(module, "__file__", None) or self.provider.location)

    def implements(self, hook: str) -> bool:
        """Whether it was loaded and implements ``hook``."""
        return self.manager is not None and bool(getattr(self.manager.hook, hook).get_hookimpls())

    @contextlib.contextmanager
    def isolated(self, doing: str) -> Iterator[None]:
        """Note whatever the block raises as this plugin's failure; Ctrl-C passes.

        What the block prints goes to standard error.
        """
        try:
            with quiet_output():
                yield
        except PluginError as error:
            self.failures.append(str(error))
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a stranger's code, any failure
            self.failures.append(f"{doing} failed: {explain(error)}")

    def load(self) -> None:
        """Import the plugin and check its hooks against ours."""
        with self.isolated(f"importing {self.provider.module}"), importing(self.provider):
            self.adopt(import_target(self.provider.module))

    def adopt(self, plugin: object) -> None:
        """Take ``plugin``, a module or any object with hooks, as this plugin's code.

        Raises:
            PluginError: a hook is unknown, unmarked, or has arguments that the hook is not given;
                or there is no hook at all.
        """
        import pluggy

        manager = pluggy.PluginManager(hookspecs.PROJECT)  # its own, so it can only break itself
        manager.add_hookspecs(hookspecs)
        try:
            manager.register(plugin, name=self.provider.name)
        except pluggy.PluginValidationError as error:
            raise PluginError(_refusal(str(error))) from error
        problems = [*_unknown_hooks(manager, plugin), *_unmarked_hooks(plugin)]
        if not problems and not manager.get_hookcallers(plugin):
            problems = ["it implements no hook: mark functions such as flagstone_models @hookimpl"]
        if problems:
            raise PluginError("; ".join(problems))
        self.manager = manager

    def gather(self, kind: type[SpecT], **arguments: object) -> list[SpecT]:
        """The usable specs that it hands over by the hook of ``kind``; the others are failures.

        Where the hook itself fails, even half-way, nothing of it is taken.
        """
        specs: list[SpecT] = []
        if self.implements(kind.hook):
            with self.isolated(kind.hook):
                for item in self._answers(kind, arguments):
                    if problem := _problem(item, kind):
                        self.failures.append(f"{kind.hook}: {problem}")
                    else:
                        specs.append(replace(item, provider=self.provider))
        return specs

    def call(self, hook: str, **arguments: object) -> list[Any]:
        """What its functions for ``hook`` return, ``None`` left out; raises what they raise."""
        answers: list[Any] = getattr(self.manager.hook, hook)(**arguments) if self.manager else []
        return answers

    def _answers(self, kind: type[SpecT], arguments: dict[str, object]) -> list[SpecT]:
        answers = self.call(kind.hook, **arguments)
        if not answers and not arguments:  # a hook with arguments may have nothing for these
            raise PluginError(
                f"{kind.hook}: it returned None; yield each {kind.__name__}, or return a list"
            )
        for answer in answers:
            if isinstance(answer, str) or not hasattr(type(answer), "__iter__"):
                raise PluginError(
                    f"{kind.hook}: it returned {a_type(answer)}, which is no collection "
                    f"of specs; yield each {kind.__name__}, or return a list"
                )
        return [item for answer in answers for item in answer]


def discover() -> list[Plugin]:
    """The plugins whose entry points are installed: our own first, the rest sorted by name."""
    import importlib.metadata

    plugins: list[Plugin] = []
    seen: set[str] = set()
    for distribution in importlib.metadata.distributions():
        try:
            text = distribution.read_text("entry_points.txt") or ""
        except (OSError, UnicodeDecodeError):
            continue  # nothing says that this project has anything to do with us
        if f"[{GROUP}]" not in text:
            continue
        location = str(distribution.locate_file(""))
        unread = Plugin(Provider(location, "", location=location))
        with unread.isolated("reading its metadata"):
            name, version = distribution.metadata["Name"], distribution.metadata["Version"] or ""
            if not name:
                raise PluginError("a project that is installed here has metadata without a name")
            unread.provider = Provider(name, "", name, version, location)
            first = importlib.metadata.distribution(name)  # the one that import would find
            if canonical(name) not in seen and first.read_text("entry_points.txt") == text:
                seen.add(canonical(name))
                plugins += _plugins_of(distribution, unread.provider)
        if unread.failures:
            plugins.append(unread)
    return in_order(plugins)


def in_order(plugins: list[Plugin]) -> list[Plugin]:
    """The order in which plugins are asked, and so who keeps a name that two want."""
    return sorted(
        plugins, key=lambda p: (not p.is_own, p.provider.name, canonical(p.provider.distribution))
    )


def canonical(distribution: str) -> str:
    """A distribution's name as packaging tools compare it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _plugins_of(distribution: importlib.metadata.Distribution, project: Provider) -> list[Plugin]:
    return [
        Plugin(replace(project, name=point.name, module=point.value.partition("[")[0].strip()))
        for point in distribution.entry_points
        if point.group == GROUP
    ]


def _problem(item: object, kind: type[Spec]) -> str:
    if not isinstance(item, kind):
        return f"expected {with_article(kind.__name__)}; got {a_type(item)}"
    problems = "; ".join(item.problems())
    return f"{kind.kind} {item.name!r}: {problems}" if problems else ""


def _signature(hook: str) -> str:
    return f"{hook}({', '.join(inspect.signature(getattr(hookspecs, hook)).parameters)})"


def _refusal(message: str) -> str:
    """pluggy's several lines as one, with the signature that would do."""
    hook = next((name for name in HOOKS if repr(name) in message), None)
    hint = f"; the hook is {_signature(hook)}" if hook else ""
    in_order = re.sub(r"\{('\w+'(?:, '\w+')*)\}", _sorted_set, " ".join(message.split()))
    return f"wrong hook signature: {in_order}{hint}"


def _sorted_set(written: re.Match[str]) -> str:
    """A set of names as pluggy writes it, in an order that is the same in every process."""
    return f"{{{', '.join(sorted(written[1].split(', ')))}}}"


def _unknown(hook: str) -> str:
    stems = [name.removeprefix("flagstone_") for name in HOOKS]
    near = difflib.get_close_matches(hook.removeprefix("flagstone_"), stems, n=1)
    guess = f"did you mean flagstone_{near[0]}?" if near else f"known: {', '.join(HOOKS)}"
    return f"unknown hook {hook}; {guess}"


def _unknown_hooks(manager: pluggy.PluginManager, plugin: object) -> Iterator[str]:
    """pluggy's ``check_pending``, telling all unknown hooks and what was meant."""
    for caller in manager.get_hookcallers(plugin) or ():
        if not caller.has_spec() and not all(i.optionalhook for i in caller.get_hookimpls()):
            yield _unknown(caller.name)


def _unmarked_hooks(plugin: object) -> Iterator[str]:
    """Functions that are named like hooks but would never be called: the marker was forgotten."""
    for name in dir(plugin):
        if name.startswith("flagstone_"):
            value = inspect.getattr_static(plugin, name)
            function = getattr(value, "__func__", value)
            marked = hasattr(value, "flagstone_impl") or hasattr(function, "flagstone_impl")
            if inspect.isfunction(function) and not marked:
                yield f"{name} is not marked @hookimpl" if name in HOOKS else _unknown(name)
