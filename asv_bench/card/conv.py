"""Times of our convolutions beside cuDNN's, called through PyTorch, on one card.

For every shape, precision (exact float32, tf32, float16, bfloat16) and pass (forward, gradient of
the input and of the weights): the median time of both, their quartiles, the ratio of the medians
and the relative difference of the results, and at the end the geometric means of the ratios; below
1 flagstone is faster.

PyTorch runs in channels_last with cudnn.benchmark. Both sides work on the same arrays. A run is a
CUDA graph of several calls, so that neither side's time to launch counts; calls go round enough
sets of arrays that none finds its operands in the L2 cache. Runs of both alternate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from card.timing import CALLS, Pair, Rows, allow_tf32, shared, warm_up

ALL = ("forward", "input_grad", "weight_grad")
PRECISIONS = ("exact", "tf32", "float16", "bfloat16")


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


def run(output: Path, names: Sequence[str] = (), repeats: int = 15) -> dict[str, float]:
    """Measure the layers whose names begin as one of ``names``, or all; rows go to ``output``.

    Returns:
        Precision -> geometric mean of the ratios.
    """
    import torch

    torch.backends.cudnn.benchmark = True
    table = Rows(output)
    warm_up()
    table.print_header("cuDNN")
    for layer in layers():
        if names and not layer.name.startswith(tuple(names)):
            continue
        for precision in PRECISIONS:
            for which in layer.passes:
                sides = pair(layer, precision, which)
                table.compare(layer.name, (precision, which), sides, layer.operations, repeats)
    return table.means()


def pair(layer: Layer, precision: str, which: str) -> Pair:
    """Both sides' call of the pass on the i-th set of arrays; they share their memory."""
    import cupy
    import torch

    from flagstone_cupy.kernels import conv

    allow_tf32(precision == "tf32")
    dtype = getattr(torch, precision, torch.float32)
    x_shape = (layer.images, layer.side, layer.side, layer.channels)
    g_shape = (layer.images, layer.out, layer.out, layer.columns)
    w_shape = (layer.columns, layer.kernel, layer.kernel, layer.channels // layer.groups)
    values = math.prod(x_shape) + math.prod(g_shape) + math.prod(w_shape)
    cache = int(cupy.cuda.Device().attributes["L2CacheSize"])
    sets = min(CALLS, 1 + 2 * cache // (values * dtype.itemsize))

    def make(shape: tuple[int, ...]) -> list[Any]:
        return [torch.randn(shape, device="cuda").to(dtype) for _ in range(sets)]

    x, g, w = make(x_shape), make(g_shape), make(w_shape)
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
            return conv.conv(cx[i], cw[i], **how)
        if which == "input_grad":
            return conv.conv_input_grad(cg[i], cw[i], size=x_shape[1:3], **how)
        return conv.conv_weight_grad(cg[i], cx[i], kernel=w_shape[1:3], **how)

    return theirs, ours
