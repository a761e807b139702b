"""The command line of ``train``: its options are those of the chosen model.

The model must be known before options can be parsed, so the arguments are looked through once for
it: the name given, else the one in ``--config`` or in the run of ``--resume``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from flagstone.cli.docstrings import summary
from flagstone.cli.hyperparameters import Hyperparameter, hyperparameters_of, written
from flagstone.errors import FlagstoneError, RunError, UnavailableError, UnknownNameError
from flagstone.plugins import ModelSpec, registry
from flagstone.plugins.specs import WITHOUT_TARGETS

if TYPE_CHECKING:
    from flagstone.training.run_directory import RunDirectory

# What nearly every model has: shown by `train --help` without a model. Seed and device are options
# of every run, whether the model has them or not: the split and the backend need them.
RUN_WIDE = {
    "seed": Hyperparameter("seed", int, 0, "Seed of everything random."),
    "device": Hyperparameter("device", str, "auto", "auto, cpu, cuda, cuda:N or a backend."),
}
USUAL = {
    "epochs": Hyperparameter("epochs", int, None, "How many times to go through the data."),
    "batch_size": Hyperparameter("batch_size", int, None, "Examples per step."),
    "lr": Hyperparameter("lr", float, None, "Learning rate."),
}
PREFIX = "hyper_"  # keeps a model's names apart from the command's own
NOT_FROM_ENVIRONMENT = {"data", "debug", "no_plugins", "strict_plugins", "disable_plugins"}
ABOUT = {"task", "shape", "fingerprint"}  # what a run keeps of its data, at least
WRITTEN = {  # hyper-parameters that take a part's name -> the part's kind
    "optimizer": "optimizer",
    "schedule": "schedule",
    "augment": "augmentation",
    "activation": "layer",
    "init": "initializer",
}
NO_OPTION = {"verbose"}  # the command tells how the run goes anyway

_SPEC = "flagstone.cli.train.spec"
_HYPERPARAMETERS = "flagstone.cli.train.hyperparameters"


class TrainCommand(click.Command):
    """A command that has, beside its own options, one for each of the model's hyper-parameters."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Find the model, then parse."""
        try:
            name, source = _model_name(args, super().get_params(ctx))
            if name is not None:
                ctx.meta[_SPEC] = spec = (
                    spec_of_run(name, source) if source else registry.find("model", name)
                )
                ctx.meta[_HYPERPARAMETERS] = {**RUN_WIDE, **hyperparameters_of(spec.load())}
                ctx.info_name = f"{ctx.info_name} {spec.name}"  # whose --help an error names
        except FlagstoneError:
            if not ctx.resilient_parsing:  # completion in a shell must not fail
                raise
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; what the model says of its arguments is told in terms of the options."""
        try:
            return super().invoke(ctx)
        except FlagstoneError as error:
            error.args = (_in_options(str(error), ctx),)
            raise

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The command's own parameters, the model's, and --help last."""
        own = super().get_params(ctx)
        taken = {option for parameter in own for option in parameter.opts}
        known = hyperparameters(ctx).values()
        free = [h for h in known if h.flag not in taken and h.name not in NO_OPTION]
        return [*own[:-1], *(option for h in free for option in _options(h)), own[-1]]

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The two ways to call it."""
        name = ctx.command_path.removesuffix(f" {_name_of(ctx)}")
        model = _name_of(ctx) or "MODEL"
        formatter.write_usage(name, f"{model} --data DATA [OPTIONS]")
        more = " [--epochs N]" if "epochs" in hyperparameters(ctx) else ""
        formatter.write_usage(name, f"--resume RUN{more}", prefix="   or: ")

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The command's text, and what the model is."""
        super().format_help_text(ctx, formatter)
        spec = chosen_model(ctx)
        if spec is None:
            known = ", ".join(registry.names("model")) or "none"
            text = f"MODEL is one of: {known}. `train MODEL --help` lists its own options."
        else:
            text = f"{spec.name}: {summary(spec.load()) or spec.summary or 'no description'}"
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(text)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The command's options, then the model's under a heading of their own."""
        records = [(p, p.get_help_record(ctx)) for p in self.get_params(ctx)]
        spec = chosen_model(ctx)
        words = _words_for(ctx)
        shown = [
            (p, (record[0], words.get(p.name or "", record[1])))
            for p, record in records
            if record and isinstance(p, click.Option)
        ]
        title = f"Hyper-parameters of {spec.name}" if spec else "Hyper-parameters of most models"
        for heading, belongs in (("Options", False), (title, True)):
            rows = [r for p, r in shown if (p.name or "").startswith(PREFIX) is belongs]
            with formatter.section(heading):
                formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Where it says what may be written for the options that take a part's name."""
        known = hyperparameters(ctx)
        kinds = {h.flag: WRITTEN[h.name] for h in known.values() if h.name in WRITTEN}
        if "--optimizer" in kinds:  # an ``init`` of another model is something else
            first, *more = dict.fromkeys(kinds.values())
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text(
                    f"What may be written for {', '.join(kinds)}: flagstone plugins show "
                    f"--kind {first} ({', '.join(more)})."
                )


def _words_for(ctx: click.Context) -> dict[str, str]:
    """Help of the command's own options where the model's kind makes it another."""
    spec, words = chosen_model(ctx), {}
    if spec is not None and spec.task in WITHOUT_TARGETS:
        words["target"] = "Columns of a file that are no features.  [default: none]"
    if "epochs" not in hyperparameters(ctx):
        words["resume"] = "Go on with a run that was stopped."
    return words


def _name_of(ctx: click.Context) -> str:
    spec = chosen_model(ctx)
    return "" if spec is None else spec.name


def chosen_model(ctx: click.Context) -> ModelSpec | None:
    """The model of this command line, once its arguments have been looked through."""
    spec: ModelSpec | None = ctx.meta.get(_SPEC)
    return spec


def hyperparameters(ctx: click.Context) -> Mapping[str, Hyperparameter]:
    """Those of the model, seed and device included; the usual ones while there is no model."""
    found: Mapping[str, Hyperparameter] = ctx.meta.get(_HYPERPARAMETERS, {**USUAL, **RUN_WIDE})
    return found


def given(ctx: click.Context, source: ParameterSource) -> dict[str, tuple[Any, str]]:
    """name -> (value, where it was written), for what came from the flags or the environment; a
    hyper-parameter's name has the prefix ``hyper_``."""
    found: dict[str, tuple[Any, str]] = {}
    for parameter in ctx.command.get_params(ctx):
        name = parameter.name or ""
        if ctx.get_parameter_source(name) is source:
            where = parameter.opts[0]
            if source is ParameterSource.ENVIRONMENT:
                where = str(parameter.envvar)
            value = ctx.params[name]
            if name.startswith(f"no_{PREFIX}"):
                name, value = name.removeprefix("no_"), "false"
            if name in found:
                raise click.UsageError(f"{found[name][1]} and {where} exclude each other.", ctx)
            found[name] = (value, where)
    return found


def _in_options(message: str, ctx: click.Context) -> str:
    """A message with Python's names of hyper-parameters as what sets them on a command line."""
    from flagstone.cli.options import device_source

    def option(name: str) -> str:
        h = hyperparameters(ctx)[name]
        if ctx.get_parameter_source(f"{PREFIX}{name}") is ParameterSource.ENVIRONMENT:
            return f"FLAGSTONE_{name.upper()}"
        return h.flag

    names = "|".join(map(re.escape, hyperparameters(ctx)))
    message = re.sub(
        rf"^(?:\w+: )?({names})(?:(?= must be\b)|:?( expected\b))",
        lambda m: option(m[1]) + (f":{m[2]}" if m[2] else ""),
        message,
    )
    message = re.sub(rf"^\w+: ({names})(?= '[^']*': )", lambda m: option(m[1]), message)
    message = re.sub(
        rf"{_QUOTED}|\b({names})=(?:('[^']*')|\(([^()]*)\))",
        lambda m: m[0] if m[1] is None else f"{_flag(m[1])} {m[2] or _tuple(m[3])}",
        message,
    )
    message = message.replace("Lower lr (", "Lower --lr (")
    return device_source(message, ctx.get_parameter_source(f"{PREFIX}device"))


_QUOTED = (
    r"""(?<!\w)(?:"[^"]*"|'[^']*')"""  # what the user wrote; a word's apostrophe opens nothing
)


def _tuple(items: str) -> str:
    return items.replace(" ", "").rstrip(",")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _options(h: Hyperparameter) -> Iterator[click.Option]:
    help_ = h.help + ("  " if h.help else "")
    default = "" if h.default is None and h.name in USUAL else f"[default: {_shown(h.default)}]"
    variable = None if h.name in NOT_FROM_ENVIRONMENT else f"FLAGSTONE_{h.name.upper()}"
    # A switch may stand alone or have a value; any other option must have one.
    attrs: dict[str, Any] = {"is_flag": False, "flag_value": "true"} if h.is_switch else {}
    yield click.Option(
        [h.flag, f"{PREFIX}{h.name}"],
        metavar=h.metavar,
        help=f"{help_}{default}".strip(),
        envvar=variable,
        type=str,
        **attrs,
    )
    if h.is_switch:
        yield click.Option(
            [f"--no-{h.flag.removeprefix('--')}", f"no_{PREFIX}{h.name}"], is_flag=True, hidden=True
        )


def _shown(default: Any) -> str:
    text = written(default)
    return text if text else '""'


def config_of(run: RunDirectory) -> dict[str, Any]:
    """What a run's ``config.toml`` holds; RunError where it lacks what every run's has."""
    config = run.read_config()
    for name in ("model", "data", "validation", "parameters", "run"):
        if name not in config:
            raise RunError(f"{run}/config.toml: {name!r} is missing")
    if not isinstance(config["run"], dict) or not config["run"].keys() >= ABOUT:
        raise RunError(f"{run}/config.toml: its [run] table is incomplete")
    return config


def spec_of_run(name: str, run: object) -> ModelSpec:
    """The spec of a run's model; UnavailableError where it is gone: it was there once."""
    try:
        return registry.find("model", name)
    except UnknownNameError:
        raise UnavailableError(
            f"{run}: a run of the model {name!r}, which no plugin provides now; install the "
            f"plugin it was trained with. {registry.hint()}".rstrip()
        ) from None


def _model_name(args: Sequence[str], own: Sequence[click.Parameter]) -> tuple[str | None, str]:
    """The model's name, and the run of ``--resume`` where that is what says it."""
    words, values = _look_through(args, own)
    names = registry.names("model")
    # A word after an unknown option is that option's value, unless it names a model.
    candidates = [word for word, is_value in words if word in names or not is_value]
    if candidates:
        return next((word for word in candidates if word in names), candidates[0]), ""
    if "--resume" in values:
        from flagstone.training.run_directory import RunDirectory

        run = RunDirectory.open(values["--resume"])
        return str(config_of(run)["model"]), str(run)
    if "--config" in values:
        from flagstone.cli.settings import read_config_file

        model = read_config_file(values["--config"]).get("model")
        return (None if model is None else str(model)), ""
    return None, ""


def _look_through(
    args: Sequence[str], own: Sequence[click.Parameter]
) -> tuple[list[tuple[str, bool]], dict[str, str]]:
    """The words that are no option, each with whether an unknown option stands before it; and the
    values of the command's own options."""
    takes_value = {h.flag: True for h in (*USUAL.values(), *RUN_WIDE.values())} | {
        opt: not getattr(p, "is_flag", False)
        for p in own
        if isinstance(p, click.Option)
        for opt in p.opts
    }
    words: list[tuple[str, bool]] = []
    values: dict[str, str] = {}
    waiting, after_unknown = "", False
    for place, arg in enumerate(args):
        if waiting:
            values[waiting], waiting = arg, ""
        elif arg == "--":
            words += [(word, False) for word in args[place + 1 :]]
            break
        elif arg.startswith("-") and len(arg) > 1:
            option, equals, value = arg.partition("=")
            after_unknown = option not in takes_value and not equals
            if equals:
                values[option] = value
            elif takes_value.get(option, False):
                waiting = option
        else:
            words.append((arg, after_unknown))
            after_unknown = False
    return words, values
