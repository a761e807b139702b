"""A card made of g++: our kernels' sources, unchanged, compiled for the CPU and launched there.

``SimulatedCard`` is a runner for ``flagstone_cupy.launch``, ``SimulatedBackend`` the CuPy backend's
kernels on NumPy arrays. The headers in ``cusim/`` make CUDA C++ of g++'s C++. Libraries are kept in
the user's cache directory under a key of all that goes into them.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flagstone.backend import Backend, OpTable
from flagstone.capturing import Recorded
from flagstone.devices import Device
from flagstone.plugins import BackendSpec, hookimpl
from flagstone_cupy import compile as nvrtc
from flagstone_cupy import launch
from flagstone_cupy.graph import GraphReplay
from flagstone_cupy.kernel import REGISTRY, Kernel
from flagstone_cupy.signature import local_sources

graphs: Any = None  # the module graphs.py, which conftest.py loads
HEADERS = Path(__file__).parent / "cusim"
PTX_CHECK = str(Path(__file__).parent / "ptx_check.cu")
FLAGS = (
    "-std=c++17", "-O1", "-g0", "-fPIC", "-fvisibility=hidden", "-fno-gnu-unique",
    "-U_FORTIFY_SOURCE", "-ffp-contract=off", "-w",
)  # fmt: skip


class SimulationError(AssertionError):
    """A kernel did on the CPU what must not happen on a card."""


class BuildError(AssertionError):
    """A kernel's source does not compile for the CPU."""


def why_not() -> str:
    """Why kernels cannot be compiled for the CPU here; empty if they can."""
    if shutil.which("g++") is None:
        return "kernels on the CPU: g++ is not installed"
    if not nvrtc.include_directories():
        return "kernels on the CPU: CUDA's headers are not installed (nvidia-cuda-runtime)"
    return ""


class Library:
    """One source file compiled for the CPU, with the kernels that are declared of it."""

    def __init__(
        self,
        source: str,
        changed: Mapping[str, str] | None = None,
        kernels: Sequence[Kernel] | None = None,
    ) -> None:
        """Build it, or find it built.

        Args:
            source: the name of a ``.cu`` file.
            changed: file name -> text that stands for it, in tests of the tests.
            kernels: those to compile; by default all that are declared of the file.
        """
        sources = {**local_sources(source), **(changed or {})}
        declared = [k for k in REGISTRY.values() if k.source == source]
        self.kernels = declared if kernels is None else list(kernels)
        self._library = ctypes.CDLL(str(_built(source, sources, self.kernels)))
        self._library.cusim_seed.argtypes = [ctypes.c_ulonglong]
        self._functions = {k.expression: self._function(symbol(k)) for k in self.kernels}

    def _function(self, name: str) -> Any:
        function = getattr(self._library, name)
        function.restype = ctypes.c_char_p
        return function

    def run(
        self, kernel: Kernel, grid: Sequence[int], block: Sequence[int], shared: int,
        values: Sequence[Any], seed: int,
    ) -> None:  # fmt: skip
        """Run a grid; ``values`` are ctypes objects that hold the arguments.

        Raises:
            SimulationError: the kernel did something wrong.
        """
        count = len(values)
        pointers = (ctypes.c_void_p * count)(*(ctypes.addressof(v) for v in values))
        sizes = (ctypes.c_size_t * count)(*(ctypes.sizeof(v) for v in values))
        self._library.cusim_seed(seed)
        error = self._functions[kernel.expression](
            (ctypes.c_uint * 3)(*grid), (ctypes.c_uint * 3)(*block), ctypes.c_size_t(shared),
            pointers, sizes, ctypes.c_size_t(count),
        )  # fmt: skip
        if error:
            raise SimulationError(f"{kernel}: {error.decode()}")

    def statistics(self) -> dict[str, int]:
        """Counts since the last call: switches, ldmatrix, bank_conflicts, mma."""
        out = (ctypes.c_ulonglong * 4)()
        self._library.cusim_statistics(out)
        return dict(zip(("switches", "ldmatrix", "bank_conflicts", "mma"), out, strict=True))


class SimulatedCard:
    """Runs launches on the CPU.

    Every array argument is copied into a guarded buffer for the launch. Each launch is run once
    for every seed of ``seeds`` (0: threads in their order), and all must give the same bits.

    Attributes:
        seeds: the orders of threads.
        libraries: source -> a changed library to run instead.
        launched: names ``file:function`` of the kernels that ran.
        graphs: what it knows of CUDA graphs.
    """

    def __init__(self, guarded: Any, seeds: tuple[int, ...] = (0,)) -> None:
        self.seeds = seeds
        self.libraries: dict[str, Library] = {}
        self.launched: set[str] = set()
        self.graphs = graphs.Graphs()
        self._pool = guarded.Pool()

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        array = self.graphs.empty(shape, dtype)
        if array.dtype != bool:  # whose only bytes are 0 and 1
            array.reshape(-1).view(np.uint8)[:] = 0xFF
        return array

    def is_here(self, a: Any) -> bool:
        return isinstance(a, np.ndarray | np.generic)  # what NumPy gives for shape ()

    def copy(self, to: np.ndarray, a: np.ndarray) -> None:
        self.graphs.note(_copy, [to], to, a)

    def library(self, source: str) -> Library:
        declared = tuple(name for name, kernel in REGISTRY.items() if kernel.source == source)
        return self.libraries.get(source) or _library(source, declared)

    def run(
        self, kernel: Kernel, grid: Sequence[int], block: Sequence[int], shared: int,
        arguments: list[Any],
    ) -> None:  # fmt: skip
        self.launched.add(f"{kernel.source}:{kernel.name}")
        self.graphs.launched(self._run_now, kernel, grid, block, shared, arguments)

    def _run_now(
        self, kernel: Kernel, grid: Sequence[int], block: Sequence[int], shared: int,
        arguments: list[Any],
    ) -> None:  # fmt: skip
        first = None
        for seed in self.seeds:
            results = self._run_once(kernel, grid, block, shared, arguments, seed)
            if first is not None and any(
                not np.array_equal(first[i][1], content) for i, (_, content) in results.items()
            ):
                raise SimulationError(f"{kernel}: the result depends on the order of threads")
            first = first or results
        for buffer, content in (first or {}).values():
            buffer.take(content)

    def _run_once(
        self, kernel: Kernel, grid: Sequence[int], block: Sequence[int], shared: int,
        arguments: list[Any], seed: int,
    ) -> dict[int, Any]:  # fmt: skip
        buffers: dict[int, Any] = {}  # address of the array -> its copy; equal arrays share one
        written: dict[int, Any] = {}
        values: list[Any] = []
        for p, value in zip(kernel.parameters, arguments, strict=True):
            if not p.is_pointer:
                values.append((ctypes.c_char * value.nbytes).from_buffer_copy(value.tobytes()))
            elif value is not launch.NULL:
                value = np.asarray(value)
                here = value.ctypes.data
                if here not in buffers:
                    buffers[here] = self._pool.buffer(value)
                elif buffers[here].size != value.nbytes and value.nbytes:
                    raise SimulationError(f"{kernel}: {p.name} shares memory with another array")
                values.append(ctypes.c_uint64(buffers[here].address))
                if not p.is_const:
                    written[here] = buffers[here]
            else:
                values.append(ctypes.c_uint64(0))
        try:
            self.library(kernel.source).run(kernel, grid, block, shared, values, seed)
            for buffer in buffers.values():
                if not buffer.is_clean_outside():
                    raise SimulationError(f"{kernel}: a write beside a buffer")
            return {key: (buffer, buffer.content()) for key, buffer in written.items()}
        finally:
            for buffer in buffers.values():
                self._pool.free(buffer)


class SimulatedBackend(Backend):
    """The CuPy backend's kernels, on NumPy arrays."""

    name = "simulated"
    xp = np
    precisions = ("exact", "tf32", "mixed-fp16", "mixed-bf16")

    def __init__(self, device: Device) -> None:
        super().__init__(device)
        from flagstone_cupy.table import KERNELS

        self.kernels = KERNELS
        self.table = graphs.Table(self, lambda: _card().graphs)

    def with_precision(self, precision: str) -> Backend:
        other = super().with_precision(precision)
        if type(other.table) is OpTable:
            other.table = graphs.Table(other, lambda: _card().graphs)
        return other

    def asarray(self, x: Any, dtype: str | None = None) -> np.ndarray:
        return np.asarray(x, dtype=dtype)

    def capture(self, step: Any, *_example: Any) -> Any:
        return Recorded(step, self, lambda p: GraphReplay(p, lambda: graphs.Room(_card().graphs)))


def _card() -> Any:
    return launch.runner()


def _copy(to: np.ndarray, a: np.ndarray) -> None:
    to[...] = a


def open_simulated(index: int | None) -> SimulatedBackend:
    return SimulatedBackend(Device("simulated", index))


class SimulatedPlugin:
    """The device ``simulated``."""

    @hookimpl
    def flagstone_backends(self) -> Any:
        yield BackendSpec(
            "simulated",
            f"{__name__}:open_simulated",
            summary="our CUDA kernels on the CPU",
            devices=("simulated",),
            priority=-2,
        )


def symbol(kernel: Kernel) -> str:
    """The name under which the library has a kernel."""
    return "run_" + re.sub(r"\W+", "_", kernel.expression)


@functools.cache
def _library(source: str, declared: tuple[str, ...]) -> Library:
    """Of a file as it is; another one once other kernels are declared."""
    return Library(source)


def _built(source: str, sources: Mapping[str, str], kernels: Sequence[Kernel]) -> Path:
    """The shared library of these sources, compiled if it is not in the cache."""
    lines = ['#include "cuda.h"']
    if "ptx.cuh" in sources:
        lines.append('#include "ptx.h"')
    lines.append(f'#include "{Path(source).name}"')
    lines += [f"CUSIM_EXPORT({symbol(k)}, {k.expression})" for k in kernels]
    unit = "\n".join(lines) + "\n"
    key = _digest(_headers_key(), unit, *sources, *sources.values())
    library = _cache() / f"{Path(source).stem}-{key}.so"
    if not library.exists():
        with tempfile.TemporaryDirectory(dir=_cache()) as name:
            folder = Path(name)
            for file, text in sources.items():
                (folder / Path(file).name).write_text(text)
            (folder / "unit.cpp").write_text(unit)
            _compile(folder, "unit.cpp", "-shared", library, _precompiled())
    return library


@functools.cache
def _precompiled() -> Path:
    """A folder with ``cuda.h`` precompiled, which most of a small unit's time would go to."""
    folder = _cache() / f"headers-{_headers_key()}"
    folder.mkdir(exist_ok=True)
    header = folder / "cuda.h.gch"
    if not header.exists():
        _compile(HEADERS, "cuda.h", "-xc++-header", header)
    return folder


def _compile(folder: Path, file: str, what: str, into: Path, *more: Path) -> None:
    """Run g++ in ``folder``; the result appears whole or not at all."""
    includes = [f"-I{d}" for d in (*more, folder, HEADERS)]
    includes += [f"-isystem{d}" for d in nvrtc.include_directories()]
    temporary = into.with_name(f"{into.name}.{os.getpid()}")
    command = ["g++", *FLAGS, what, *includes, str(folder / file), "-o", str(temporary)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{into.name}: g++ says\n{done.stderr[:4000]}")
    os.replace(temporary, into)


@functools.cache
def _headers_key() -> str:
    headers = [path.read_text() for path in sorted(HEADERS.rglob("*")) if path.is_file()]
    return _digest(_compiler(), *FLAGS, *map(str, nvrtc.include_directories()), *headers)


def _digest(*parts: str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}:{part}".encode())
    return digest.hexdigest()[:32]


@functools.cache
def _cache() -> Path:
    directory = nvrtc.cache_directory().parent / "cuda_on_cpu"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@functools.cache
def _compiler() -> str:
    return subprocess.run(
        ["g++", "--version"], capture_output=True, text=True, check=True
    ).stdout.splitlines()[0]
