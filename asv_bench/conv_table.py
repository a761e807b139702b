"""Times of our CUDA convolutions beside cuDNN's, called through PyTorch, on one card.

    python asv_bench/conv_table.py [--output conv_table.json] [--only g2 --only resnet]
        [--precision tf32] [--repeats 15]

For every shape, precision (exact float32, tf32, bfloat16) and pass (forward, gradient of the input
and of the weights) it prints the median time of both, their quartiles, the ratio of the medians and
the relative difference of the results, and at the end the geometric means of the ratios; below 1
flagstone is faster. All of it is written as JSON with card, driver, versions, date and command.

PyTorch runs in channels_last with cudnn.benchmark. Both sides work on the same arrays. A run is a
CUDA graph of several calls, so that neither side's time to launch counts; calls go round enough
sets of arrays that none finds its operands in the L2 cache. Runs of both alternate. It needs
PyTorch with CUDA, CuPy, a card, and about five minutes, one of them to compile our kernels.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flagstone_cupy.probe import probe

ALL = ("forward", "input_grad", "weight_grad")
PRECISIONS = ("exact", "tf32", "bfloat16")
CALLS = 8  # in one graph
NOT_AVAILABLE = 3  # the exit code for a card that is missing, as flagstone's own


@dataclass(frozen=True)
class Layer:
    """A convolution of images with square sides and kernels."""

    name: str
    images: int
    side: int
    channels: int
    columns: int
    kernel: int = 3
    padding: int = 1
    groups: int = 1
    passes: Sequence[str] = ALL

    @property
    def out(self) -> int:
        return self.side + 2 * self.padding - self.kernel + 1

    @property
    def operations(self) -> float:
        taps = self.kernel**2 * self.channels // self.groups
        return 2.0 * self.images * self.out**2 * self.columns * taps


def layers() -> list[Layer]:
    """The course's network, ResNet's stages, the network that trains CIFAR-10 in seconds."""
    found = []
    for batch in (100, 1024):
        found += [
            Layer(f"cnn.1 at {batch}", batch, 28, 1, 32, passes=("forward", "weight_grad")),
            Layer(f"cnn.2 at {batch}", batch, 14, 32, 64),
            Layer(f"cnn.3 at {batch}", batch, 7, 64, 128),
        ]
    for batch in (32, 256):
        for side, channels in ((56, 64), (28, 128), (14, 256), (7, 512)):
            found.append(Layer(f"resnet.{side} at {batch}", batch, side, channels, channels))
        found.append(Layer(f"resnet.1x1 at {batch}", batch, 14, 1024, 256, 1, 0))
    found += [
        Layer("speed.whitening", 1024, 32, 3, 24, 2, 0, passes=("forward",)),
        Layer("speed.g1.c1", 1024, 31, 24, 64, passes=("forward", "weight_grad")),
        Layer("speed.g1.c2", 1024, 15, 64, 64),
        Layer("speed.g2.c1", 1024, 15, 64, 256),
        Layer("speed.g2.c2", 1024, 7, 256, 256),
        Layer("speed.g3.c1", 1024, 7, 256, 256),
        Layer("speed.g3.c2", 1024, 3, 256, 256),
        Layer("depthwise.56", 256, 56, 128, 128, groups=128),
        Layer("depthwise.14", 256, 14, 512, 512, groups=512),
    ]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("conv_table.json"))
    parser.add_argument("--only", action="append", help="layers whose name begins so")
    parser.add_argument("--precision", action="append", choices=PRECISIONS)
    parser.add_argument("--repeats", type=int, default=15, help="runs of each side")
    options = parser.parse_args()
    reason = missing()
    if reason:
        print(f"conv_table: {reason}", file=sys.stderr)
        return NOT_AVAILABLE
    chosen = [
        layer
        for layer in layers()
        if not options.only or any(layer.name.startswith(o) for o in options.only)
    ]
    table = Table(options.repeats)
    print(f"{table.about['card']}, driver for CUDA {table.about['driver']}")
    print(f"{'':42}{'ours, ms':>20}{'cuDNN, ms':>20}{'ratio':>8}{'TFLOP/s':>9}{'difference':>12}")
    for layer in chosen:
        for precision in options.precision or PRECISIONS:
            for which in layer.passes:
                table.measure(layer, precision, which)
    table.close(options.output)
    return 0


def missing() -> str:
    """What keeps this script from running here; empty if nothing does."""
    found = probe()
    if not found.ok:
        return f"it needs an NVIDIA card and CuPy: {found.reason}"
    try:
        import torch
    except ModuleNotFoundError:
        return "it needs PyTorch, which is not installed: pip install torch"
    if not torch.cuda.is_available():
        return f"PyTorch {torch.__version__} does not reach the card; install its CUDA build"
    return ""


class Table:
    """Measures, prints and collects rows."""

    def __init__(self, repeats: int) -> None:
        import cupy
        import torch

        from flagstone.backend import open_backend
        from flagstone_cupy.kernels import conv

        self.cupy, self.torch, self.ours = cupy, torch, conv
        backend = open_backend("cuda")
        torch.backends.cudnn.benchmark = True
        self.repeats = repeats
        self.cache = int(cupy.cuda.Device().attributes["L2CacheSize"])
        self.rows: list[dict[str, Any]] = []
        runtime = cupy.cuda.runtime
        self.about = {
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "command": " ".join(sys.argv),
            "card": runtime.getDeviceProperties(runtime.getDevice())["name"].decode(),
            "driver": runtime.driverGetVersion(),
            "backend": backend.describe(),
            "torch": torch.__version__,
            "cudnn": torch.backends.cudnn.version(),
        }

    def measure(self, layer: Layer, precision: str, which: str) -> None:
        """Time one pass of one layer on both sides, and compare what they compute."""
        theirs, ours = self._pair(layer, precision, which)
        a, b = ours(0), theirs(0)
        expected = self.torch.from_dlpack(b).double()
        given = self.torch.as_tensor(a, device="cuda")
        given = (given.view(b.dtype) if precision == "bfloat16" else given).double()
        difference = float((given - expected).norm() / expected.norm())
        del a, b, expected, given
        runs = [self._graph_of_ours(ours), self._graph_of_theirs(theirs)]
        times: list[list[float]] = [[], []]
        for _ in range(self.repeats):
            for run, measured in zip(runs, times, strict=True):
                measured.append(run() / CALLS)
        mine, other = (_spread(t) for t in times)
        row = {
            "layer": layer.name, "precision": precision, "pass": which, "ours_ms": mine,
            "cudnn_ms": other, "ratio": mine["median"] / other["median"],
            "tflops": layer.operations / mine["median"] / 1e9, "difference": difference,
        }  # fmt: skip
        self.rows.append(row)
        print(
            f"{f'{layer.name} {precision} {which}':42}{_text(mine):>20}{_text(other):>20}"
            f"{row['ratio']:8.2f}{row['tflops']:9.1f}{difference:12.1e}",
            flush=True,
        )

    def close(self, output: Path) -> None:
        """Print the geometric means and write everything."""
        means = {}
        for precision in PRECISIONS:
            ratios = [row["ratio"] for row in self.rows if row["precision"] == precision]
            if ratios:
                means[precision] = math.exp(statistics.fmean(map(math.log, ratios)))
                print(
                    f"geometric mean of {len(ratios)} ratios, {precision}: {means[precision]:.3f}"
                )
        written = {**self.about, "geometric_means": means, "rows": self.rows}
        output.write_text(json.dumps(written, indent=1) + "\n")
        print(f"written to {output}")

    def _pair(self, layer: Layer, precision: str, which: str) -> tuple[Any, Any]:
        """Both sides' call of the pass on the i-th set of arrays; they share their memory."""
        torch, cupy = self.torch, self.cupy
        self._allow_tf32(precision == "tf32")
        dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
        x_shape = (layer.images, layer.side, layer.side, layer.channels)
        g_shape = (layer.images, layer.out, layer.out, layer.columns)
        w_shape = (layer.columns, layer.kernel, layer.kernel, layer.channels // layer.groups)
        values = math.prod(x_shape) + math.prod(g_shape) + math.prod(w_shape)
        sets = min(CALLS, 1 + 2 * self.cache // (values * dtype.itemsize))

        def make(shape: tuple[int, ...]) -> list[Any]:
            return [torch.randn(shape, device="cuda").to(dtype) for _ in range(sets)]

        x, g, w = make(x_shape), make(g_shape), make(w_shape)

        def shared(tensors: list[Any]) -> list[Any]:
            if precision == "bfloat16":
                return [cupy.from_dlpack(t.view(torch.int16)).view("uint16") for t in tensors]
            return [cupy.from_dlpack(t) for t in tensors]

        cx, cg, cw = shared(x), shared(g), shared(w)
        tx, tg, tw = ([t.permute(0, 3, 1, 2) for t in tensors] for tensors in (x, g, w))
        pad = [layer.padding] * 2
        how: Any = {
            "stride": (1, 1), "padding": ((layer.padding,) * 2,) * 2, "dilation": (1, 1),
            "groups": layer.groups, "precision": "tf32" if precision == "tf32" else "exact",
        }  # fmt: skip

        def backward(i: int, mask: list[bool]) -> Any:
            return torch.ops.aten.convolution_backward(
                tg[i], tx[i], tw[i], None, [1, 1], pad, [1, 1], False, [0, 0], layer.groups, mask
            )

        def theirs(i: int) -> Any:
            i %= sets
            if which == "forward":
                y = torch.nn.functional.conv2d(tx[i], tw[i], None, 1, pad, 1, layer.groups)
            elif which == "input_grad":
                y = backward(i, [True, False, False])[0]
            else:
                y = backward(i, [False, True, False])[1]
            return y.permute(0, 2, 3, 1)

        def ours(i: int) -> Any:
            i %= sets
            if which == "forward":
                return self.ours.conv(cx[i], cw[i], **how)
            if which == "input_grad":
                return self.ours.conv_input_grad(cg[i], cw[i], size=x_shape[1:3], **how)
            return self.ours.conv_weight_grad(cg[i], cx[i], kernel=w_shape[1:3], **how)

        return theirs, ours

    def _allow_tf32(self, allowed: bool) -> None:
        cudnn = self.torch.backends.cudnn
        if hasattr(cudnn, "conv"):
            cudnn.conv.fp32_precision = "tf32" if allowed else "ieee"
        else:
            cudnn.allow_tf32 = allowed

    def _graph_of_ours(self, call: Callable[[int], Any]) -> Callable[[], float]:
        cupy = self.cupy
        stream = cupy.cuda.Stream(non_blocking=True)
        with stream:
            kept = [call(i) for i in range(CALLS)]  # compiles, and fills the pool of memory
            stream.synchronize()
            del kept
            stream.begin_capture()
            kept = [call(i) for i in range(CALLS)]
            graph = stream.end_capture()

        def run(kept: Any = kept) -> float:
            start, end = cupy.cuda.Event(), cupy.cuda.Event()
            start.record(stream)
            graph.launch(stream)
            end.record(stream)
            end.synchronize()
            return float(cupy.cuda.get_elapsed_time(start, end))

        run()
        return run

    def _graph_of_theirs(self, call: Callable[[int], Any]) -> Callable[[], float]:
        torch = self.torch
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for i in range(CALLS):  # cudnn.benchmark chooses
                call(i)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            kept = [call(i) for i in range(CALLS)]

        def run(kept: Any = kept) -> float:
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            graph.replay()
            end.record()
            end.synchronize()
            return float(start.elapsed_time(end))

        run()
        return run


def _spread(times: Sequence[float]) -> dict[str, float]:
    low, median, high = statistics.quantiles(times, n=4, method="inclusive")
    return {"median": median, "low_quartile": low, "high_quartile": high, "least": min(times)}


def _text(spread: dict[str, float]) -> str:
    return f"{spread['median']:.3f} ({spread['low_quartile']:.3f}-{spread['high_quartile']:.3f})"


if __name__ == "__main__":
    sys.exit(main())
