"""``flagstone profile``: where the time and the memory of a training step go."""

from __future__ import annotations

import os
import statistics
from typing import TYPE_CHECKING, Any, cast

import click

from flagstone.cli.options import device_option, json_option, naming_device, precision_option
from flagstone.cli.output import emit, say, table
from flagstone.errors import ConfigurationError, UnknownNameError

if TYPE_CHECKING:
    from flagstone.data import Task
    from flagstone.profiling import Row
    from flagstone.training.profile import ProfileSteps

MANY_EPOCHS = 1_000_000  # it ends by itself when enough steps were seen


@click.command()
@click.argument("what", metavar="RUN|MODEL")
@click.option("--data", metavar="DATA", help="Of a model, or other data than the run's.")
@click.option("--target", metavar="COLUMN", help="The target column of --data, if it is a file.")
@click.option("--set", "set_", multiple=True, metavar="NAME=VALUE", help="Any hyper-parameter.")
@click.option("--steps", type=click.IntRange(1), default=20, show_default=True,
              help="How many steps to measure.")  # fmt: skip
@click.option("--trace", metavar="FILE", help="Write a trace for chrome://tracing or Perfetto.")
@device_option
@precision_option
@json_option
def profile(
    what: str,
    data: str | None,
    target: str | None,
    set_: tuple[str, ...],
    steps: int,
    trace: str | None,
    device: str,
    precision: str | None,
    as_json: bool,
) -> None:
    """Measure training steps of a run's model or of MODEL on DATA; nothing is kept of them."""
    from flagstone.backend import EXACT, open_backend
    from flagstone.cli.prepared_data import prepare
    from flagstone.plugins import registry
    from flagstone.training.files import require_writable
    from flagstone.training.profile import ProfileDone, ProfileSteps

    if trace is not None:
        require_writable(trace, "--trace")
    name, source, column, parameters = _asked(what, data, target)
    if precision is not None:
        parameters = {**parameters, "precision": precision}
    spec = registry.find("model", name)
    with naming_device():
        backend = open_backend(device, parameters.get("precision", EXACT))
    model = _estimator(name, parameters, set_, str(backend.device))
    rows = prepare(source, column, cast("Task", spec.task), 0.0, 0).train
    say(f"{name} on {backend.device} ({backend.describe()}), {os.path.basename(source)}")
    seen = ProfileSteps(steps)
    try:
        model.fit(*rows, callbacks=[seen])
    except ProfileDone:
        document = _document(seen, name, source, backend)
    else:
        raise ConfigurationError(f"profile: {name} was fitted without a step to measure")
    if trace is not None:
        from flagstone.profiling import chrome_trace
        from flagstone.training.files import to_json, write_atomically

        write_atomically(trace, to_json(chrome_trace(seen.calls)))
        say(f"trace of {steps} steps: {trace}")
    if as_json:
        emit(document)
    else:
        _show(document)


def _asked(
    what: str, data: str | None, target: str | None
) -> tuple[str, str, str | None, dict[str, Any]]:
    """Model, data, target and hyper-parameters: of a run, or of a model with its defaults."""
    from flagstone.cli.train_options import config_of, spec_of_run
    from flagstone.plugins import registry
    from flagstone.training.run_directory import RunDirectory

    if os.path.isdir(what):
        run = RunDirectory.open(what)
        config = config_of(run)
        spec_of_run(config["model"], run)
        own = data is None
        return (
            config["model"], config["data"] if data is None else data,
            config.get("target") if own else target, dict(config["parameters"]),
        )  # fmt: skip
    if what not in registry.names("model"):
        raise UnknownNameError("run or model", what, registry.names("model"))
    if data is None:
        raise click.UsageError("a model needs --data.")
    return what, data, target, {}


def _estimator(name: str, parameters: dict[str, Any], set_: tuple[str, ...], device: str) -> Any:
    from flagstone.cli.hyperparameters import hyperparameters_of
    from flagstone.plugins import registry

    made: Any = registry.find("model", name).load()
    known = hyperparameters_of(made)
    values = {k: known[k].accept(v, f"{k} of the run") for k, v in parameters.items() if k in known}
    for text in set_:
        key, _, value = text.partition("=")
        key = key.strip().replace("-", "_")
        if key not in known:
            raise UnknownNameError("hyper-parameter in --set", key, known)
        values[key] = known[key].parse(value, f"--set {key}")
    own = {"device": device, "epochs": MANY_EPOCHS, "patience": None, "validation_fraction": 0.0}
    return made(**{**values, **{key: value for key, value in own.items() if key in known}})


def _document(seen: ProfileSteps, name: str, source: str, backend: Any) -> dict[str, Any]:
    from flagstone.profiling import by

    def rows(found: list[Row]) -> list[dict[str, Any]]:
        return [
            {
                "name": row.name, "calls": round(row.calls, 2), "seconds": row.seconds,
                "bytes": round(row.bytes),
            }
            for row in found
        ]  # fmt: skip

    medians = {key: statistics.median(times) for key, times in seen.seconds.items()}
    return {
        "model": name,
        "data": source,
        "device": str(backend.device),
        "backend": backend.name,
        "precision": backend.precision,
        "batch": seen.batch,
        "parameters": seen.parameters,
        "steps": seen.steps,
        "seconds": medians,
        "not_captured": seen.uncaptured,
        "op_calls": round(len(seen.calls) / seen.steps, 2),
        "launches": seen.launches,
        "peak_bytes": seen.peak,
        "ops": rows(by(lambda c: c.op, seen.calls, seen.steps)),
        "layers": rows(by(lambda c: c.layer or f"({c.phase})", seen.calls, seen.steps)),
        "phases": rows(by(lambda c: c.phase, seen.calls, seen.steps)),
    }


def _show(document: dict[str, Any]) -> None:
    seconds = document["seconds"]
    click.echo(
        f"a step of {document['batch']} examples: {_ms(seconds['uncaptured'])} uncaptured, "
        f"{_ms(seconds['captured'])} captured; {document['op_calls']:g} op calls, "
        f"{_size(document['peak_bytes'])} of arrays at most"
    )
    if document["launches"] is not None:
        click.echo(f"captured, a step is {_launches(document['launches'])}")
    if document["not_captured"]:
        click.echo(f"not captured: {document['not_captured']}")
    total = sum(row["seconds"] for row in document["ops"])
    for key, title in (("phases", "phase"), ("layers", "layer"), ("ops", "op")):
        click.echo()
        table(
            (title, "calls", "time", "share", "made"),
            [
                (
                    row["name"], f"{row['calls']:g}", _ms(row["seconds"]),
                    f"{row['seconds'] / total:.0%}", _size(row["bytes"]),
                )
                for row in document[key]
            ],
        )  # fmt: skip


def _launches(count: float) -> str:
    if count >= 1:
        return f"{count:g} calls" if count > 1 else "1 launch"
    return f"one of {1 / count:g} in a launch" if count else "one of an epoch's in a launch"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3f} ms"


def _size(count: float) -> str:
    return f"{count / 1024:.1f} kB" if count < 1 << 20 else f"{count / (1 << 20):.1f} MB"
