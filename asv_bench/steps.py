"""What a training step costs: captured, uncaptured, by hand in NumPy, in PyTorch, and through fit.

    python asv_bench/steps.py [--seconds 2] [--threads 2] [--only linear xor softmax mlp]

Every variant of a network takes turns in one process, so a busy machine disturbs all alike. The
table gives the median time of a step, its ratio to the step by hand (by medians, by shortest times,
and the quartiles of the ratios of neighbouring rounds), and the most memory that NumPy and the
variant's own arrays took during a step beyond parameters, states and data. PyTorch's steps are
eager, its Adam fused. ``fit`` runs epochs of the same steps through a trainer; beside it stands a
PyTorch loop that keeps what a trainer keeps: the epoch's loss and measures, read once an epoch.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import gc
import itertools
import os
import platform
import statistics
import time
import tracemalloc
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import flagstone as fs
from flagstone import losses, nn, optim
from flagstone.backend import open_backend
from flagstone.training import Trainer
from flagstone.training.objective import BinaryCrossEntropy, CrossEntropy, SquaredError

Step = Callable[[], object]
F = np.float32


class Variant(NamedTuple):
    """One way to do a step: ``run`` does ``steps`` of them."""

    name: str
    run: Step
    steps: int = 1
    held: int = 0  # bytes of arrays that live on between steps only for the step's sake


# Linear regression on five points


def linear() -> list[Variant]:
    x = np.arange(1, 6, dtype=F)[:, None]
    y = np.array([[3], [1], [2], [5], [4]], F)
    layer = nn.Linear(1, 1).initialize(0, device="cpu")
    w, b = (p.numpy().copy() for p in layer.parameters())
    rate = F(0.01)

    def by_hand() -> float:
        error = x @ w.T
        error += b
        error -= y
        loss = np.dot(error.ravel(), error.ravel()) / 5
        error *= F(2 / 5)
        w_grad, b_grad = error.T @ x, error.sum(axis=0)
        np.subtract(w, rate * w_grad, out=w)
        np.subtract(b, rate * b_grad, out=b)
        return loss

    return [
        Variant("by hand", by_hand),
        *ours(layer, optim.SGD(layer, 0.01), losses.mse, x, y),
        torch_step([1, 1], None, "mse_loss", "SGD", 0.01, x, y),
        *fits(layer, SquaredError(fs.tensor([1.0], device="cpu")), "sgd", x, y, "mse_loss"),
    ]


def xor() -> list[Variant]:
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], F)
    y = np.array([[0], [1], [1], [0]], F)
    layer = nn.Sequential(nn.Linear(2, 10), nn.Sigmoid(), nn.Linear(10, 1))
    layer.initialize(0, device="cpu")
    w1, b1, w2, b2 = (p.numpy().copy() for p in layer.parameters())
    rate = F(0.1)

    def by_hand() -> float:
        h = x @ w1.T
        h += b1
        h = 1 / (1 + np.exp(-h))
        z = h @ w2.T
        z += b2
        loss = (np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z)))).mean()
        dz = 1 / (1 + np.exp(-z))
        dz -= y
        dz *= F(1 / 4)
        w2_grad, b2_grad = dz.T @ h, dz.sum(axis=0)
        dh = dz @ w2
        dh *= h
        dh *= 1 - h
        w1_grad, b1_grad = dh.T @ x, dh.sum(axis=0)
        for p, g in ((w1, w1_grad), (b1, b1_grad), (w2, w2_grad), (b2, b2_grad)):
            np.subtract(p, rate * g, out=p)
        return loss

    loss = losses.binary_cross_entropy_with_logits
    return [
        Variant("by hand", by_hand),
        *ours(layer, optim.SGD(layer, 0.1), loss, x, y),
        torch_step([2, 10, 1], "Sigmoid", "binary_cross_entropy_with_logits", "SGD", 0.1, x, y),
        *fits(layer, BinaryCrossEntropy(), "sgd", x, y, "binary_cross_entropy_with_logits"),
    ]


def softmax() -> list[Variant]:
    x, labels = images()
    layer = nn.Linear(784, 10).initialize(0, device="cpu")
    w, b = (p.numpy().copy() for p in layer.parameters())
    p, w_grad = np.empty((100, 10), F), np.empty((10, 784), F)
    rate, rows = F(0.1), np.arange(100)

    def by_hand() -> float:
        np.matmul(x, w.T, out=p)
        np.add(p, b, out=p)
        np.subtract(p, p.max(axis=1, keepdims=True), out=p)
        np.exp(p, out=p)
        np.divide(p, p.sum(axis=1, keepdims=True), out=p)
        loss = -np.log(p[rows, labels]).mean()
        p[rows, labels] -= 1
        np.multiply(p, F(0.01), out=p)
        np.matmul(p.T, x, out=w_grad)
        np.multiply(w_grad, rate, out=w_grad)
        np.subtract(w, w_grad, out=w)
        np.subtract(b, rate * p.sum(axis=0), out=b)
        return loss

    return [
        Variant("by hand", by_hand, held=p.nbytes + w_grad.nbytes),
        *ours(layer, optim.SGD(layer, 0.1), losses.cross_entropy, x, labels),
        torch_step([784, 10], None, "cross_entropy", "SGD", 0.1, x, labels),
        *fits(layer, CrossEntropy(), "sgd", *many(x, labels), "cross_entropy"),
    ]


def mlp() -> list[Variant]:
    x, labels = images()
    sizes = [784, 256, 256, 10]
    layer = nn.mlp(784, (256, 256), 10).initialize(0, device="cpu")
    hand, held = mlp_by_hand(layer, x, labels)
    return [
        Variant("by hand", hand, held=held),
        *ours(layer, optim.Adam(layer, 1e-3), losses.cross_entropy, x, labels),
        torch_step(sizes, "ReLU", "cross_entropy", "Adam", 1e-3, x, labels),
        *fits(layer, CrossEntropy(), "adam", *many(x, labels), "cross_entropy"),
    ]


def mlp_by_hand(layer: nn.Layer, x: Any, labels: Any) -> tuple[Step, int]:
    """Preallocated arrays, parameters and Adam's states flat, the update in blocks of the cache."""
    shapes = [p.shape for p in layer.parameters()]
    flat = np.concatenate([p.numpy().ravel() for p in layer.parameters()])
    m, v, g = np.zeros_like(flat), np.zeros_like(flat), np.zeros_like(flat)
    ends = np.cumsum([0, *(int(np.prod(shape)) for shape in shapes)])

    def views(of: Any) -> list[Any]:
        return [of[a:b].reshape(s) for a, b, s in zip(ends, ends[1:], shapes, strict=False)]

    w1, b1, w2, b2, w3, b3 = views(flat)
    w1_g, b1_g, w2_g, b2_g, w3_g, b3_g = views(g)
    h1, h2, d1, d2 = (np.empty((100, 256), F) for _ in range(4))
    p = np.empty((100, 10), F)
    block = 16384
    t1, t2 = np.empty(block, F), np.empty(block, F)
    rows = np.arange(100)
    step = 0

    def by_hand() -> float:
        nonlocal step
        np.matmul(x, w1.T, out=h1)
        np.add(h1, b1, out=h1)
        np.maximum(h1, 0, out=h1)
        np.matmul(h1, w2.T, out=h2)
        np.add(h2, b2, out=h2)
        np.maximum(h2, 0, out=h2)
        np.matmul(h2, w3.T, out=p)
        np.add(p, b3, out=p)
        np.subtract(p, p.max(axis=1, keepdims=True), out=p)
        np.exp(p, out=p)
        np.divide(p, p.sum(axis=1, keepdims=True), out=p)
        loss = -np.log(p[rows, labels]).mean()
        p[rows, labels] -= 1
        np.multiply(p, F(0.01), out=p)
        np.matmul(p.T, h2, out=w3_g)
        np.sum(p, axis=0, out=b3_g)
        np.matmul(p, w3, out=d2)
        np.multiply(d2, h2 > 0, out=d2)
        np.matmul(d2.T, h1, out=w2_g)
        np.sum(d2, axis=0, out=b2_g)
        np.matmul(d2, w2, out=d1)
        np.multiply(d1, h1 > 0, out=d1)
        np.matmul(d1.T, x, out=w1_g)
        np.sum(d1, axis=0, out=b1_g)
        step += 1
        root2 = F((1 - 0.999**step) ** 0.5)
        rate = F(1e-3 * root2 / (1 - 0.9**step))
        for at in range(0, flat.size, block):
            part = slice(at, at + block)
            pb, gb, mb, vb = flat[part], g[part], m[part], v[part]
            a, b = t1[: pb.size], t2[: pb.size]
            np.multiply(mb, F(0.9), out=mb)
            np.multiply(gb, F(0.1), out=a)
            np.add(mb, a, out=mb)
            np.multiply(vb, F(0.999), out=vb)
            np.multiply(gb, gb, out=a)
            np.multiply(a, F(0.001), out=a)
            np.add(vb, a, out=vb)
            np.sqrt(vb, out=a)
            np.add(a, F(1e-8) * root2, out=a)
            np.divide(mb, a, out=b)
            np.multiply(b, rate, out=b)
            np.subtract(pb, b, out=pb)
        return loss

    return by_hand, sum(a.nbytes for a in (h1, h2, d1, d2, p, t1, t2))


NETWORKS = {"linear": linear, "xor": xor, "softmax": softmax, "mlp": mlp}
TITLES = {
    "linear": "linear regression, 5 points",
    "xor": "XOR, 2-10-1",
    "softmax": "softmax 784-10, batch 100",
    "mlp": "MLP 784-256-256-10, Adam, batch 100",
}
TARGETS = {  # captured / by hand, uncaptured / by hand, PyTorch / captured
    "linear": (1.3, 3.0, 10.0),
    "xor": (1.3, 3.0, 10.0),
    "softmax": (1.1, 3.0, 3.0),
    "mlp": (1.1, 3.0, 1.2),
}


def images() -> tuple[Any, Any]:
    """A batch of 100 like MNIST's."""
    rng = np.random.default_rng(0)
    x = (rng.random((100, 784)) * (rng.random((100, 784)) < 0.2)).astype(F)
    return x, rng.integers(0, 10, 100)


def many(x: Any, labels: Any) -> tuple[Any, Any]:
    """Twenty batches, so that an epoch of ``fit`` is twenty steps."""
    return np.tile(x, (20, 1)), np.tile(labels, 20)


# Ours


def ours(layer: Any, optimizer: Any, loss: Any, x: Any, y: Any) -> list[Variant]:
    tx, ty = fs.tensor(x, device="cpu"), fs.tensor(y, device="cpu")

    def step(x: fs.Tensor, y: fs.Tensor) -> fs.Tensor:
        optimizer.zero_grad()
        value = loss(layer(x), y)
        value.backward()
        optimizer.step()
        return value

    captured = fs.capture(step, strict=True)
    for _ in range(4):
        captured(tx, ty)
    memory = captured._entries[0][1]._replay.memory
    return [
        Variant("captured", lambda: captured(tx, ty), held=memory),
        Variant("uncaptured", lambda: step(tx, ty)),
    ]


def fits(
    layer: Any, objective: Any, optimizer: str, x: Any, y: Any, torch_loss: str
) -> list[Variant]:
    from flagstone.named import make

    batch = min(100, len(x))
    steps = len(x) // batch
    epochs = max(1, 200 // steps)
    target = y[:, 0].astype(np.int64) if isinstance(objective, BinaryCrossEntropy) else y

    def fit() -> None:
        trainer = Trainer(
            layer, objective, make("optimizer", optimizer, layer, 1e-3), epochs=epochs,
            batch_size=batch,
        )  # fmt: skip
        trainer.fit(x, target)

    return [
        Variant("fit", fit, epochs * steps),
        torch_loop(layer, torch_loss, optimizer, x, y, epochs, batch),
    ]


# PyTorch


def torch_layer(sizes: list[int], activation: str | None) -> Any:
    import torch

    layers: list[Any] = []
    for i, (a, b) in enumerate(itertools.pairwise(sizes)):
        layers.append(torch.nn.Linear(a, b))
        if activation and i < len(sizes) - 2:
            layers.append(getattr(torch.nn, activation)())
    return torch.nn.Sequential(*layers)


def torch_step(
    sizes: list[int], activation: str | None, loss: str, kind: str, lr: float, x: Any, y: Any
) -> Variant:
    import torch

    layer = torch_layer(sizes, activation)
    options = {"fused": True} if kind == "Adam" else {}
    optimizer = getattr(torch.optim, kind)(layer.parameters(), lr, **options)
    tx, ty = torch.from_numpy(x), torch.from_numpy(y)
    function = getattr(torch.nn.functional, loss)

    def step() -> Any:
        optimizer.zero_grad()
        value = function(layer(tx), ty)
        value.backward()
        optimizer.step()
        return value

    return Variant("PyTorch", step)


def torch_loop(
    like: Any, loss: str, optimizer: str, x: Any, y: Any, epochs: int, batch: int
) -> Variant:
    """What ``fit`` does: shuffled batches, sums of loss and measures, read once an epoch."""
    import torch

    shapes = [p.shape for p in like.parameters() if len(p.shape) == 2]
    sizes = [shapes[0][1], *(shape[0] for shape in shapes)]
    layer = torch_layer(sizes, "Sigmoid" if sizes[0] == 2 else "ReLU")
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]
    made = kind(layer.parameters(), 1e-3, **({"fused": True} if optimizer == "adam" else {}))
    tx, ty = torch.from_numpy(x), torch.from_numpy(y)
    function = getattr(torch.nn.functional, loss)
    history: list[list[float]] = []

    def measures(out: Any, target: Any) -> list[Any]:
        if loss == "mse_loss":
            return [((out - target) ** 2).sum(), (out - target).abs().sum()]
        if loss == "cross_entropy":
            return [(out.argmax(1) == target).sum()]
        return [((out > 0) == (target > 0.5)).sum()]

    def epoch() -> None:
        n = len(tx)
        order = torch.randperm(n) if n > batch else None
        totals: list[Any] = []
        for start in range(0, n, batch):
            rows = None if order is None else order[start : start + batch]
            bx, by = (tx, ty) if rows is None else (tx[rows], ty[rows])
            out = layer(bx)
            value = function(out, by)
            made.zero_grad()
            value.backward()
            made.step()
            with torch.no_grad():
                now = [value.detach() * len(bx), *measures(out, by)]
                totals = now if not totals else [a + b for a, b in zip(totals, now, strict=True)]
        history.append([float(total) / n for total in totals])

    def run() -> None:
        for _ in range(epochs):
            epoch()

    return Variant("PyTorch's fit", run, epochs * max(1, len(x) // batch))


# Measuring


def rounds(variants: list[Variant], seconds: float) -> list[list[float]]:
    """Microseconds of a step, variant by variant in every round."""
    repeats = []
    for v in variants:
        v.run()
        started = time.perf_counter()
        v.run()
        repeats.append(max(1, int(0.02 / max(time.perf_counter() - started, 1e-7))))
        for _ in range(repeats[-1]):
            v.run()
    times = []
    gc.disable()
    end = time.perf_counter() + seconds * len(variants)
    while time.perf_counter() < end or len(times) < 5:
        times.append([_time(v, n) for v, n in zip(variants, repeats, strict=True)])
    gc.enable()
    return times


def _time(v: Variant, repeats: int) -> float:
    started = time.perf_counter()
    for _ in range(repeats):
        v.run()
    return (time.perf_counter() - started) / repeats / v.steps * 1e6


def peak(v: Variant) -> float:
    """Kilobytes that a step takes: what it allocates, at its highest, and what it holds on to."""
    if v.name.startswith("PyTorch"):
        return float("nan")  # its allocator is not Python's
    v.run()
    tracemalloc.start()
    v.run()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    v.run()
    most = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    return (most + v.held) / 1024


def report(name: str, seconds: float) -> None:
    variants = NETWORKS[name]()
    times = rounds(variants, seconds)
    columns = {v.name: [row[i] for row in times] for i, v in enumerate(variants)}
    print(f"\n### {TITLES[name]}\n")
    print("| | median, us | shortest, us | over by hand | by shortest | quartiles | memory, kB |")
    print("|---|---|---|---|---|---|---|")
    hand = columns["by hand"]
    for v in variants:
        own = columns[v.name]
        ratios = sorted(a / b for a, b in zip(own, hand, strict=True))
        low, _, high = statistics.quantiles(ratios, n=4)
        print(
            f"| {v.name} | {statistics.median(own):.1f} | {min(own):.1f} "
            f"| {statistics.median(ratios):.2f} | {min(own) / min(hand):.2f} "
            f"| {low:.2f}-{high:.2f} | {'' if v.steps > 1 else f'{peak(v):.0f}'} |"
        )
    over = statistics.median(a / b for a, b in zip(columns["captured"], hand, strict=True))
    eager = statistics.median(a / b for a, b in zip(columns["uncaptured"], hand, strict=True))
    torch = _ratio(columns, "PyTorch", "captured")
    fit = _ratio(columns, "PyTorch's fit", "fit")
    aims = TARGETS[name]
    print(
        f"\ncaptured / by hand {over:.2f} (aim {aims[0]}), uncaptured / by hand {eager:.2f} (aim "
        f"{aims[1]}), PyTorch / captured {torch:.1f}, PyTorch / fit {fit:.1f} (aim {aims[2]})"
    )


def _ratio(columns: dict[str, list[float]], above: str, below: str) -> float:
    return statistics.median(a / b for a, b in zip(columns[above], columns[below], strict=True))


def _processor() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        for line in file:
            if "model name" in line:
                return line.split(":")[1].strip()
    return platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="for each variant")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of both")
    parser.add_argument("--only", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    options = parser.parse_args()
    os.environ["FLAGSTONE_NUM_THREADS"] = str(options.threads)
    import torch

    torch.set_num_threads(options.threads)
    processor = _processor()
    print(
        f"{datetime.date.today()}, {processor}, {os.cpu_count()} cores, {options.threads} threads, "
        f"Python {platform.python_version()}, {open_backend('cpu').describe()}, "
        f"PyTorch {torch.__version__}"
    )
    for name in options.only:
        report(name, options.seconds)


if __name__ == "__main__":
    main()
