"""The struct ``Product`` of window.cuh: where the operands of a convolution or a product lie."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from flagstone.errors import InputError
from flagstone_cupy.signature import declarations

Sizes = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]

MOST_PHASES = 8  # along one axis in one launch, as in window.cuh
MOST = 2**31 - 1  # offsets inside an image and numbers of rows are int
SPACE = 3  # axes that the kernels know; a convolution that has fewer gets axes of length 1


class Phase(NamedTuple):
    """Places of y that see the same taps along one axis; see window.cuh."""

    positions: int
    taps: int
    out_first: int
    first: int
    weight_first: int


class Axis(NamedTuple):
    """One axis of space; distances between taps of w still count taps along this axis."""

    size: int
    step: int
    delta: int
    weight_delta: int
    out_size: int
    out_step: int
    kernel: int
    phases: tuple[Phase, ...]

    @property
    def most_positions(self) -> int:
        return max(phase.positions for phase in self.phases)


POINT = Axis(1, 1, 1, 1, 1, 1, 1, (Phase(1, 1, 0, 0, 0),))
POINTS = (POINT,) * SPACE
"""One position an image, and one tap: then a product is a plain one."""


def forward_axes(
    size: Sizes, kernel: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes
) -> tuple[Axis, ...]:
    """The axes of y = conv(x, w), and of its weight gradient."""
    axes = []
    for n, r, s, (low, high), d in zip(size, kernel, stride, padding, dilation, strict=True):
        positions = (n + low + high - d * (r - 1) - 1) // s + 1
        axes.append(Axis(n, s, d, 1, positions, 1, r, (Phase(positions, r, 0, -low, 0),)))
    return _three(axes)


def input_grad_axes(
    positions: Sizes, size: Sizes, kernel: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes
) -> tuple[Axis, ...]:
    """The axes of the input gradient, which gathers from the output gradient of ``positions``.

    Place h of the input meets position p under tap r where p * s + r * d = h + low. So places that
    are equal modulo s meet the same taps: every (s / gcd(s, d))-th from the first on that fits.
    """
    axes = []
    for p, n, r, s, (low, _), d in zip(
        positions, size, kernel, stride, padding, dilation, strict=True
    ):
        every = s // math.gcd(s, d)
        phases = []
        for f in range(min(s, n)):
            first = next((t for t in range(min(every, r)) if (f + low - t * d) % s == 0), None)
            taps = 0 if first is None else len(range(first, r, every))
            seen = 0 if first is None else (f + low - first * d) // s
            phases.append(Phase(-(-(n - f) // s), taps, f, seen, first or 0))
        axes.append(Axis(p, 1, -(every * d // s), every, n, s, r, tuple(phases)))
    return _three(axes)


def is_phased(axes: Sequence[Axis]) -> bool:
    """Whether the rows of a product are not simply those of y, or its taps not all of w's."""
    return any(
        len(a.phases) > 1 or a.out_step > 1 or a.weight_delta > 1 or a.phases[0].taps < a.kernel
        for a in axes
    )


class Layout(NamedTuple):
    """What a product adds up and where its operands lie; see window.cuh.

    Attributes:
        name: of the op, for errors.
        axes: three.
        images, channels, columns, groups: as in window.cuh.
        x, y: from one place to the next, and from one group to the next.
        w: from one row to the next, from one tap to the next, from one group to the next.
    """

    name: str
    axes: tuple[Axis, ...]
    images: int
    channels: int
    columns: int
    groups: int
    x: tuple[int, int]
    w: tuple[int, int, int]
    y: tuple[int, int]

    @property
    def taps(self) -> int:
        return math.prod(axis.kernel for axis in self.axes)

    @property
    def phases(self) -> int:
        return math.prod(len(axis.phases) for axis in self.axes)

    @property
    def most_rows(self) -> int:
        return self.images * math.prod(axis.most_positions for axis in self.axes)


def launches(layout: Layout) -> Iterator[Layout]:
    """The layout with no more phases than one launch takes; together they are all."""
    parts = [
        [
            axis._replace(phases=axis.phases[start : start + MOST_PHASES])
            for start in range(0, len(axis.phases), MOST_PHASES)
        ]
        for axis in layout.axes
    ]
    for axes in itertools.product(*parts):
        yield layout._replace(axes=axes)


def product(layout: Layout) -> Any:
    """The struct, without how its sum is split; its axes have no more phases than a launch takes.

    Raises:
        InputError: something is larger than the kernels can count.
    """
    name, axes, images, channels, columns, groups, x, w, y = layout
    rows = layout.most_rows
    for what, values in (
        ("an image of x", math.prod(a.size for a in axes) * x[0]),
        ("the rows of y", rows),
        ("the weights of a group", max(w[0] * max(channels, columns), w[1])),
    ):
        if values > MOST:
            raise InputError(
                f"{name}: {what} count {values}, and the CUDA kernels count to {MOST}; cut the "
                "batch or the images into parts"
            )
    made = np.zeros(1, declarations("slices.cu").structs["Product"])
    p = made[0]
    p["x_row"], p["x_group"] = x
    p["w_row"], p["w_tap"], p["w_group"] = w
    p["y_row"], p["y_group"] = y
    p["images"], p["channels"], p["columns"], p["groups"] = images, channels, columns, groups
    p["splits"], p["most_rows"], p["by_channels"] = 1, rows, divider(channels)
    inner = 1  # taps of w under one of this axis
    for a in reversed(range(SPACE)):
        axis = axes[a]
        p["phases"][a] = len(axis.phases)
        p["axis"][a] = (
            axis.size, axis.step, axis.delta, axis.weight_delta * inner, axis.out_size,
            axis.out_step,
        )  # fmt: skip
        for f, phase in enumerate(axis.phases):
            p["phase"][MOST_PHASES * a + f] = (
                divider(phase.positions), divider(phase.taps), phase.out_first, phase.first,
                phase.first + phase.taps * axis.delta, phase.weight_first * inner,
            )  # fmt: skip
        inner *= axis.kernel
    return made


def divider(n: int) -> tuple[int, int, int]:
    """``(n, multiplier, shift)`` with ``i // n == i * multiplier >> 32 >> shift`` for i < 2^31."""
    if n < 2:
        return n, 0, 0
    bits = (n - 1).bit_length()
    return n, -(-(1 << (31 + bits)) // n), bits - 1


def _three(axes: Sequence[Axis]) -> tuple[Axis, ...]:
    return (*POINTS[len(axes) :], *axes)
