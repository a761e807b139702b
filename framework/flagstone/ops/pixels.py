"""Pictures read by pixel numbers that differ from example to example, and boxes in them."""

from __future__ import annotations

from typing import Any

from flagstone.errors import DTypeError, InputError, ShapeError
from flagstone.ops.checks import floating
from flagstone.ops.door import op
from flagstone.tensors import Tensor

SHIFT_MODES = ("zero", "reflect", "edge")
_MODES = (*SHIFT_MODES, "mirror")


@op
def pick_pixels(xp: Any, x: Any, rows: Any, columns: Any) -> Any:
    """``y[n, i, j] = x[n, rows[n, i], columns[n, j]]``; 0 where there is no such pixel.

    One gather for the whole batch, whatever each example's rows and columns are: moved, mirrored,
    cut out or enlarged.

    Args:
        x: images (n, h, w, channels), floating.
        rows: int64 (n, new h); a number outside [0, h) reads 0.
        columns: int64 (n, new w); a number outside [0, w) reads 0.

    Returns:
        (n, new h, new w, channels).

    Raises:
        ShapeError: ``x`` has not four axes, or no pixel; ``rows`` or ``columns`` has not n rows.
        DTypeError: ``x`` is not floating, or ``rows`` or ``columns`` not int64.
    """
    n, h, w, channels = x.shape
    new_h, new_w = rows.shape[1], columns.shape[1]
    r = xp.reshape(xp.clip(rows, 0, h - 1), (n, new_h, 1))
    c = xp.reshape(xp.clip(columns, 0, w - 1), (n, 1, new_w))
    first = xp.reshape(xp.arange(n, dtype=xp.int64) * h, (n, 1, 1))
    flat = xp.reshape((first + r) * w + c, (n * new_h * new_w,))
    picked = xp.take(xp.reshape(x, (n * h * w, channels)), flat, axis=0)
    inside = (r[..., 0] == rows)[:, :, None] & (c[:, 0, :] == columns)[:, None, :]
    return xp.where(inside[..., None], xp.reshape(picked, (n, new_h, new_w, channels)), 0)


@pick_pixels.check
def _(x: Any, rows: Any, columns: Any) -> None:
    _images("pick_pixels", "x", x)
    if 0 in x.shape[1:3]:
        raise ShapeError(f"pick_pixels: x expected at least one pixel; got images {x.shape}")
    require_numbers("pick_pixels", x.shape[0], rows=rows, columns=columns)


@pick_pixels.pullback
def _(dy: Tensor, x_shape: Any, rows: Tensor, columns: Tensor) -> Any:
    return (place_pixels(dy, rows, columns, size=(x_shape[1], x_shape[2])), None, None)


@op
def place_pixels(xp: Any, g: Any, rows: Any, columns: Any, *, size: tuple[int, int]) -> Any:
    """The transpose of :func:`pick_pixels`: zeros of ``size`` with ``g`` added where it was read.

    ``y[n, rows[n, i], columns[n, j]] += g[n, i, j]``. Numbers are compared with all rows and all
    columns, and two products add up, so that nothing depends on the order of writing.

    Args:
        g: (n, h', w', channels), floating.
        rows: int64 (n, h'); what has a number outside [0, h) is left out.
        columns: int64 (n, w'); what has a number outside [0, w) is left out.
        size: (h, w) of the result.

    Raises:
        ShapeError: ``g`` has not four axes, or there is not one number for each row and column.
        DTypeError: ``g`` is not floating, or ``rows`` or ``columns`` not int64.
        InputError: ``size`` is below 1.
    """
    n, out_h, out_w, channels = g.shape
    h, w = size
    to_rows = xp.astype(_is_number(xp, rows, h), g.dtype)  # (n, h, h')
    to_columns = xp.astype(_is_number(xp, columns, w), g.dtype)  # (n, w, w')
    tall = xp.matmul(to_rows, xp.reshape(g, (n, out_h, out_w * channels)))
    tall = xp.reshape(tall, (n, h, out_w, channels))
    return xp.matmul(xp.reshape(to_columns, (n, 1, w, out_w)), tall)


@place_pixels.check
def _(g: Any, rows: Any, columns: Any, *, size: tuple[int, int]) -> None:
    _images("place_pixels", "g", g)
    require_numbers("place_pixels", g.shape[0], rows=rows, columns=columns)
    if min(size) < 1:
        raise InputError(f"place_pixels: size expected (h, w) of at least 1; got {size}")
    if (rows.shape[1], columns.shape[1]) != g.shape[1:3]:
        raise ShapeError(
            f"place_pixels: expected a number for each of {g.shape[1]} rows and {g.shape[2]} "
            f"columns of g; got {rows.shape[1]} and {columns.shape[1]}"
        )


@place_pixels.pullback
def _(dy: Tensor, rows: Tensor, columns: Tensor) -> Any:
    return (pick_pixels(dy, rows, columns), None, None)


@op(differentiable=False)
def shifted(xp: Any, offset: Any, before: Any = None, *, length: int, mode: str) -> Any:
    """Which place each place of an axis reads once the axis has moved by ``offset``.

    Place ``i`` reads ``i + offset``. What lies beyond the ends is: ``"zero"``: no place, left as
    it is for :func:`pick_pixels` to read 0; ``"reflect"``: mirrored at the last place, which is
    not repeated; ``"edge"``: the last place. With ``"mirror"`` place ``i`` reads ``length - 1 - i``
    where ``offset`` is not 0, and itself where it is.

    Args:
        offset: int64 (n,); for "reflect" from ``1 - length`` to ``length - 1``.
        before: int64 (n, length), what the axis's places read already; itself by default. Where
            there is no place, -1 is read.
        length: of the axis.
        mode: ``"zero"``, ``"reflect"``, ``"edge"`` or ``"mirror"``.

    Returns:
        int64 (n, length).

    Raises:
        DTypeError: ``offset`` is not int64 of shape (n,), or ``before`` not int64.
        ShapeError: ``before`` has not the shape (n, length).
        InputError: no such mode, or ``length`` is not positive.
    """
    numbers, moved = xp.arange(length, dtype=xp.int64), xp.reshape(offset, (-1, 1))
    last = length - 1
    if mode == "mirror":
        places = xp.where(moved == 0, numbers, last - numbers)
    elif mode == "reflect":
        places = last - xp.abs(last - xp.abs(moved + numbers))
    else:
        places = xp.clip(moved + numbers, 0, last) if mode == "edge" else moved + numbers
    if before is None:
        return places
    inside = xp.clip(places, 0, last)
    return xp.where(inside == places, xp.take_along_axis(before, inside, axis=1), -1)


@shifted.check
def _(offset: Any, before: Any = None, *, length: int, mode: str) -> None:
    if offset.dtype_name != "int64" or offset.ndim != 1:
        raise DTypeError(
            f"shifted: offset expected int64 of shape (n,); got {offset.dtype_name} of "
            f"{offset.shape}"
        )
    if isinstance(length, bool) or not isinstance(length, int) or length < 1:
        raise InputError(f"shifted: length expected a positive integer; got {length!r}")
    if mode not in _MODES:
        raise InputError(f"shifted: mode expected one of {', '.join(_MODES)}; got {mode!r}")
    if before is not None:
        require_numbers("shifted", offset.shape[0], before=before)
        if before.shape[1] != length:
            raise ShapeError(f"shifted: before expected {length} places; got {before.shape}")


@op(differentiable=False, numbers=("height", "width"))
def box_mask(
    xp: Any, row: Any, column: Any, height: Any, width: Any, *, size: tuple[int, int]
) -> Any:
    """Which pixels lie in each example's box; what reaches beyond the picture is cut off.

    Args:
        row: int64 (n,), the box's middle row: as many rows before it as after, or one more before.
        column: int64 (n,), its middle column.
        height: int64 (n,) or an integer: how many rows.
        width: int64 (n,) or an integer: how many columns.
        size: (h, w) of the pictures.

    Returns:
        bool (n, h, w).

    Raises:
        ShapeError: a tensor is not int64 of shape (n,), n the same for all.
        DTypeError: ``height`` or ``width`` is neither a tensor nor an integer.
    """
    inside = []
    for middle, length, places in ((row, height, size[0]), (column, width, size[1])):
        start = middle - length // 2
        numbers = xp.arange(places, dtype=xp.int64)
        after, before = xp.reshape(start, (-1, 1)), xp.reshape(start + length, (-1, 1))
        inside.append((numbers >= after) & (numbers < before))
    n = row.shape[0]
    return xp.reshape(inside[0], (n, size[0], 1)) & xp.reshape(inside[1], (n, 1, size[1]))


@box_mask.check
def _(row: Any, column: Any, height: Any, width: Any, *, size: tuple[int, int]) -> None:
    for name, given in (("row", row), ("column", column), ("height", height), ("width", width)):
        if isinstance(given, Tensor):
            if given.dtype_name != "int64" or given.ndim != 1 or given.shape != row.shape:
                raise ShapeError(
                    f"box_mask: {name} expected int64 of shape (n,), all the same; got "
                    f"{given.dtype_name} of {given.shape}"
                )
        elif not isinstance(given, int) or isinstance(given, bool):
            raise DTypeError(f"box_mask: {name} expected an integer; got {given!r}")


def _is_number(xp: Any, numbers: Any, length: int) -> Any:
    """(n, m) -> (n, length, m): whether the number is that one of ``range(length)``."""
    n, m = numbers.shape
    return xp.reshape(xp.arange(length, dtype=xp.int64), (1, length, 1)) == xp.reshape(
        numbers, (n, 1, m)
    )


def _images(op: str, name: str, x: Any) -> None:
    floating(op, **{name: x})
    if x.ndim != 4:
        raise ShapeError(f"{op}: {name} expected images (n, h, w, channels); got {x.shape}")


def require_numbers(op: str, n: int, **given: Any) -> None:
    """Numbers of rows or columns, int64, for ``n`` examples."""
    for name, numbers in given.items():
        if numbers.dtype_name != "int64":
            raise DTypeError(f"{op}: {name} expected int64; got {numbers.dtype_name}")
        if numbers.ndim != 2 or numbers.shape[0] != n:
            raise ShapeError(
                f"{op}: {name} expected numbers for {n} examples, ({n}, m); got {numbers.shape}"
            )
