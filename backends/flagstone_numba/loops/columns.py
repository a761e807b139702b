"""The columns of a convolution, added back to an image.

Images are (n, h, w, c); a row of columns is one position's window, (r, s, c) in order.
"""

from __future__ import annotations

from typing import Any

from flagstone_numba.loops.compiling import compiled


@compiled
def scatter(
    columns: Any, images: Any, first_row: int, rows: int, positions: int, kernel: Any, stride: Any,
    low: Any, dilation: Any, dx: Any,
) -> None:  # fmt: skip
    """Add windows (m, r * s * c) back to where they were seen in ``dx`` (n, h, w, c)."""
    h, w, c = dx.shape[1], dx.shape[2], dx.shape[3]
    m = 0
    for n in range(images[0], images[1]):
        for p in range(first_row, first_row + rows):
            for q in range(positions):
                row = columns[m]
                m += 1
                place = 0
                for i in range(kernel[0]):
                    at = p * stride[0] + i * dilation[0] - low[0]
                    for j in range(kernel[1]):
                        beside = q * stride[1] + j * dilation[1] - low[1]
                        given = row[place : place + c]
                        place += c
                        if 0 <= at < h and 0 <= beside < w:
                            into = dx[n, at, beside]
                            for k in range(c):
                                into[k] += given[k]
