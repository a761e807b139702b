"""The labs of "Deep Learning Zero To All" as a ladder: same data, network, batch and epochs.

    FLAGSTONE_DATA=... python examples/course_ladder.py [--only 10-1,11-2] [--seeds 3]

prints, for every rung, what the course reports, what we reach (the median over seeds for MNIST)
and the seconds per epoch, as a Markdown table. ``--json FILE`` keeps the figures after every rung
and leaves out those that FILE has already, so that several runs make a whole; ``--table FILE``
prints the table of such a file and trains nothing. ``--quick`` runs every rung on little data, to
see that all of it works; its results mean nothing. What is being trained stands on standard error.
The exit code is 1 if a rung falls below the course's result, 2 if one cannot be run.

Where the course leaves the learning rate at 1e-3, ours falls from there to zero along a cosine. In
10-2 it starts at 5e-3, for weights of standard deviation 1 have a long way to go.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import flagstone as fs
from flagstone import nn
from flagstone.backend import open_backend
from flagstone.training.objective import BinaryCrossEntropy


@dataclass(frozen=True)
class Outcome:
    """What a rung reached, and the seconds that one epoch took."""

    value: float
    seconds: float


@dataclass(frozen=True)
class Settings:
    """What the command line asks for."""

    device: str
    quick: bool
    seed: int


@dataclass(frozen=True)
class Rung:
    """A lab: its number, what it trains, what the course reports, and how we run it."""

    number: str
    what: str
    measure: str
    course: float
    run: Callable[[Settings], Outcome]
    higher_is_better: bool = True
    seeded: bool = False

    def reached(self, value: float) -> bool:
        """Whether ``value`` meets or beats the course's result, in the digits that it gives."""
        digits = max(len(repr(self.course).partition(".")[2]), 2)
        value = round(value, digits)
        return value >= self.course if self.higher_is_better else value <= self.course


# The tables


def line(settings: Settings) -> Outcome:
    """X 1 2 3 -> Y 1 2 3: how far W is from 1 and b from 0."""
    X, y = np.array([[1.0], [2.0], [3.0]]), np.array([1.0, 2.0, 3.0])
    model = fs.model("linear", device=settings.device, seed=settings.seed).fit(X, y)
    return _outcome(model, max(abs(model.coef_[0] - 1.0), abs(model.intercept_)))


def lecture_line(settings: Settings) -> Outcome:
    """The lecture's five points: how far W is from 0.6 and b from 1.2, the least-squares line."""
    data = fs.data.load("line")
    model = fs.model("linear", device=settings.device, seed=settings.seed).fit(data.X, data.y)
    return _outcome(model, max(abs(model.coef_[0] - 0.6), abs(model.intercept_ - 1.2)))


def exam_scores(settings: Settings) -> Outcome:
    """25 rows of exam scores, plain gradient descent on the raw numbers: the cost."""
    data = fs.data.load("exam-scores")
    model = fs.model(
        "linear", lr=1e-5, epochs=2000, standardize=False, device=settings.device
    )  # fmt: skip
    model.fit(data.X, data.y)
    return _outcome(model, model.evaluate(data.X, data.y)["mse"])


def diabetes(settings: Settings) -> Outcome:
    """Logistic regression on the Pima table: training accuracy."""
    data = fs.data.load("pima")
    model = fs.model(
        "logistic", optimizer="sgd", lr=0.01, epochs=10_000, standardize=False,
        device=settings.device,
    )  # fmt: skip
    model.fit(data.X, data.y)
    return _outcome(model, model.score(data.X, data.y))


def zoo(settings: Settings) -> Outcome:
    """Softmax regression on the zoo table: training accuracy."""
    data = fs.data.load("zoo")
    model = fs.model(
        "softmax", optimizer="sgd", lr=0.1, epochs=2000, batch_size=None, standardize=False,
        device=settings.device,
    )  # fmt: skip
    model.fit(data.X, data.y)
    return _outcome(model, model.score(data.X, data.y))


def xor(*hidden: int) -> Callable[[Settings], Outcome]:
    """XOR by sigmoid layers of those widths and one logit, written with layers and a trainer."""

    def run(settings: Settings) -> Outcome:
        X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
        y = np.array([0, 1, 1, 0])
        layers: list[nn.Layer] = []
        width = 2
        for units in hidden:
            layers += [nn.Linear(width, units, init="normal"), nn.Sigmoid()]
            width = units
        layer = nn.Sequential(*layers, nn.Linear(width, 1, init="normal"))
        layer.initialize(settings.seed, device=settings.device)
        trainer = fs.Trainer(
            layer, BinaryCrossEntropy(), fs.optim.SGD(layer, lr=0.1),
            epochs=10_000, batch_size=None, seed=settings.seed,
        )  # fmt: skip
        started = time.perf_counter()
        history = trainer.fit(X, y)
        seconds = (time.perf_counter() - started) / len(history)
        return Outcome(history[-1]["train"]["accuracy"], seconds)

    return run


# MNIST


@dataclass(kw_only=True, eq=False, repr=False)
class SmallCNN(fs.Classifier):
    """The course's first convolutional network (rung 11-1)."""

    epochs: int = 15
    predicts_in = "float32"

    def build(self, inputs: fs.Spec, outputs: fs.Spec) -> nn.Layer:
        side = inputs.shape[0] // 4
        return nn.Sequential(
            nn.Conv2d(inputs.shape[2], 32, 3, padding="same", init="xavier_uniform"),
            nn.MaxPool2d(2),  # before ReLU: the same function, on a quarter of the numbers
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding="same", init="xavier_uniform"),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(side * side * 64, outputs.size, init="xavier_uniform"),
        )


def mnist(
    make: Callable[..., Any], epochs: int, lr: float = 1e-3, **params: Any
) -> Callable[[Settings], Outcome]:
    """55 000 images to train, 10 000 to test, Adam in batches of 100: test accuracy."""

    def run(settings: Settings) -> Outcome:
        model = make(
            epochs=1 if settings.quick else epochs, lr=lr, schedule="cosine", batch_size=100,
            seed=settings.seed, device=settings.device, **params,
        )  # fmt: skip
        (X, y), (X_test, y_test) = _mnist(settings.quick)
        model.fit(X, y)
        return _outcome(model, model.score(X_test, y_test))

    return run


def _mnist(quick: bool) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    data = fs.data.load("mnist")
    train, test = slice(5000, None), slice(None)  # the course holds out the first 5 000
    if quick:
        train, test = slice(0, 500), slice(0, 200)
    assert data.X_test is not None
    assert data.y_test is not None
    return (data.X[train], data.y[train]), (data.X_test[test], data.y_test[test])


def _named(name: str) -> Callable[..., Any]:
    return lambda **params: fs.model(name, **params)


def _ensemble(*, epochs: int, lr: float, schedule: str, batch_size: int, **params: Any) -> Any:
    """Three members, each a deep CNN of a seed of its own, their probabilities averaged.

    They see each image moved by up to two pixels, anew every epoch.
    """
    member = (
        f"cnn(epochs={epochs}, lr={lr}, schedule='{schedule}', batch_size={batch_size}, "
        "augment='translate(pixels=2)')"
    )
    return fs.model("ensemble", member=member, members=3, **params)


def _outcome(model: Any, value: float) -> Outcome:
    return Outcome(float(value), _seconds(model))


def _seconds(model: Any) -> float:
    return statistics.median(epoch["seconds"] for epoch in model.history_)


DEEP = (512, 512, 512, 512)
XAVIER: dict[str, Any] = {"init": "xavier_uniform"}
RUNGS = (
    Rung("02", "line through 3 points", "error of W, b", 0.001, line, higher_is_better=False),
    Rung("02b", "the lecture's 5 points", "error of W, b", 0.001, lecture_line, False),
    Rung("04", "exam scores, 3 -> 1", "cost", 24.72, exam_scores, higher_is_better=False),
    Rung("05", "logistic, diabetes", "train accuracy", 0.7628, diabetes),
    Rung("06", "softmax, zoo", "train accuracy", 1.00, zoo),
    Rung("09", "XOR 2-10-10-10-1", "train accuracy", 1.00, xor(10, 10, 10)),
    Rung("09b", "XOR 2-2-1", "train accuracy", 1.00, xor(2)),
    Rung("10-1", "softmax", "test accuracy", 0.9194, mnist(_named("softmax"), 50), seeded=True),
    Rung("10-2", "784-256-256-10, normal start", "test accuracy", 0.9455,
         mnist(_named("mlp"), 15, lr=5e-3, hidden=(256, 256), init="normal"), seeded=True),
    Rung("10-3", "784-256-256-10, Xavier", "test accuracy", 0.9783,
         mnist(_named("mlp"), 15, hidden=(256, 256), **XAVIER), seeded=True),
    Rung("10-4", "784-512x4-10, Xavier", "test accuracy", 0.9742,
         mnist(_named("mlp"), 15, hidden=DEEP, **XAVIER), seeded=True),
    Rung("10-5", "the same, dropout 0.3", "test accuracy", 0.9804,
         mnist(_named("mlp"), 15, hidden=DEEP, dropout=0.3, **XAVIER), seeded=True),
    Rung("11-1", "CNN, 2 convolutions", "test accuracy", 0.9885, mnist(SmallCNN, 15), seeded=True),
    Rung("11-2", "deep CNN, dropout", "test accuracy", 0.9938,
         mnist(_named("cnn"), 15), seeded=True),
    Rung("11-5", "3 deep CNNs, the course has 7", "test accuracy", 0.9952,
         mnist(_ensemble, 10), seeded=True),
)  # fmt: skip


def main() -> int:
    """Climb the rungs that the command line names."""
    parser = argparse.ArgumentParser(description="The course's labs, with flagstone.")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda:N or a backend's name")
    parser.add_argument("--only", default="", help="rungs by number, comma-separated")
    parser.add_argument("--seeds", type=_positive, default=3, help="of the MNIST rungs (default 3)")
    parser.add_argument("--quick", action="store_true", help="little data; results mean nothing")
    parser.add_argument("--json", type=Path, help="where to keep the figures, rung by rung")
    parser.add_argument("--table", type=Path, help="print the table of such a file; train nothing")
    arguments = parser.parse_args()
    wanted = [n for n in arguments.only.split(",") if n]
    if unknown := set(wanted) - {rung.number for rung in RUNGS}:
        parser.error(f"--only: unknown rung {', '.join(sorted(unknown))}")
    try:
        rows = _figures(arguments)
    except (OSError, ValueError) as error:
        parser.error(f"{arguments.table or arguments.json}: {error}")
    print("| rung | what | measure | course | ours | seeds | seconds per epoch |")
    print("|---|---|---|---|---|---|---|")
    failed = 0
    for rung in RUNGS:
        if wanted and rung.number not in wanted:
            continue
        if rung.number not in rows:
            if arguments.table:
                continue
            try:
                rows[rung.number] = climb(rung, arguments)
            except fs.FlagstoneError as error:  # no data, no such device
                parser.exit(2, f"{rung.number}: {error}\n")
            if arguments.json:
                arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
        failed += not (report(rung, rows[rung.number]) or arguments.quick)
    return 1 if failed else 0


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a positive integer; got {text}")
    return int(text)


def _figures(arguments: argparse.Namespace) -> dict[str, Any]:
    """The rows that there are: of a table to print, or that need not be made again."""
    if not arguments.table and not (arguments.json and arguments.json.exists()):
        return {}
    rows: dict[str, Any] = json.loads((arguments.table or arguments.json).read_text())
    if not arguments.table and any(r.get("quick", False) != arguments.quick for r in rows.values()):
        raise ValueError("full and quick runs do not go into one file")
    return rows


def climb(rung: Rung, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one rung, over its seeds: the figures and what they were measured with."""
    seeds = 1 if arguments.quick or not rung.seeded else arguments.seeds
    outcomes = []
    for seed in range(seeds):
        print(f"rung {rung.number}, {rung.what}: {seed + 1} of {seeds}", file=sys.stderr)
        outcomes.append(rung.run(Settings(arguments.device, arguments.quick, seed)))
    return {
        "quick": arguments.quick,
        "values": [outcome.value for outcome in outcomes],
        "seconds": statistics.median(outcome.seconds for outcome in outcomes),
        "date": datetime.now(UTC).date().isoformat(),
        "backend": open_backend(arguments.device).describe(),
        "processor": processor(),
    }


def report(rung: Rung, row: dict[str, Any]) -> bool:
    """Print a rung's line of the table; whether it reaches the course's result."""
    value = statistics.median(row["values"])
    reached = rung.reached(value)
    print(
        f"| {rung.number} | {rung.what} | {rung.measure} | {rung.course} | "
        f"{value:.4f}{'' if reached else ' (below)'} | "
        f"{', '.join(f'{v:.4f}' for v in row['values']) if rung.seeded else ''} | "
        f"{row['seconds']:.3g} |",
        flush=True,
    )
    return reached


def processor() -> str:
    """What the machine calls its processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "")


if __name__ == "__main__":
    sys.exit(main())
