"""The group of all commands: flagstone's own, imported when asked for, then those of plugins."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

import click

import flagstone
from flagstone.cli.failures import guarded
from flagstone.cli.output import say
from flagstone.errors import FlagstoneError, UnknownNameError
from flagstone.plugins import registry

COMMANDS = {  # in the order of --help
    "train": "flagstone.cli.train:train",
    "evaluate": "flagstone.cli.evaluate:evaluate",
    "predict": "flagstone.cli.predict:predict",
    "models": "flagstone.cli.listing:models",
    "datasets": "flagstone.cli.listing:datasets",
    "backends": "flagstone.cli.listing:backends",
    "plugins": "flagstone.cli.plugins:plugins",
    "profile": "flagstone.cli.profile:profile",
    "bench": "flagstone.cli.bench:bench",
    "check": "flagstone.cli.check:check",
    "doctor": "flagstone.cli.doctor:doctor",
    "new": "flagstone.cli.new:new",
}


class Application(click.Group):
    """A group that imports a command when it is used, and ends with flagstone's exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The built-in commands in their order, then those of plugins by name."""
        try:
            others = sorted(self._of_plugins(ctx).commands)
        except FlagstoneError as error:  # strict mode: --help works with everything broken
            say(f"warning: commands of plugins are not shown: {error}")
            others = []
        return [*COMMANDS, *others]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported; plugins are asked only for what is not ours."""
        if cmd_name not in COMMANDS:
            return self._of_plugins(ctx).commands.get(cmd_name)
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with flagstone's message for an unknown name."""
        if self.get_command(ctx, args[0]) is None and not ctx.resilient_parsing:
            raise UnknownNameError("command", args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command line. In standalone mode, the default, it exits and never returns."""

        def run() -> Any:
            return super(Application, self).main(
                args=args,
                prog_name=prog_name,
                complete_var=complete_var,
                standalone_mode=False,
                windows_expand_args=windows_expand_args,
                **extra,
            )

        if not standalone_mode:
            return run()
        sys.exit(guarded(run))

    def _of_plugins(self, ctx: click.Context) -> click.Group:
        """The commands that plugins append, asked for once per command line."""
        key = "flagstone.cli.app.of_plugins"
        if key not in ctx.meta:
            group = click.Group(self.name)
            registry.commands(group, reserved=COMMANDS)
            ctx.meta[key] = group
        of_plugins: click.Group = ctx.meta[key]
        return of_plugins


def _disable_plugins(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        registry.disable_third_party()


@click.group(
    "flagstone",
    cls=Application,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Results go to standard output, everything else to standard error. Exit codes: 0 done; "
    "1 the run failed, or --min or --max was not met; 2 usage, data or configuration; 3 a "
    "backend, device or plugin is unavailable; 130 interrupted; 143 ended by SIGTERM.",
)
@click.option(
    "--no-plugins",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_disable_plugins,
    help="Leave out every plugin that is not flagstone's own.",
)
@click.version_option(flagstone.__version__, prog_name="flagstone", message="%(prog)s %(version)s")
def cli() -> None:
    """Train, evaluate and use neural networks and linear models on NumPy or CuPy.

    The first thing to try: flagstone train softmax --data digits
    """
