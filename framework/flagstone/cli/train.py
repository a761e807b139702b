"""``flagstone train``: everything is checked first, then a run directory is made and filled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
from click.core import ParameterSource

from flagstone.cli.options import json_option
from flagstone.cli.output import emit, say
from flagstone.cli.train_options import TrainCommand

DATA = (
    "A registered dataset, or a path to a .csv, .parquet or .npz file, an IDX directory or a "
    "folder of images by class."
)
RESUME = "Go on with a run that was stopped; --epochs may be raised."
TARGET = "The target column of a file.  [default: last]"


def _complete(kind: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """What a shell offers: the registered names of that kind."""

    def complete(_ctx: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
        from flagstone.plugins import registry

        return [name for name in registry.names(kind) if name.startswith(begun)]

    return complete


@click.command(cls=TrainCommand)
@click.argument("model", required=False, shell_complete=_complete("model"))
@click.option("--data", metavar="DATA", help=DATA, shell_complete=_complete("dataset"))
@click.option("--target", metavar="COLUMN", help=TARGET)
@click.option("--validation", metavar="X", envvar="FLAGSTONE_VALIDATION",
              help="Fraction of the rows to hold out; 0 for none.  "
              "[default: 0.1; 0 below 20 rows]")  # fmt: skip
@click.option("--set", "set_", multiple=True, metavar="NAME=VALUE", help="Any hyper-parameter.")
@click.option("--config", metavar="FILE", help="Settings in TOML; flags come before them.")
@click.option("--out", metavar="DIR", envvar="FLAGSTONE_OUT",
              help="Where run directories are made.  [default: runs]")  # fmt: skip
@click.option("--resume", metavar="RUN", help=RESUME)
@json_option
@click.option("--dry-run", is_flag=True, help="Check everything, make nothing.")
@click.option("--print-config", is_flag=True, help="Print the resolved settings as TOML.")
@click.pass_context
def train(ctx: click.Context, /, resume: str | None, as_json: bool, **_: Any) -> None:
    """Train MODEL on DATA and keep it in a run directory."""
    from flagstone.cli.training_run import TrainingRun

    if resume is not None:
        _resume(ctx, resume, as_json)
        return
    from flagstone.cli.settings import settings_of

    settings = settings_of(ctx)
    if ctx.params["print_config"]:
        _print_config(settings.as_config(), as_json)
        return
    training = TrainingRun.new(settings)
    if ctx.params["dry_run"]:
        training.rehearse()
        say(f"{training}; a dry run, nothing was made")
        if as_json:
            emit(training.plan())
        return
    training.go(as_json)


def _resume(ctx: click.Context, path: str, as_json: bool) -> None:
    from flagstone.cli.hyperparameters import hyperparameters_of
    from flagstone.cli.train_options import PREFIX, chosen_model, given, hyperparameters
    from flagstone.cli.training_run import TrainingRun
    from flagstone.training.run_directory import RunDirectory

    run = RunDirectory.open(path)
    flags = given(ctx, ParameterSource.COMMANDLINE)
    for name, (_, where) in flags.items():
        if name not in ("model", "resume", f"{PREFIX}epochs", "as_json"):
            only = "; only --epochs can be raised" if "epochs" in hyperparameters(ctx) else ""
            raise click.UsageError(f"{where} does not go with --resume{only}.", ctx)
    spec = chosen_model(ctx)
    if spec is None or spec.name != run.read_config().get("model"):
        raise click.UsageError(
            f"{run} is not a run of {ctx.params['model']}; leave MODEL out.", ctx
        )
    epochs = None
    if f"{PREFIX}epochs" in flags:
        epochs = hyperparameters(ctx)["epochs"].parse(*flags[f"{PREFIX}epochs"])
    own = tuple(hyperparameters_of(spec.load()))
    training = TrainingRun.resumed(run, hyperparameters(ctx), own, epochs)
    if training is not None:
        training.go(as_json)
        return
    summary = run.read_summary()
    more = "; raise --epochs to train it further" if "epochs" in hyperparameters(ctx) else ""
    say(f"{run} is complete ({summary['epochs']} epochs){more}")
    if as_json:
        emit(summary)


def _print_config(config: dict[str, Any], as_json: bool) -> None:
    import tomli_w

    if as_json:
        emit(config)
    else:
        click.echo(tomli_w.dumps(config), nl=False)
