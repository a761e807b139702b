"""``flagstone evaluate``: how good a trained run is, and whether that is good enough."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import click

from flagstone.cli.options import device_option, json_option, naming_device, precision_option
from flagstone.cli.output import emit, number, say
from flagstone.errors import ConfigurationError, InputError, UnknownNameError

if TYPE_CHECKING:
    from flagstone.cli.prepared_data import Pair, PreparedData
    from flagstone.cli.trained_run import TrainedRun

SPLITS = ("test", "validation", "train")
LOWER_IS_BETTER = frozenset({"loss", "log_loss", "mse", "mae", "inertia"})
TABLES = (".csv", ".parquet")


@click.command()
@click.argument("run")
@click.option("--data", metavar="DATA", help="Other data than the run's; all of it, unless it "
              "has a test split.")  # fmt: skip
@click.option("--target", metavar="COLUMN", help="The target column of --data, if it is a file.")
@click.option("--split", type=click.Choice(SPLITS), help="Of the run's own data.  "
              "[default: the first of these that there is]")  # fmt: skip
@click.option("--min", "minimums", multiple=True, metavar="MEASURE=X",
              help="End with exit code 1 if a measure is below X.")  # fmt: skip
@click.option("--max", "maximums", multiple=True, metavar="MEASURE=X",
              help="End with exit code 1 if a measure is above X.")  # fmt: skip
@device_option
@precision_option
@json_option
@click.pass_context
def evaluate(
    ctx: click.Context,
    /,
    run: str,
    data: str | None,
    target: str | None,
    split: str | None,
    minimums: tuple[str, ...],
    maximums: tuple[str, ...],
    device: str,
    precision: str | None,
    as_json: bool,
) -> None:
    """Evaluate the model of a run directory RUN."""
    from flagstone.cli.trained_run import TrainedRun

    least = dict(_bound("--min", text) for text in minimums)
    most = dict(_bound("--max", text) for text in maximums)
    for measure in sorted(least.keys() & LOWER_IS_BETTER):
        raise ConfigurationError(
            f"--min {measure}: of {measure}, lower is better; "
            f"say --max {measure}={least[measure]:g}"
        )
    if data == "-":
        raise InputError(
            "--data -: standard input is not supported here; write the rows to a file and name that"
        )
    if target is not None and data is None:
        raise click.UsageError("--target is for --data.", ctx)
    with naming_device():
        trained = TrainedRun(run, device, precision)
    name, (X, y) = _own(trained, split) if data is None else _given(trained, data, target, split)
    source = data or str(trained.config["data"])
    say(f"{trained}, {os.path.basename(source)}: {len(X)} rows ({name})")
    metrics = trained.model.evaluate(X, y)
    for option, bounds in (("--min", least), ("--max", most)):
        for measure in bounds:
            if measure not in metrics:
                raise UnknownNameError(f"measure in {option}", measure, metrics)
    # A measure that is nan is within no bound.
    low = {m: bound for m, bound in least.items() if not metrics[m] >= bound}
    high = {m: bound for m, bound in most.items() if not metrics[m] <= bound}
    if as_json:
        document = _document(trained, source, name, len(X), metrics)
        limits = {name: b for name, b in (("minimum", least), ("maximum", most)) if b}
        emit({**document, **limits, "passed": not low | high} if limits else document)
    else:
        width = max(map(len, metrics))
        for measure, value in metrics.items():
            click.echo(f"{measure.ljust(width)}  {number(value)}")
    for measure, bound in low.items():
        say(f"error: {measure} is {metrics[measure]:.6g}, below the minimum {bound:g}")
    for measure, bound in high.items():
        say(f"error: {measure} is {metrics[measure]:.6g}, above the maximum {bound:g}")
    if low or high:
        ctx.exit(1)


def _document(
    trained: TrainedRun,
    source: str,
    split: str,
    rows: int,
    metrics: dict[str, float],
) -> dict[str, Any]:
    return {
        "model": trained.config["model"],
        "data": source,
        "split": split,
        "rows": rows,
        "device": str(trained.backend.device),
        "precision": trained.backend.precision,
        "backend": trained.backend.name,
        "metrics": metrics,
        "run": str(trained.directory),
    }


def _own(trained: TrainedRun, split: str | None) -> tuple[str, Pair]:
    """A split of the data that the run was trained on, divided as it was then."""
    from flagstone.cli.prepared_data import prepare, require_same

    config = trained.config
    prepared = prepare(
        config["data"],
        config.get("target"),
        trained.about["task"],
        config["validation"],
        int(config["parameters"]["seed"]),
    )
    require_same(
        prepared,
        trained.about["fingerprint"],
        trained.directory,
        "name it with --data to evaluate on all of it",
    )
    return _choose(prepared, split)


def _choose(prepared: PreparedData, split: str | None) -> tuple[str, Pair]:
    splits = prepared.splits()
    name = split or next(name for name in SPLITS if name in splits)
    if name not in splits:
        raise ConfigurationError(
            f"--split {name}: the run has no {name} rows; it has {', '.join(splits)}"
        )
    return name, splits[name]


def _given(
    trained: TrainedRun, source: str, target: str | None, split: str | None
) -> tuple[str, Pair]:
    """The test split of other data, or else all of it; a split of the run's own, named again."""
    from flagstone.cli.prepared_data import divide, fingerprint
    from flagstone.data import load

    from_run = target is None
    if target is None and source.lower().endswith(TABLES) and trained.target_names:
        target = ",".join(trained.target_names)
    try:
        dataset = load(source, target=target, task=trained.about["task"], min_classes=1)
    except UnknownNameError as error:
        if not (from_run and target and error.kind.startswith("target column")):
            raise
        raise InputError(
            f"{source}: column {error.name!r}, the target that the run was trained on, is missing; "
            f"--target names another. The file has {', '.join(error.known)}"
        ) from None
    if fingerprint(dataset) == trained.about["fingerprint"]:
        config = trained.config
        return _choose(divide(dataset, config["validation"], config["parameters"]["seed"]), split)
    if trained.feature_names is not None and dataset.feature_names is not None:
        dataset = dataset.aligned(trained.feature_names, source)
    if split in ("validation", "train"):
        raise ConfigurationError(f"--split {split}: --data has none; leave --split out")
    if dataset.X_test is not None and dataset.y_test is not None:
        return "test", (dataset.X_test, dataset.y_test)
    if split is not None:
        raise ConfigurationError(f"--split test: {source} has no test split; leave --split out")
    return "all", (dataset.X, dataset.y)


def _bound(option: str, text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        bound = float(value)
    except ValueError:
        bound = math.nan
    if math.isnan(bound):  # nothing is below or above it
        example = "accuracy=0.9" if option == "--min" else "loss=0.5"
        raise ConfigurationError(f"{option}: expected MEASURE=X such as {example}; got {text!r}")
    return name.strip().replace("-", "_"), bound
