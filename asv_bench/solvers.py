"""Times of linear models to their optimum beside scikit-learn's, alternating in one process.

    python asv_bench/solvers.py [--rows 100000] [--features 50] [--repeats 5]

For three tables (independent columns; correlated ones in different units; nearly collinear ones) it
prints, for ``linear``, ``logistic`` and ``softmax`` of three classes without a penalty and with the
same one, the shortest times of ``fit`` of both, the median of the ratios of neighbouring runs
(below 1 flagstone is faster), and how far the coefficients of both are, at most, from the optimum:
scikit-learn's answer at tolerance 1e-10 (for ``linear``, LAPACK's), in units of standardised
columns, softmax's centred over classes. Ours run at their defaults; scikit-learn's logistic
regression at the loosest of its default tolerance, 1e-4, and the powers of ten below it that brings
its coefficients within 1e-4 of the optimum.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge

import flagstone as fs
from flagstone.backend import open_backend

L2 = 1e-3


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--features", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=5, help="runs of each")
    options = parser.parse_args()
    n, d = options.rows, options.features
    print(f"{datetime.date.today()}, {platform.processor() or platform.machine()}, ", end="")
    print(
        f"{os.cpu_count()} cores, {open_backend('cpu').describe()}, sklearn {sklearn.__version__}"
    )
    print(
        f"{n} x {d}{'':26}{'ours, s':>9}{'theirs':>9}{'ratio':>8}{'ours off by':>14}{'theirs':>10}"
    )
    for kind in ("independent", "correlated", "collinear"):
        x = table(kind, n, d)
        scores = logits(x)
        for name in ("linear", "logistic", "softmax"):
            y = targets(name, scores)
            for l2 in (0.0, L2):
                report(f"{kind}, {name}, l2 {l2:g}", name, x, y, l2, options.repeats)


def table(kind: str, n: int, d: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, d))
    if kind == "correlated":
        x = x @ (np.eye(d) + 0.1 * rng.standard_normal((d, d))) * rng.uniform(0.5, 3.0, d) + 1.0
    elif kind == "collinear":
        x = x + 10.0 * rng.standard_normal((n, 1))
    return x


def logits(x: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(1)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    return z @ rng.standard_normal((x.shape[1], 3)) / 4 + rng.gumbel(size=(len(x), 3))


def targets(name: str, scores: np.ndarray) -> np.ndarray:
    if name == "linear":
        return scores[:, 0]
    return (
        (scores[:, 0] > scores[:, 1]).astype(int) if name == "logistic" else scores.argmax(axis=1)
    )


def report(title: str, name: str, x: np.ndarray, y: np.ndarray, l2: float, repeats: int) -> None:
    """Penalties agree in units of standardised columns, so with one both get those."""
    mean, scale = x.mean(axis=0), x.std(axis=0)
    given = (x - mean) / scale if l2 else x
    if name == "linear" and l2:
        y = (y - y.mean()) / y.std()

    def ours() -> Any:
        return fs.model(name, l2=l2, standardize=True, device="cpu").fit(given, y)

    def theirs(**tight: Any) -> Any:
        return peer(name, l2, len(x), **tight).fit(given, y)

    def off(model: Any) -> float:
        return float(np.abs(centred(model, scale, l2) - optimum).max())

    tight: dict[str, Any] = {} if name == "linear" else {"tol": 1e-10, "max_iter": 10_000}
    optimum = centred(theirs(**tight), scale, l2)
    while (
        tight and tight["tol"] < 5e-5 and off(theirs(**tight | {"tol": tight["tol"] * 10})) < 1e-4
    ):
        tight["tol"] *= 10
    mine, peers = alternating(ours, lambda: theirs(**tight), repeats)
    ratio = statistics.median(a / b for a, b in zip(mine, peers, strict=True))
    print(
        f"{title:38}{min(mine):9.3f}{min(peers):9.3f}{ratio:8.2f}"
        f"{off(ours()):14.1e}{off(theirs(**tight)):10.1e}  {tight.get('tol', 0):.0e}",
        flush=True,
    )


def peer(name: str, l2: float, n: int, **tight: Any) -> Any:
    if name == "linear":
        return Ridge(alpha=n * l2) if l2 else LinearRegression()
    return LogisticRegression(C=1 / (2 * n * l2) if l2 else np.inf, **tight)


def centred(model: Any, scale: np.ndarray, l2: float) -> np.ndarray:
    coef = np.atleast_2d(model.coef_) * (1.0 if l2 else scale)
    return coef - coef.mean(axis=0) if len(coef) > 1 else coef


def alternating(
    ours: Callable[[], Any], theirs: Callable[[], Any], repeats: int
) -> tuple[list[float], list[float]]:
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for run, taken in ((ours, times[0]), (theirs, times[1])):
            start = time.perf_counter()
            run()
            taken.append(time.perf_counter() - start)
    return times


if __name__ == "__main__":
    with warnings.catch_warnings():  # theirs say when a default leaves them short of the optimum
        warnings.simplefilter("ignore")
        main()
