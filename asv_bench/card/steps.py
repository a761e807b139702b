"""Times of the ladder's training steps: ours eager and captured, and three ways of PyTorch's.

Each network of the course's ladder, from the line through five points to the deep CNN, is built
twice from one description. A step is: zero the gradients, forward, loss, backward, update (SGD for
the first two, fused Adam for the others). PyTorch runs it eager, with ``torch.compile`` in mode
``max-autotune`` around forward and loss, and as one CUDA graph of the whole step; convolutions in
channels_last with cudnn.benchmark, tf32 off on both sides. A time is that of many steps in a row
with one wait at the end, so the host's work counts where the card waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from card.timing import Rows, allow_tf32, alternate, text

Spec = tuple[Any, ...]
Step = Callable[[], Any]
BATCHES = (100, 1024)
MLP = (("linear", 784, 256), ("relu",), ("linear", 256, 256), ("relu",), ("linear", 256, 10))
DEEP = (("linear", 784, 512), *(("linear", 512, 512),) * 3)


def _with(after: tuple[Spec, ...], layers: Sequence[Spec]) -> tuple[Spec, ...]:
    return tuple(spec for layer in layers for spec in (layer, *after))


@dataclass(frozen=True)
class Network:
    """A rung: its layers, the shape of an input, what its targets are, and its batches."""

    name: str
    layers: tuple[Spec, ...]
    shape: tuple[int, ...]
    target: str  # "numbers", "bits" or "classes"
    batches: tuple[int, ...] = BATCHES

    @property
    def lr(self) -> float:
        return 1e-3 if self.target == "classes" else 1e-2


NETWORKS = (
    Network("02 line", (("linear", 1, 1),), (1,), "numbers", (5,)),
    Network(
        "09 XOR 2-10-10-10-1",
        (*_with((("sigmoid",),), [("linear", 2, 10), *[("linear", 10, 10)] * 2]),
         ("linear", 10, 1)),
        (2,), "bits", (4,),
    ),
    Network("10-1 softmax", (("linear", 784, 10),), (784,), "classes"),
    Network("10-3 784-256-256-10", MLP, (784,), "classes"),
    Network(
        "10-4 784-512x4-10", (*_with((("relu",),), DEEP), ("linear", 512, 10)), (784,), "classes"
    ),
    Network(
        "10-5 with dropout", (*_with((("relu",), ("dropout", 0.3)), DEEP), ("linear", 512, 10)),
        (784,), "classes",
    ),
    Network(
        "11-1 CNN",
        (*_with((("pool",), ("relu",)), [("conv", 1, 32), ("conv", 32, 64)]),
         ("flatten",), ("linear", 3136, 10)),
        (28, 28, 1), "classes",
    ),
    Network(
        "11-2 deep CNN",
        (*_with((("pool",), ("relu",), ("dropout", 0.3)),
                [("conv", 1, 32), ("conv", 32, 64), ("conv", 64, 128)]),
         ("flatten",), ("linear", 2048, 625), ("relu",), ("dropout", 0.3), ("linear", 625, 10)),
        (28, 28, 1), "classes",
    ),
)  # fmt: skip


def run(
    output: Path, names: Sequence[str] = (), repeats: int = 9, device: str = "cuda",
    compiled: bool = True,
) -> None:  # fmt: skip
    """Measure the networks whose names begin as one of ``names``, or all; rows go to ``output``.

    Arguments:
        device: ``"cuda"``, or ``"cpu"`` to try this script without a card.
        compiled: measure ``torch.compile`` as well; its tuning takes about a minute a network.
    """
    table = Rows(output, device)
    for network in NETWORKS:
        if names and not network.name.startswith(tuple(names)):
            continue
        for batch in network.batches:
            variants = variants_of(network, batch, device, compiled)
            times = alternate(list(variants.values()), repeats)
            row = {"name": network.name, "batch": batch, **dict(zip(variants, times, strict=True))}
            theirs = {k: v["median"] for k, v in row.items() if k.startswith("torch")}
            best = min(theirs, key=theirs.__getitem__)
            row |= {
                "eager_over_captured": theirs["torch_eager"] / row["captured"]["median"],
                "best_over_captured": theirs[best] / row["captured"]["median"],
                "best": best,
            }
            table.add(row)
            listed = ", ".join(f"{k} {text(row[k])}" for k in variants)
            print(
                f"{network.name} at {batch}: {listed} ms; torch eager over captured "
                f"{row['eager_over_captured']:.2f}, {best} over captured "
                f"{row['best_over_captured']:.2f}",
                flush=True,
            )


def variants_of(
    network: Network, batch: int, device: str, compiled: bool
) -> dict[str, Callable[[], float]]:
    """Name -> a run of many steps that gives the milliseconds of one."""
    import torch

    on_card = device == "cuda"
    if on_card:
        torch.backends.cudnn.benchmark = True
        allow_tf32(False)
    x, y = data(network, batch)
    steps = {**our_steps(network, x, y, device), "torch_eager": torch_step(network, x, y, device)}
    if on_card:
        steps["torch_graph"] = torch_graph(network, x, y)
        if compiled:
            steps["torch_compiled"] = torch_step(network, x, y, device, compiled=True)
    return {name: timed(step, on_card) for name, step in steps.items()}


def timed(step: Step, on_card: bool) -> Callable[[], float]:
    """Run ``step`` for about a twentieth of a second, waiting for the card at the end only."""
    import torch

    wait = torch.cuda.synchronize if on_card else lambda: None  # waits for all streams

    def spent(repeats: int) -> float:
        wait()
        started = time.perf_counter()
        for _ in range(repeats):
            step()
        wait()
        return (time.perf_counter() - started) / repeats * 1e3

    for _ in range(5):
        step()
    repeats = max(2, int(50 / max(spent(3), 1e-3)))
    return lambda: spent(repeats)


def data(network: Network, batch: int) -> tuple[Any, Any]:
    """A batch of inputs, channels last, and its targets."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, *network.shape)).astype(np.float32)
    if network.target == "classes":
        return x, rng.integers(0, 10, batch)
    y = rng.standard_normal((batch, 1)).astype(np.float32)
    return x, y if network.target == "numbers" else (y > 0).astype(np.float32)


# Ours


def built(nn: Any, network: Network) -> Any:
    """The network of the layers of a module, ours or PyTorch's: they have the same names."""
    made: dict[str, Callable[..., Any]] = {
        "linear": nn.Linear,
        "conv": lambda a, b: nn.Conv2d(a, b, 3, padding=1),
        "pool": lambda: nn.MaxPool2d(2, ceil_mode=True),
        "relu": nn.ReLU,
        "sigmoid": nn.Sigmoid,
        "dropout": nn.Dropout,
        "flatten": nn.Flatten,
    }
    return nn.Sequential(*(made[kind](*rest) for kind, *rest in network.layers))


def our_steps(network: Network, x: Any, y: Any, device: str) -> dict[str, Step]:
    """A step through the public API, captured and as it is."""
    import flagstone as fs
    from flagstone import losses, nn, optim

    loss = {
        "numbers": losses.mse,
        "bits": losses.binary_cross_entropy_with_logits,
        "classes": losses.cross_entropy,
    }[network.target]
    tx, ty = fs.tensor(x, device=device), fs.tensor(y, device=device)
    steps: dict[str, Step] = {}
    for name in ("captured", "ours_eager"):
        layer = built(nn, network).initialize(0, device=device)
        kind = optim.Adam if network.target == "classes" else optim.SGD
        steps[name] = _our_step(layer, kind(layer, network.lr), loss, tx, ty, name == "captured")
    return steps


def _our_step(layer: Any, optimizer: Any, loss: Any, x: Any, y: Any, captured: bool) -> Step:
    import flagstone as fs

    def step(x: fs.Tensor, y: fs.Tensor) -> fs.Tensor:
        optimizer.zero_grad()
        value: fs.Tensor = loss(layer(x), y)
        value.backward()
        optimizer.step()
        return value

    call = fs.capture(step, strict=True) if captured else step
    return lambda: call(x, y)


# PyTorch


def torch_parts(network: Network, x: Any, y: Any, device: str) -> tuple[Any, Any, Any, Any, Any]:
    """Layer, loss, optimizer and the batch."""
    import torch
    from torch import nn

    layer = built(nn, network).to(device)
    loss = {
        "numbers": nn.functional.mse_loss,
        "bits": nn.functional.binary_cross_entropy_with_logits,
        "classes": nn.functional.cross_entropy,
    }[network.target]
    tx, ty = torch.from_numpy(x).to(device), torch.from_numpy(y).to(device)
    if tx.ndim == 4:
        layer = layer.to(memory_format=torch.channels_last)
        tx = tx.permute(0, 3, 1, 2)  # channels_last in memory
    optimizer: Any
    if network.target == "classes":
        optimizer = torch.optim.Adam(
            layer.parameters(), network.lr, fused=True, capturable=device == "cuda"
        )
    else:
        optimizer = torch.optim.SGD(layer.parameters(), network.lr)
    return layer, loss, optimizer, tx, ty


def torch_step(network: Network, x: Any, y: Any, device: str, compiled: bool = False) -> Step:
    """PyTorch's step, eager or with forward and loss compiled."""
    import torch

    layer, loss, optimizer, tx, ty = torch_parts(network, x, y, device)

    def forward(x: Any, y: Any) -> Any:
        return loss(layer(x), y)

    if compiled:
        forward = torch.compile(forward, mode="max-autotune")

    def step() -> Any:
        optimizer.zero_grad()
        value = forward(tx, ty)
        value.backward()
        optimizer.step()
        return value

    return step


def torch_graph(network: Network, x: Any, y: Any) -> Step:
    """The whole step as one CUDA graph."""
    import torch

    layer, loss, optimizer, tx, ty = torch_parts(network, x, y, "cuda")

    def step() -> None:
        loss(layer(tx), ty).backward()
        optimizer.step()

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            optimizer.zero_grad()
            step()
    torch.cuda.current_stream().wait_stream(side)
    optimizer.zero_grad()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):  # gradients are made anew inside, so none is zeroed
        step()
    return graph.replay
