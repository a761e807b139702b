"""Pooling for users: the maximum or mean of windows, of bins, or of whole images.

Images are (n, *spatial, c). Windows are resolved here; the ops in ``pool.py`` see strides, kernels
and (before, after) padding only. A window that sticks out at the end (``ceil_mode``) is more
padding there. Dilated windows and the bins of adaptive maxima are laid side by side first
(:func:`flagstone.ops.resample`), and pooled without a gap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flagstone.errors import InputError, ShapeError
from flagstone.ops.checks import floating, tensors, true_or_false
from flagstone.ops.door import Op
from flagstone.ops.pool import Sizes, avg_pool, max_pool
from flagstone.ops.reduction import max as max_
from flagstone.ops.reduction import mean
from flagstone.ops.resize import AxisMap, resample
from flagstone.ops.window import Lengths, Padding, Pairs, per_axis, resolve
from flagstone.tensors import Tensor


def max_pool1d(
    x: Tensor, kernel: Lengths, *, stride: Lengths | None = None, padding: Padding = 0,
    dilation: Lengths = 1, ceil_mode: bool = False,
) -> Tensor:  # fmt: skip
    """As :func:`max_pool2d` for signals (n, length, c)."""
    return max_pooled("max_pool1d", 1, x, kernel, stride, padding, dilation, ceil_mode)


def max_pool2d(
    x: Tensor, kernel: Lengths, *, stride: Lengths | None = None, padding: Padding = 0,
    dilation: Lengths = 1, ceil_mode: bool = False,
) -> Tensor:  # fmt: skip
    """The maximum of every window of an image.

    Args:
        x: (n, h, w, c), floating.
        kernel: the window's height and width, or one number for both.
        stride: from window to window; ``kernel`` by default.
        padding: as in :func:`conv2d`; padded places hold -inf, so that any number wins over them.
        dilation: how far apart the places of a window are.
        ceil_mode: whether a last window that sticks out at the end counts too, as long as it starts
            before the padding there.

    Returns:
        (n, p, q, c). The gradient of a window goes to its first maximum in row-major order. NaN
        counts as the largest; of several, the first (PyTorch takes the last).

    Raises:
        ShapeError: ``x`` is no batch of images, or too small for one window.
        DTypeError: ``x`` is not floating.
        InputError: an argument is out of range, or some window would hold no value.
    """
    return max_pooled("max_pool2d", 2, x, kernel, stride, padding, dilation, ceil_mode)


def max_pool3d(
    x: Tensor, kernel: Lengths, *, stride: Lengths | None = None, padding: Padding = 0,
    dilation: Lengths = 1, ceil_mode: bool = False,
) -> Tensor:  # fmt: skip
    """As :func:`max_pool2d` for volumes (n, d, h, w, c)."""
    return max_pooled("max_pool3d", 3, x, kernel, stride, padding, dilation, ceil_mode)


def avg_pool1d(
    x: Tensor, kernel: Lengths, *, stride: Lengths | None = None, padding: Padding = 0,
    ceil_mode: bool = False, count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """As :func:`avg_pool2d` for signals (n, length, c)."""
    return _averaged("avg_pool1d", 1, x, kernel, stride, padding, ceil_mode, count_include_pad)


def avg_pool2d(
    x: Tensor, kernel: Lengths, *, stride: Lengths | None = None, padding: Padding = 0,
    ceil_mode: bool = False, count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """The mean of every window of an image.

    Args:
        x: (n, h, w, c), floating.
        kernel: the window's height and width, or one number for both.
        stride: from window to window; ``kernel`` by default.
        padding: as in :func:`conv2d`.
        ceil_mode: as in :func:`max_pool2d`; what sticks out beyond the padding is never counted.
        count_include_pad: divide by the window's size (PyTorch's default) rather than by how many
            real values lie under it (what TensorFlow's ``"SAME"`` does).

    Returns:
        (n, p, q, c).

    Raises:
        ShapeError: ``x`` is no batch of images, or too small for one window.
        DTypeError: ``x`` is not floating.
        InputError: an argument is out of range, or some window would hold no value.
    """
    return _averaged("avg_pool2d", 2, x, kernel, stride, padding, ceil_mode, count_include_pad)


def avg_pool3d(
    x: Tensor, kernel: Lengths, *, stride: Lengths | None = None, padding: Padding = 0,
    ceil_mode: bool = False, count_include_pad: bool = True,
) -> Tensor:  # fmt: skip
    """As :func:`avg_pool2d` for volumes (n, d, h, w, c)."""
    return _averaged("avg_pool3d", 3, x, kernel, stride, padding, ceil_mode, count_include_pad)


def adaptive_avg_pool(x: Tensor, size: int | Sequence[int | None]) -> Tensor:
    """The mean of each of ``size`` bins along every spatial axis.

    Bin i of m along an axis of n values covers those from ``floor(i*n/m)`` up to
    ``ceil((i + 1)*n/m)``, as PyTorch's ``adaptive_avg_pool1d``, 2d and 3d have it.

    Args:
        x: (n, *spatial, c), floating.
        size: of the output, one per spatial axis (``None`` keeps that axis) or one for all.

    Returns:
        (n, *size, c).

    Raises:
        ShapeError: ``x`` has no spatial axis, or one without values.
        InputError: ``size`` is no positive integer, or not as many as there are axes.
        DTypeError: ``x`` is not floating.
    """
    out = _bins("adaptive_avg_pool", x, size)
    old = x.shape[1:-1]
    y: Tensor
    if any(n % m for n, m in zip(old, out, strict=True)):
        maps = tuple(AxisMap("mean", n, m) for n, m in zip(old, out, strict=True))
        y = resample(x, maps=maps)
    else:
        kernel = tuple(n // m for n, m in zip(old, out, strict=True))
        none = ((0, 0),) * len(kernel)
        y = avg_pool(x, kernel=kernel, stride=kernel, padding=none, count_include_pad=True)
    return y


def adaptive_max_pool(x: Tensor, size: int | Sequence[int | None]) -> Tensor:
    """The maximum of each of ``size`` bins; the bins are those of :func:`adaptive_avg_pool`.

    Returns:
        (n, *size, c). The gradient of a bin goes to its first maximum in row-major order.

    Raises:
        ShapeError, InputError, DTypeError: as :func:`adaptive_avg_pool`.
    """
    out = _bins("adaptive_max_pool", x, size)
    maps, kernel = [], []
    for n, m in zip(x.shape[1:-1], out, strict=True):
        longest = max(-(-(i + 1) * n // m) - i * n // m for i in range(m))
        maps.append(AxisMap("bins", n, m * longest, (longest,)))
        kernel.append(longest)
    return _side_by_side(x, tuple(maps), tuple(kernel))


def global_avg_pool(x: Tensor, keepdims: bool = False) -> Tensor:
    """The mean of each channel over the whole image: (n, *spatial, c) -> (n, c).

    Args:
        x: floating, with at least one spatial axis.
        keepdims: keep the spatial axes, with length 1.

    Raises:
        ShapeError: ``x`` has no spatial axis, or one without values.
        DTypeError: ``x`` is not floating.
        InputError: ``keepdims`` is neither ``True`` nor ``False``.
    """
    return mean(x, _spatial("global_avg_pool", x), keepdims)


def global_max_pool(x: Tensor, keepdims: bool = False) -> Tensor:
    """The maximum of each channel over the whole image: (n, *spatial, c) -> (n, c).

    Equal maxima share the gradient, as in :func:`flagstone.ops.max`.

    Args:
        x: floating, with at least one spatial axis.
        keepdims: keep the spatial axes, with length 1.

    Raises:
        ShapeError: ``x`` has no spatial axis, or one without values.
        DTypeError: ``x`` is not floating.
        InputError: ``keepdims`` is neither ``True`` nor ``False``.
    """
    y: Tensor = max_(x, axis=_spatial("global_max_pool", x), keepdims=keepdims)
    return y


def max_pooled(
    name: str, d: int, x: Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any,
    ceil_mode: bool, apply: Op = max_pool,
) -> Tensor:  # fmt: skip
    """Check the arguments of max pooling over ``d`` axes, resolve them and apply the op.

    Args:
        apply: ``max_pool``, or a fused form of it.
    """
    _check(name, d, x)
    sizes, steps, pairs, apart, over = pool_window(
        name, x.shape[1:-1], kernel, stride, padding, dilation, ceil_mode
    )
    if any(a > 1 for a in apart):
        return _dilated(name, x, sizes, steps, pairs, apart, over, apply)
    y: Tensor = apply(x, kernel=sizes, stride=steps, padding=longer(pairs, over))[0]
    return y


def _averaged(
    name: str, d: int, x: Tensor, kernel: Any, stride: Any, padding: Any, ceil_mode: bool,
    count_include_pad: bool,
) -> Tensor:  # fmt: skip
    _check(name, d, x)
    if count_include_pad is not True:
        true_or_false(name, count_include_pad=count_include_pad)
    sizes, steps, pairs, _, over = pool_window(
        name, x.shape[1:-1], kernel, stride, padding, 1, ceil_mode
    )
    how = {"kernel": sizes, "stride": steps, "count_include_pad": count_include_pad}
    y: Tensor = avg_pool(x, padding=longer(pairs, over), **how)
    if count_include_pad and any(over):
        size = tuple(n + lo + hi for n, (lo, hi) in zip(x.shape[1:-1], pairs, strict=True))
        ones = Tensor(x.backend.xp.ones((1, *size, 1), dtype=x.dtype), x.backend)
        beyond = tuple((0, o) for o in over)
        covered = avg_pool(ones, padding=beyond, **how)  # how much of each window is counted
        y = y / covered
    return y


def _check(name: str, d: int, x: Tensor) -> None:
    tensors(name, x=x)
    floating(name, x=x)
    if x.ndim != d + 2:
        raise ShapeError(
            f"{name}: x expected {d + 2} axes (n, {d} spatial, channels); got shape {x.shape}"
        )


def pool_window(
    name: str, size: Sizes, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> tuple[Sizes, Sizes, Pairs, Sizes, Sizes]:
    """The kernel, stride, padding, dilation, and how far the last windows stick out of ``size``."""
    d = len(size)
    if ceil_mode is not False:
        true_or_false(name, ceil_mode=ceil_mode)
    sizes = per_axis(name, "kernel", kernel, d)
    step = sizes if stride is None else stride
    window = resolve(name, size, sizes, step, padding, dilation)
    reach = tuple(a * (k - 1) + 1 for a, k in zip(window.dilation, sizes, strict=True))
    if any(max(pair) * 2 > r for pair, r in zip(window.padding, reach, strict=True)):
        dilated = f", dilated {window.dilation}" if max(window.dilation) > 1 else ""
        raise InputError(
            f"{name}: padding expected at most half of the kernel {sizes}{dilated}, so that every "
            f"window holds a real value; got {padding!r}"
        )
    over = (0,) * d
    if ceil_mode:
        axes = zip(size, reach, window.stride, window.padding, strict=True)
        over = tuple(_sticks_out(n, r, s, lo, hi) for n, r, s, (lo, hi) in axes)
    return sizes, window.stride, window.padding, window.dilation, over


def _sticks_out(n: int, reach: int, stride: int, lo: int, hi: int) -> int:
    """How far beyond the padding the last window ends that starts before the padding at the end."""
    last = -(-(n + lo + hi - reach) // stride) * stride
    if last >= n + lo:
        last -= stride
    return max(last + reach - (n + lo + hi), 0)


def longer(pairs: Pairs, over: Sizes) -> Pairs:
    """Padding with what windows stick out by."""
    return tuple((lo, hi + o) for (lo, hi), o in zip(pairs, over, strict=True))


def _dilated(
    name: str, x: Tensor, kernel: Sizes, stride: Sizes, pairs: Pairs, dilation: Sizes, over: Sizes,
    apply: Op,
) -> Tensor:  # fmt: skip
    maps = []
    axes = zip(x.shape[1:-1], kernel, stride, pairs, dilation, over, strict=True)
    for n, k, s, (lo, hi), a, o in axes:
        count = (n + lo + hi + o - a * (k - 1) - 1) // s + 1
        for start in range(-lo, count * s - lo, s):
            if not any(0 <= j < n for j in range(start, start + k * a, a)):
                raise InputError(
                    f"{name}: expected every window to hold a real value; the one from place "
                    f"{start} with kernel {k} and dilation {a} holds none of {n}"
                )
        maps.append(AxisMap("windows", n, count * k, (k, s, a, lo)))
    return _side_by_side(x, tuple(maps), kernel, apply)


def _side_by_side(
    x: Tensor, maps: tuple[AxisMap, ...], kernel: Sizes, apply: Op = max_pool
) -> Tensor:
    """The maxima of windows that ``maps`` lay one after another, each ``kernel`` long."""
    none = ((0, 0),) * len(kernel)
    laid = resample(x, maps=maps)
    y: Tensor = apply(laid, kernel=kernel, stride=kernel, padding=none)[0]
    return y


def _spatial(name: str, x: Tensor) -> Sizes:
    tensors(name, x=x)
    floating(name, x=x)
    if x.ndim < 3 or 0 in x.shape[1:-1]:
        raise ShapeError(
            f"{name}: x expected a batch of images (n, at least one spatial axis, channels), not "
            f"empty ones; got shape {x.shape}"
        )
    return tuple(range(1, x.ndim - 1))


def _bins(name: str, x: Tensor, size: Any) -> Sizes:
    d = len(_spatial(name, x))
    given = tuple(size) if isinstance(size, (tuple, list)) else (size,) * d
    if len(given) == d:
        given = tuple(n if m is None else m for n, m in zip(x.shape[1:-1], given, strict=True))
    try:
        return per_axis(name, "size", given, d)
    except InputError:
        raise InputError(
            f"{name}: size expected a positive integer or {d} of them; got {size!r}"
        ) from None
