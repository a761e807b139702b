"""Times of flagstone's CPU backend beside PyTorch's, alternating in one process.

    FLAGSTONE_DATA=../shared/data python asv_bench/peers.py [--repeats 30] [--threads 2]

For every convolution, and for a training step of the model ``cnn`` on MNIST with batches of 100,
it prints the shortest and the median time of both, the ratio of the shortest times, and the median
and quartiles of the ratios of neighbouring runs. PyTorch's time is that of its faster layout,
NCHW or channels_last. Below 1 flagstone is faster. Alternating puts a busy machine's noise on both.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

import flagstone as fs
from flagstone import data, nn, ops, optim
from flagstone.backend import open_backend

Run = Callable[[], object]

# n, channels, side, outputs, kernel
CONVOLUTIONS = (
    (100, 1, 28, 32, 3),
    (100, 32, 14, 64, 3),
    (100, 64, 7, 128, 3),
    (128, 3, 32, 64, 3),
    (128, 64, 32, 64, 3),
    (32, 256, 14, 256, 3),
    (32, 512, 7, 512, 1),
)
LAYOUTS = (torch.contiguous_format, torch.channels_last)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--repeats", type=int, default=30, help="runs of each")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of both")
    options = parser.parse_args()
    os.environ["FLAGSTONE_NUM_THREADS"] = str(options.threads)
    torch.set_num_threads(options.threads)
    print(f"{open_backend('cpu').describe()}; PyTorch {torch.__version__}")
    print(f"{'':34}{'ours, ms':>16}{'PyTorch, ms':>16}{'ratio':>8}{'median (quartiles)':>22}")
    for shape in CONVOLUTIONS:
        name = "{} x {} x {}², {} of {}²".format(*shape)
        for part, ours, theirs in convolution(*shape):
            report(f"{name} {part}", ours, theirs, options.repeats)
    report("step of cnn on MNIST", *training_step(), options.repeats)


def convolution(
    n: int, c: int, side: int, k: int, kernel: int
) -> list[tuple[str, Run, Sequence[Run]]]:
    """Forward, and forward with the gradients of the weights and (unless c < 4) of the input."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, side, side, c), dtype=np.float32)
    w = rng.standard_normal((k, kernel, kernel, c), dtype=np.float32)
    b = rng.standard_normal(k, dtype=np.float32)
    inner = c >= 4  # images have no gradient
    half = kernel // 2
    tx, tw, tb = fs.tensor(x, device="cpu"), fs.tensor(w, device="cpu"), fs.tensor(b, device="cpu")
    gradient = fs.tensor(np.ones((n, side, side, k), np.float32), device="cpu")

    def forward() -> fs.Tensor:
        return ops.conv2d(tx, tw, tb, padding=half)

    def both() -> None:
        tx.requires_grad, tw.requires_grad, tb.requires_grad = inner, True, True
        forward().backward(gradient)
        tx.grad = tw.grad = tb.grad = None
        tx.requires_grad = tw.requires_grad = tb.requires_grad = False

    peers = [_torch_convolution(x, w, b, half, inner, layout) for layout in LAYOUTS]
    return [
        ("forward", forward, [peer[0] for peer in peers]),
        ("and back", both, [peer[1] for peer in peers]),
    ]


def _torch_convolution(
    x: np.ndarray, w: np.ndarray, b: np.ndarray, half: int, inner: bool, layout: torch.memory_format
) -> tuple[Run, Run]:
    px = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=layout)
    pw = torch.from_numpy(w).permute(0, 3, 1, 2).contiguous(memory_format=layout)
    pb = torch.from_numpy(b)
    leaves = [px, pw, pb] if inner else [pw, pb]

    def forward() -> torch.Tensor:
        with torch.no_grad():
            return torch.nn.functional.conv2d(px, pw, pb, padding=half)

    gradient = torch.ones_like(forward())

    def both() -> None:
        for leaf in leaves:
            leaf.requires_grad_(True)
        y = torch.nn.functional.conv2d(px, pw, pb, padding=half)
        torch.autograd.grad(y, leaves, gradient)
        for leaf in leaves:
            leaf.requires_grad_(False)

    return forward, both


def training_step() -> tuple[Run, list[Run]]:
    """One step of the course's deep network: forward, loss, backward, Adam."""
    mnist = data.load("mnist")
    x = (mnist.X[:100, ..., None] / 255).astype(np.float32)
    labels = mnist.y[:100].astype(np.int64)
    return _our_step(x, labels), [_torch_step(x, labels, layout) for layout in LAYOUTS]


def _our_step(x: np.ndarray, labels: np.ndarray) -> Run:
    layer = fs.model("cnn").build(fs.Spec((28, 28, 1)), fs.Spec((10,)))
    layer.initialize(0, device="cpu", dtype="float32").train()
    optimizer = optim.Adam(layer)
    inputs, targets = fs.tensor(x, device="cpu"), fs.tensor(labels, device="cpu")
    place = fs.tensor(np.zeros(2, np.uint64), device="cpu")
    scale = fs.tensor(np.float32(1 / len(x)), device="cpu")

    def step() -> None:
        with nn.stream_position(place):
            out = layer(inputs)
        optimizer.zero_grad()
        ops.softmax_cross_entropy(out, targets)[0].sum().backward()
        optimizer.step(scale=scale)

    return step


def _torch_step(x: np.ndarray, labels: np.ndarray, layout: torch.memory_format) -> Run:
    layers: list[torch.nn.Module] = []
    for c, k in ((1, 32), (32, 64), (64, 128)):
        layers += [
            torch.nn.Conv2d(c, k, 3, padding=1),
            torch.nn.ReLU(),
            torch.nn.MaxPool2d(2, ceil_mode=True),
            torch.nn.Dropout(0.3),
        ]
    network = torch.nn.Sequential(
        *layers,
        torch.nn.Flatten(),
        torch.nn.Linear(4 * 4 * 128, 625),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.3),
        torch.nn.Linear(625, 10),
    ).to(memory_format=layout)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    images = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=layout)
    targets = torch.from_numpy(labels)

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), targets).backward()
        optimizer.step()

    return step


def report(name: str, ours: Run, theirs: Sequence[Run], repeats: int) -> None:
    """Run all in turn, ``repeats`` times after two to warm up, and print one row."""
    runs = [ours, *theirs]
    times = np.array([[seconds(run) for run in runs] for _ in range(repeats + 2)])[2:] * 1e3
    peer = 1 + int(np.argmin(times[:, 1:].min(axis=0)))
    mine, other = times[:, 0], times[:, peer]
    low, middle, high = statistics.quantiles(mine / other, n=4)
    print(
        f"{name:34}{mine.min():8.2f}{np.median(mine):8.2f}{other.min():8.2f}"
        f"{np.median(other):8.2f}{mine.min() / other.min():8.2f}"
        f"{middle:8.2f} ({low:.2f}-{high:.2f})",
        flush=True,
    )


def seconds(run: Run) -> float:
    time.sleep(0.005)  # or threads of the run before would still spin
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
