"""The rows of ``peers.py`` beside scikit-learn and Thinc; a library that is not there is left out,
with the reason.

    python asv_bench/other_peers.py [--repeats 10]
"""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Callable, Iterator

import numpy as np

import flagstone as fs
from flagstone import nn, ops, optim

Run = Callable[[], object]
Row = tuple[str, Run, list[Run]]


def rows() -> Iterator[Row]:
    """Name, ours and theirs."""
    for library, make in (("scikit-learn", beside_sklearn), ("Thinc", beside_thinc)):
        try:
            yield from make()
        except ImportError as error:
            print(f"| beside {library}: left out, {error} | | | | |", flush=True)


def beside_sklearn() -> Iterator[Row]:
    """Fits of a table of 100 000 x 50 to the optimum."""
    from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge

    rng = np.random.default_rng(0)
    x = rng.standard_normal((100_000, 50))
    scores = x @ rng.standard_normal(50) / 4 + rng.logistic(size=len(x))
    labels = (scores > 0).astype(int)
    for name, y, l2, theirs in (
        ("linear", scores, 0.0, LinearRegression()),
        ("linear, l2", scores, 1e-3, Ridge(alpha=1e-3 * len(x))),
        ("logistic", labels, 0.0, LogisticRegression(C=np.inf, tol=1e-5)),
    ):
        model = fs.model(name.partition(",")[0], l2=l2, device="cpu")
        yield (
            f"{name}, 100 000 x 50, beside scikit-learn",
            lambda model=model, y=y: model.fit(x, y),
            [lambda theirs=theirs, y=y: theirs.fit(x, y)],
        )


def beside_thinc() -> Iterator[Row]:
    """A step of 784-256-256-10 with Adam, batch 100."""
    from thinc.api import Adam, Relu, Softmax, chain

    rng = np.random.default_rng(0)
    x = rng.standard_normal((100, 784)).astype(np.float32)
    labels = rng.integers(0, 10, 100)
    one_hot = np.eye(10, dtype=np.float32)[labels]
    theirs = chain(Relu(256), Relu(256), Softmax(10))
    theirs.initialize(X=x, Y=one_hot)
    adam = Adam(0.001)

    def their_step() -> None:
        p, backward = theirs.begin_update(x)
        backward((p - one_hot) / np.float32(len(x)))
        theirs.finish_update(adam)

    layer = _mlp()
    layer.initialize(0, device="cpu", dtype="float32")
    optimizer = optim.Adam(layer)
    inputs, targets = fs.tensor(x, device="cpu"), fs.tensor(labels, device="cpu")
    scale = fs.tensor(np.float32(0.01), device="cpu")

    def step() -> None:
        optimizer.zero_grad()
        ops.softmax_cross_entropy(layer(inputs), targets)[0].sum().backward()
        optimizer.step(scale=scale)

    yield "step of 784-256-256-10, Adam, beside Thinc", fs.capture(step), [their_step]


def _mlp() -> nn.Layer:
    sizes = (784, 256, 256, 10)
    layers: list[nn.Layer] = []
    for inner, outer in itertools.pairwise(sizes):
        layers += [nn.Linear(inner, outer), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def main() -> None:
    from peers import report

    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--repeats", type=int, default=10, help="runs of each")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores")
    for row in rows():
        report(*row, options.repeats)


if __name__ == "__main__":
    main()
