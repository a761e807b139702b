"""The networks of steps.py, each by hand in NumPy, as ours and in PyTorch."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import flagstone as fs
from flagstone import losses, nn, optim
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
    epochs = 5000 if steps == 1 else max(1, 200 // steps)
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
