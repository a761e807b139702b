"""``flagstone predict``: one prediction per row, as CSV."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import click

from flagstone.cli.options import device_option, json_option, naming_device, precision_option
from flagstone.cli.output import say
from flagstone.errors import ConfigurationError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from flagstone.cli.trained_run import TrainedRun


@click.command()
@click.argument("run")
@click.argument("rows", metavar="INPUT")
@click.option("-o", "--output", metavar="FILE", help="Write here, not to standard output.")
@click.option("--proba", is_flag=True, help="A classifier's probabilities: a column per class, "
              "named in a header line.")  # fmt: skip
@device_option
@precision_option
@json_option
def predict(
    run: str, rows: str, output: str | None, proba: bool, device: str, precision: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Predict the rows of INPUT with the model of a run directory RUN.

    INPUT is a .csv, .parquet or .npz file, an image or a folder of images (in the order of their
    names), or - for CSV on standard input. With a header line, columns are taken by name. One line
    is written per row: the label, the number for each target, the cluster, or what the row is
    transformed to.
    """
    from flagstone.cli.trained_run import TrainedRun
    from flagstone.data import read_features
    from flagstone.training.files import require_writable

    if output is not None:
        require_writable(output, "--output")
    with naming_device():
        trained = TrainedRun(run, device, precision)
    if proba and not hasattr(trained.model, "predict_proba"):
        raise ConfigurationError(f"--proba: {trained.config['model']} gives no probabilities")
    X = read_features(
        rows,
        feature_names=trained.feature_names,
        n_features=trained.n_features,
        drop=trained.not_features,
        note=lambda line: say(f"note: {line}"),
    )
    header: list[Any] = []
    if proba:
        predictions = trained.model.predict_proba(X)
        header = trained.model.classes_.tolist()
    else:
        transforms = trained.about["task"] == "transform"
        predictions = trained.model.transform(X) if transforms else trained.model.predict(X)
    if as_json:
        _write(_document(trained, predictions, header), output)
    else:
        _write(_csv(predictions, header), output)
    if output is not None:
        say(f"{trained}: {len(X)} predictions in {output}")


def _document(trained: TrainedRun, predictions: npt.NDArray[np.generic], header: list[Any]) -> str:
    from flagstone.training.files import to_json

    document: dict[str, Any] = {
        "model": trained.config["model"],
        "device": str(trained.backend.device),
        "precision": trained.backend.precision,
        "backend": trained.backend.name,
        "run": str(trained.directory),
    }
    if header:
        document |= {"classes": header, "probabilities": predictions}
    else:
        document["predictions"] = predictions
    return to_json(document, indent=2) + "\n"


def _csv(predictions: npt.NDArray[np.generic], header: list[Any]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if header:
        writer.writerow(header)
    writer.writerows(predictions.reshape(len(predictions), -1).tolist())
    return text.getvalue()


def _write(text: str, output: str | None) -> None:
    if output is None:
        click.echo(text, nl=False)
        return
    from flagstone.training.files import write_atomically

    write_atomically(output, text)
