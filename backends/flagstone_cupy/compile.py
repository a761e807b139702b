"""From a kernel's source to a cubin on disk, by NVRTC: no driver and no card are needed.

A cubin is kept in ``kernels/`` of the user's cache directory (``FLAGSTONE_CACHE`` names another),
under a key made of everything that decides it: the source and all files that it includes, the
instantiations, the options, the architecture and NVRTC's version and build. Beside it stands a
JSON file with its digest, the kernels' lowered names and what the assembler said; a pair that does
not fit together is compiled again. Nothing else is kept: no PTX, so the driver compiles nothing.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flagstone.errors import FlagstoneError, UnavailableError
from flagstone_cupy.signature import KERNELS, local_sources, read

CACHE = "FLAGSTONE_CACHE"
FORMAT = 1  # of the files in the cache
OPTIONS = (
    "-std=c++17",
    "-ftz=false",  # subnormal numbers stay what they are, as on the CPU
    "-prec-div=true",
    "-prec-sqrt=true",
    "-fmad=true",  # a * b + c may round once
    "--ptxas-options=-v",
)
INSTALL = "install flagstone[cuda13x] (NVIDIA driver 580 or newer) or flagstone[cuda12x] (525)"

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*[<"]([^">]+)[">]', re.MULTILINE)


class KernelError(FlagstoneError, RuntimeError):
    """A kernel's source does not compile."""


@dataclass(frozen=True, slots=True)
class Cubin:
    """A compiled file.

    Attributes:
        path: of the cubin.
        symbols: C++ expression, such as ``scale<float>`` -> the function's name in the cubin.
        log: what NVRTC and its assembler wrote.
    """

    path: Path
    symbols: dict[str, str]
    log: str


def compiled(source: str, expressions: Sequence[str], architecture: str) -> Cubin:
    """The cubin of ``kernels/<source>`` with these instantiations, from the cache if it is there.

    Args:
        source: name of the file.
        expressions: instantiations, such as ``scale<float>``.
        architecture: ``"80"``, ``"90a"``: what follows ``sm_``.

    Raises:
        UnavailableError: NVRTC or CUDA's headers are not installed.
        KernelError: the source does not compile.
    """
    expressions = sorted(expressions)
    name = _key(source, expressions, architecture)
    directory = cache_directory()
    found = _load(directory, name)
    if found is None:
        binary, symbols, log = _compile(source, expressions, architecture)
        found = _store(directory, name, binary, symbols, log)
    return found


def cache_directory() -> Path:
    """Where cubins are kept."""
    import platformdirs

    given = os.environ.get(CACHE)
    root = Path(given or platformdirs.user_cache_dir("flagstone", appauthor=False)).expanduser()
    return root / "kernels"


@functools.cache
def include_directories() -> tuple[Path, ...]:
    """Where CUDA's own headers lie; empty if they are not installed."""
    try:
        from cuda import pathfinder
    except ModuleNotFoundError:
        return ()
    found = pathfinder.find_nvidia_header_directory("cudart")
    return (Path(found),) if found else ()


def architecture_of(major: int, minor: int) -> str:
    """The best architecture for a card of this compute capability that NVRTC compiles for.

    Raises:
        UnavailableError: it compiles for none that such a card runs.
    """
    nvrtc = _nvrtc()
    supported = _checked(nvrtc, nvrtc.nvrtcGetSupportedArchs())
    # A cubin runs on cards of its major version whose minor version is not lower.
    fitting = [a for a in supported if a // 10 == major and a % 10 <= minor]
    if not fitting:
        raise UnavailableError(
            f"this card has compute capability {major}.{minor}, and NVRTC "
            f"{'.'.join(map(str, version()))} compiles for {', '.join(map(str, supported))}; "
            f"{INSTALL}"
        )
    return str(max(fitting))


@functools.cache
def version() -> tuple[int, int]:
    """NVRTC's version."""
    nvrtc = _nvrtc()
    major, minor = _checked(nvrtc, nvrtc.nvrtcVersion())
    return major, minor


@functools.cache
def _build() -> str:
    """Which build of NVRTC it is, as its package says; :func:`version` has no third number."""
    for name in ("nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return f"{name} {importlib.metadata.version(name)}"
    return ""


def _nvrtc() -> Any:
    try:
        from cuda.bindings import nvrtc
    except ModuleNotFoundError:
        raise UnavailableError(
            f"kernels are compiled by NVRTC, which is not installed; {INSTALL}"
        ) from None
    return nvrtc


def _checked(nvrtc: Any, answer: tuple[Any, ...]) -> Any:
    """What follows the status of an NVRTC call."""
    status, *values = answer
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise KernelError(f"NVRTC: {nvrtc.nvrtcGetErrorString(status)[1].decode()}")
    return values[0] if len(values) == 1 else tuple(values)


def _compile(
    source: str, expressions: Sequence[str], architecture: str
) -> tuple[bytes, dict[str, str], str]:
    nvrtc = _nvrtc()
    sources = local_sources(source)
    headers = [name for name in sources if name != source]
    program = _checked(
        nvrtc,
        nvrtc.nvrtcCreateProgram(
            sources[source].encode(), source.encode(), len(headers),
            [sources[name].encode() for name in headers], [name.encode() for name in headers],
        ),
    )  # fmt: skip
    try:
        for expression in expressions:
            _checked(nvrtc, nvrtc.nvrtcAddNameExpression(program, expression.encode()))
        options = [*OPTIONS, f"-arch=sm_{architecture}"]
        options += [f"-I{directory}" for directory in include_directories()]
        encoded = [option.encode() for option in options]
        (status,) = nvrtc.nvrtcCompileProgram(program, len(encoded), encoded)
        log = b" " * _checked(nvrtc, nvrtc.nvrtcGetProgramLogSize(program))
        _checked(nvrtc, nvrtc.nvrtcGetProgramLog(program, log))
        text = log.rstrip(b"\0 \n").decode()
        if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            raise KernelError(f"{source} does not compile for sm_{architecture}:\n{text}")
        binary = b" " * _checked(nvrtc, nvrtc.nvrtcGetCUBINSize(program))
        _checked(nvrtc, nvrtc.nvrtcGetCUBIN(program, binary))
        symbols = {
            e: _checked(nvrtc, nvrtc.nvrtcGetLoweredName(program, e.encode())).decode()
            for e in expressions
        }
    finally:
        nvrtc.nvrtcDestroyProgram(program)
    return binary, symbols, text


def _key(source: str, expressions: Sequence[str], architecture: str) -> str:
    digest = hashlib.sha256()
    parts = [str(FORMAT), str(version()), _build(), *OPTIONS, architecture, *expressions]
    for name, text in _included(source).items():
        parts += [name, text]
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()


def _included(source: str) -> dict[str, str]:
    """Name -> text of the source and of every file that it includes, as far as we find them."""
    found: dict[str, str] = {}

    def visit(name: str, text: str) -> None:
        found[name] = text
        for included in _INCLUDE.findall(text):
            if included not in found and (inner := _header(included)) is not None:
                visit(included, inner)

    visit(source, read(source))
    return found


def _header(name: str) -> str | None:
    """The text of a header: ours, or CUDA's."""
    return read(name) if (KERNELS / name).is_file() else _cuda_header(name)


@functools.cache
def _cuda_header(name: str) -> str | None:
    for directory in include_directories():
        for path in (directory / name, directory / "crt" / name):
            if path.is_file():
                return path.read_text(encoding="utf-8", errors="replace")
    return None


def _load(directory: Path, name: str) -> Cubin | None:
    """The cubin under this name if it is whole."""
    path = directory / f"{name}.cubin"
    try:
        entry = json.loads((directory / f"{name}.json").read_bytes())
        if hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
            return None
        return Cubin(path, dict(entry["symbols"]), str(entry["log"]))
    except (OSError, ValueError, KeyError, TypeError):  # not there, or not as it was written
        return None


def _store(directory: Path, name: str, binary: bytes, symbols: dict[str, str], log: str) -> Cubin:
    """Write both files so that no reader ever sees half of one."""
    entry = {"sha256": hashlib.sha256(binary).hexdigest(), "symbols": symbols, "log": log}
    path = directory / f"{name}.cubin"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _replace(path, binary)
        _replace(directory / f"{name}.json", json.dumps(entry, indent=1).encode())
    except OSError as error:
        raise UnavailableError(
            f"compiled kernels cannot be written to {directory}: {error.strerror}; let {CACHE} "
            "name a directory that can be written to"
        ) from error
    return Cubin(path, symbols, log)


def _replace(path: Path, data: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:  # also Ctrl-C: leave no litter
        os.unlink(temporary)
        raise
