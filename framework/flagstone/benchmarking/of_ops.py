"""Every op of the op table: at a sample of the table, and at a large one like it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from flagstone import ops
from flagstone.benchmarking.benchmark import Benchmark, NotHere, Run
from flagstone.tape import no_grad
from flagstone.tensors import Tensor

if TYPE_CHECKING:
    from flagstone.backend import Backend
    from flagstone.testing import Sample

VALUES = 1 << 18  # that the longest argument of a large sample has, about
KEY = (0x0123456789ABCDEF, 0xFEDCBA9876543210)

# Arguments of ops for which more of the same does not make a large sample
LARGE: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "expand": ((("float32", (512,)),), {"shape": (512, 512)}),
    "reshape_to": ((("float32", (512, 512)),), {"shape": (1024, 256)}),
    "scatter_index": (
        (("float32", (256, 512)),),
        {"shape": (512, 512), "index": (slice(None, None, -2), slice(None))},
    ),
    "random_bits": ((("uint64", (2,)),), {"key": KEY, "blocks": VALUES // 4, "start": 0}),
    "dropout_mask": ((("uint64", (VALUES // 4,)),), {"shape": (512, 512), "threshold": 100}),
    "muon_update": (
        (("float32", (256, 256)), ("float32", (256, 256)), 0.01),
        {"steps": 5, "weight_decay": 0.0, "coefficients": (3.4445, -4.775, 2.0315), "eps": 1e-7,
         "adjustment": 1.0, "rate": 0.5},
    ),
    "split_at": ((("float32", (512, 512)),), {"lengths": (128, 256, 128), "axis": 0}),
    "take_rows": ((("float32", (512, 512)), ("int64", (512,))), {}),
}  # fmt: skip


def benchmarks() -> Iterator[Benchmark]:
    """Every op, small and large."""
    for name in sorted(ops.ALL_OPS):
        yield Benchmark(f"op/{name}/small", _op(name, _largest), in_gate=False)
        yield Benchmark(f"op/{name}/large", _op(name, _enlarged), in_gate=False)


def _op(name: str, sample_of: Callable[[Any], Sample]) -> Callable[[Backend], Run]:
    def prepare(backend: Backend) -> Run:
        try:
            from flagstone.testing import OP_TABLE
        except ImportError as error:
            raise NotHere(f"the op table cannot be imported: {error}") from None
        if name not in OP_TABLE:
            raise NotHere(f"{name} has no row in the op table")
        row = OP_TABLE[name]
        sample = sample_of(row)
        inputs = [
            Tensor(backend.asarray(x), backend) if isinstance(x, np.ndarray) else x
            for x in sample.arrays
        ]

        def run() -> object:
            with no_grad():
                return row.call(*inputs, **sample.static)

        return run

    return prepare


def _largest(row: Any) -> Sample:
    """The sample of the table's with the most values."""
    from flagstone.testing import Draw

    draws = [Draw(0, row.dtypes[0]) for _ in range(2)]
    return max([*row.samples(draws[0]), *row.value_samples(draws[1])], key=_values)


def _enlarged(row: Any) -> Sample:
    """The largest sample with its first axis repeated, in all arguments that have it."""
    from flagstone.testing import Sample

    if row.name in LARGE:
        shapes, static = LARGE[row.name]
        return Sample(*(_drawn(shape) for shape in shapes), **static)
    small = _largest(row)
    arrays = [x for x in small.arrays if isinstance(x, np.ndarray) and x.ndim]
    if not arrays:
        raise NotHere(f"op {row.name}: it takes single values, which nothing makes large")
    times = max(1, VALUES // max(x.size for x in arrays))
    length = len(arrays[0])
    return Sample(
        *(
            np.tile(x, (times, *[1] * (x.ndim - 1)))
            if isinstance(x, np.ndarray) and x.ndim and len(x) == length
            else x
            for x in small.arrays
        ),
        **small.static,
    )


def _drawn(wanted: Any) -> Any:
    """An array of a dtype and a shape; a number as an array without axes."""
    if isinstance(wanted, float):
        return np.asarray(wanted, "float32")
    dtype, shape = wanted
    rng = np.random.default_rng(0)
    if dtype == "float32":
        return rng.standard_normal(shape, dtype)
    return rng.integers(0, shape[0], shape, dtype)


def _values(sample: Sample) -> int:
    return sum(int(np.size(x)) for x in sample.arrays if x is not None)
