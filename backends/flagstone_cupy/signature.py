"""What a ``.cu`` file declares: its kernels' parameters and its structs, read from the source.

The source is the one place where a kernel's signature stands; launches pack their arguments by what
is read here. The grammar is small: ``[template <...>] __global__ void [__launch_bounds__(...)]
name(type name, ...)`` with scalars, pointers and structs by value, and ``struct Name { ... };`` of
scalars, arrays of them and earlier structs.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

KERNELS = Path(__file__).parent / "kernels"


def _bfloat16() -> np.dtype:
    """The dtype that CuPy knows as bfloat16; without ml_dtypes one that no array has."""
    try:
        import ml_dtypes
    except ImportError:
        return np.dtype([("bits", "uint16")])
    return np.dtype(ml_dtypes.bfloat16)


BFLOAT16 = _bfloat16()
C_TYPES: dict[str, Any] = {
    "float": "float32", "double": "float64", "__half": "float16", "__nv_bfloat16": BFLOAT16,
    "bool": "bool", "signed char": "int8", "unsigned char": "uint8", "short": "int16",
    "unsigned short": "uint16", "int": "int32", "unsigned": "uint32", "unsigned int": "uint32",
    "long long": "int64", "unsigned long long": "uint64",
}  # fmt: skip
"""C++ type -> dtype."""

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_LOCAL_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.MULTILINE)
_BALANCED = r"(?:[^()]|\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\))*"
_KERNEL = re.compile(
    r"(?:template\s*<(?P<template>[^{};]*?)>\s*)?__global__\s+void\s+"
    rf"(?:__launch_bounds__\s*\({_BALANCED}\)\s*)?(?P<name>\w+)\s*\((?P<parameters>{_BALANCED})\)\s*\{{"
)
_STRUCT = re.compile(r"\bstruct\s+(?P<name>\w+)\s*\{(?P<body>[^{}]*)\}\s*;")
_FIRST_MEMBER = re.compile(r"(?P<type>.*?)\s*(?P<member>\w+\s*(?:\[[^\]]*\])?)$", re.DOTALL)
_MEMBER = re.compile(r"(?P<name>\w+)\s*(?:\[\s*(?P<count>\d+)\s*\])?$")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A kernel's parameter: ``type`` as written, without ``const`` and ``__restrict__``."""

    name: str
    type: str
    is_pointer: bool
    is_const: bool


@dataclass(frozen=True, slots=True)
class Signature:
    """A ``__global__`` function: the names of its template parameters, and its parameters."""

    name: str
    template: tuple[str, ...]
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True, slots=True)
class Declarations:
    """What one source file declares, together with the local headers that it includes."""

    kernels: dict[str, Signature]
    structs: dict[str, np.dtype]


@functools.cache
def declarations(source: str) -> Declarations:
    """The kernels of ``kernels/<source>``, and the structs of it and of its local headers."""
    structs: dict[str, np.dtype] = {}
    for text in local_sources(source).values():
        _add_structs(_COMMENT.sub(" ", text), structs)
    own = _COMMENT.sub(" ", read(source))
    return Declarations({s.name: s for s in map(_signature, _KERNEL.finditer(own))}, structs)


def read(source: str) -> str:
    """The text of ``kernels/<source>``; what every reader of sources goes through."""
    return (KERNELS / source).read_text(encoding="utf-8")


def local_sources(source: str) -> dict[str, str]:
    """Name -> text of ``source`` and all that it includes from our folder, the included first."""
    found: dict[str, str] = {}

    def visit(name: str) -> None:
        text = read(name)
        for included in _LOCAL_INCLUDE.findall(text):
            if included not in found:
                visit(included)
        found[name] = text

    visit(source)
    return found


def _signature(match: re.Match[str]) -> Signature:
    template = [part.split("=")[0].split() for part in _split(match["template"] or "")]
    return Signature(
        match["name"],
        tuple(words[-1] for words in template),
        tuple(_parameter(text) for text in _split(match["parameters"])),
    )


def _parameter(text: str) -> Parameter:
    words = text.replace("*", " * ").replace("__grid_constant__", " ").split()
    name, rest = words[-1], [w for w in words[:-1] if w != "__restrict__"]
    kind = " ".join(w for w in rest if w not in ("const", "*"))
    return Parameter(name, kind, "*" in rest, "const" in rest)


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _add_structs(text: str, structs: dict[str, np.dtype]) -> None:
    """Add those of scalars, arrays of them, and earlier structs; others no launch can pass."""
    for match in _STRUCT.finditer(text):
        fields: list[Any] = []
        for line in filter(None, (part.strip() for part in match["body"].split(";"))):
            first, *others = (part.strip() for part in line.split(","))
            declared = _FIRST_MEMBER.match(first)
            if declared is None or (dtype := _type(declared["type"], structs)) is None:
                break
            for member in (declared["member"], *others):
                found = _MEMBER.match(member)
                assert found is not None, f"struct {match['name']}: cannot read {member!r}"
                shape = (int(found["count"]),) if found["count"] else ()
                fields.append((found["name"], dtype, shape))
        else:
            structs[match["name"]] = np.dtype(fields, align=True)


def _type(written: str, structs: dict[str, np.dtype]) -> np.dtype | None:
    name = " ".join(written.split())
    return structs.get(name) or (np.dtype(C_TYPES[name]) if name in C_TYPES else None)
