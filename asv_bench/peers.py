"""Times and memory of flagstone's CPU backend beside PyTorch's, alternating in one process.

    FLAGSTONE_DATA=../shared/data python asv_bench/peers.py [--repeats 30] [--threads 2] [--plain]

For every convolution, for a training step of the model ``cnn`` on MNIST with batches of 100, eager
and captured, and for its predictions, it prints the median time of both, the ratio of the shortest
times, and the median and quartiles of the ratios of neighbouring turns; then the geometric mean
over the convolutions, and the growth of resident memory over five training steps, each in a process
of its own. PyTorch's time is that of its faster layout, NCHW or channels_last. Below 1 flagstone is
the better. Alternating puts a busy machine's noise on both. ``--plain`` leaves out the kernels that
the extra ``fast`` brings.

Threads that have finished a piece of work spin before they sleep: OpenBLAS's for some 30 ms, those
of PyTorch's OpenMP for a few. Whoever comes next shares the cores with them. So each side's turn
begins with 60 ms of sleep, in which the other's threads go to sleep, and calls for 20 ms that are
not timed, which fill the caches and wake its own and the cores, which a virtual machine may have
given away; then calls one behind the other for 10 ms, or one that takes longer, are timed, and
their median is the turn's time.

``asv_bench/steps.py`` measures small steps, ``asv_bench/solvers.py`` tables beside scikit-learn.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import other_peers
import torch

import flagstone as fs
from flagstone import data, nn, ops, optim
from flagstone.backend import open_backend

Run = Callable[[], object]

PAUSE = 0.06  # seconds; longer than any side's threads spin
WARM = 0.02  # seconds of calls that are not timed
TURN = 0.01  # seconds that are timed in a turn
MOST = 20  # calls in a turn

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
    parser.add_argument("--plain", action="store_true", help="without the extra's kernels")
    parser.add_argument("--only", default="", help="rows whose name has this in it")
    parser.add_argument("--grown", choices=GROWN, help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ["FLAGSTONE_NUM_THREADS"] = str(options.threads)
    if options.plain:
        os.environ["FLAGSTONE_DISABLE_PLUGINS"] = "numba"
    torch.set_num_threads(options.threads)
    if options.grown:
        GROWN[options.grown](4)()  # code is loaded and compiled; its arrays are small
        print(grown(GROWN[options.grown](100)))
        return
    kernels = "NumPy's kernels" if options.plain else "all kernels that are installed"
    print(f"{datetime.date.today()}, {processor()}, {options.threads} threads, Python "
          f"{platform.python_version()}, {open_backend('cpu').describe()} ({kernels}), "
          f"PyTorch {torch.__version__}\n")  # fmt: skip
    print("| what | ours, ms | PyTorch, ms | ratio of best | median ratio (quartiles) |")
    print("|---|---|---|---|---|")
    means = []
    for shape in CONVOLUTIONS:
        name = "{} x {} x {}², {} of {}²".format(*shape)
        for part, ours, theirs in convolution(*shape):
            if options.only in f"{name} {part}":
                ratio = report(f"{name} {part}", ours, theirs, options.repeats)
                if part == "and back":
                    means.append(ratio)
    for name, make in ROWS.items():
        if options.only in name:
            report(name, *make(), options.repeats)
    for row in other_peers.rows():
        if options.only in row[0]:
            report(*row, options.repeats)
    if len(means) == len(CONVOLUTIONS):
        mean = float(np.exp(np.mean(np.log(means))))
        print(f"| convolutions, forward and back, geometric mean | | | | {mean:.2f} |")
    if options.only in "memory":
        memory(options)


def memory(options: argparse.Namespace) -> None:
    """Print how much resident memory a training step takes, each side in its own process."""
    found = []
    for side in GROWN:
        command = [sys.executable, __file__, "--grown", side, "--threads", str(options.threads)]
        done = subprocess.run(
            command + ["--plain"] * options.plain, capture_output=True, text=True, check=True
        )
        found.append(float(done.stdout))
    print(f"| memory of a step of cnn, MB | {found[0]:.0f} | {found[1]:.0f} | "
          f"{found[0] / found[1]:.2f} | |")  # fmt: skip


def grown(step: Run) -> float:
    """How many MB more are resident at most during five calls of ``step`` than before the first.

    Read every millisecond, for the peak that the system keeps may have been reached while modules
    were imported.
    """
    before = most = resident()
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.001):
            most = max(most, resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(5):
        step()
        most = max(most, resident())
    done.set()
    watcher.join()
    return (most - before) / 2**20


def resident() -> int:
    """Bytes of this process that are in memory (Linux)."""
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


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


def digits(n: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """``n`` images (n, 28, 28, 1) of MNIST and their labels."""
    mnist = data.load("mnist")
    return (mnist.X[:n, ..., None] / 255).astype(np.float32), mnist.y[:n].astype(np.int64)


def eager_step() -> tuple[Run, list[Run]]:
    """One step of the course's deep network: forward, loss, backward, Adam."""
    return _our_step(*digits()), [_torch_step(*digits(), layout) for layout in LAYOUTS]


def captured_step() -> tuple[Run, list[Run]]:
    """The same, ours captured."""
    return fs.capture(_our_step(*digits())), [_torch_step(*digits(), layout) for layout in LAYOUTS]


def prediction(n: int) -> Callable[[], tuple[Run, list[Run]]]:
    """The network's outputs for ``n`` images, without gradients; ours captured."""

    def make() -> tuple[Run, list[Run]]:
        x, _ = digits(n)
        layer = _our_network().eval()
        inputs = fs.tensor(x, device="cpu")
        ours = fs.capture(lambda images: layer(images))

        def run() -> object:
            with fs.no_grad():
                return ours(inputs)

        theirs = []
        for layout in LAYOUTS:
            network = _torch_network(layout).eval()
            images = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=layout)

            def peer(network: torch.nn.Module = network, images: torch.Tensor = images) -> object:
                with torch.inference_mode():
                    return network(images)

            theirs.append(peer)
        return run, theirs

    return make


def _our_network() -> nn.Layer:
    layer = fs.model("cnn").build(fs.Spec((28, 28, 1)), fs.Spec((10,)))
    return layer.initialize(0, device="cpu", dtype="float32")


def _our_step(x: np.ndarray, labels: np.ndarray) -> Run:
    layer = _our_network().train()
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


def _torch_network(layout: torch.memory_format) -> torch.nn.Module:
    layers: list[torch.nn.Module] = []
    for c, k in ((1, 32), (32, 64), (64, 128)):
        layers += [
            torch.nn.Conv2d(c, k, 3, padding=1),
            torch.nn.ReLU(),
            torch.nn.MaxPool2d(2, ceil_mode=True),
            torch.nn.Dropout(0.3),
        ]
    return torch.nn.Sequential(
        *layers,
        torch.nn.Flatten(),
        torch.nn.Linear(4 * 4 * 128, 625),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.3),
        torch.nn.Linear(625, 10),
    ).to(memory_format=layout)


def _torch_step(x: np.ndarray, labels: np.ndarray, layout: torch.memory_format) -> Run:
    network = _torch_network(layout)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    images = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=layout)
    targets = torch.from_numpy(labels)

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), targets).backward()
        optimizer.step()

    return step


def report(name: str, ours: Run, theirs: Sequence[Run], repeats: int) -> float:
    """Give each its turn, ``repeats`` times; print a row, return the median of the ratios."""
    runs = [ours, *theirs]
    for run in runs:
        for _ in range(3):  # code is compiled, steps are recorded
            run()
    turns = [[turn(run) for run in runs] for _ in range(repeats)]
    shortest = [min(min(calls) for calls in side) for side in zip(*turns, strict=True)]
    times = np.array([[statistics.median(calls) for calls in row] for row in turns])
    peer = 1 + int(np.argmin(shortest[1:]))
    mine, other = times[:, 0], times[:, peer]
    low, middle, high = statistics.quantiles(mine / other, n=4)
    print(
        f"| {name} | {np.median(mine) * 1e3:.2f} | {np.median(other) * 1e3:.2f} | "
        f"{shortest[0] / shortest[peer]:.2f} | {middle:.2f} ({low:.2f}-{high:.2f}) |",
        flush=True,
    )
    return middle


def turn(run: Run) -> list[float]:
    """Seconds of calls of ``run``, by itself on the machine as far as this process goes."""
    time.sleep(PAUSE)
    until = time.perf_counter() + WARM
    run()
    while time.perf_counter() < until:
        run()
    calls: list[float] = []
    while len(calls) < MOST and sum(calls) < TURN:
        start = time.perf_counter()
        run()
        calls.append(time.perf_counter() - start)
    return calls


def processor() -> str:
    """What the machine calls its processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "")


ROWS = {
    "step of cnn on MNIST, eager": eager_step,
    "step of cnn on MNIST, captured": captured_step,
    "prediction of cnn, 1 image": prediction(1),
    "prediction of cnn, 100 images": prediction(100),
}
GROWN = {
    "ours": lambda n: fs.capture(_our_step(*digits(n))),
    "torch": lambda n: _torch_step(*digits(n), torch.channels_last),
}


if __name__ == "__main__":
    main()
