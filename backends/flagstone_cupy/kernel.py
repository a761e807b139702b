"""A kernel as Python knows it: a ``__global__`` function with its template arguments.

::

    SCALE = family("scale.cu", "scale", T=("float", "double"))
    launch(SCALE[x.dtype], grid, block, 0, (x, y, factor, x.size))

Every instantiation that the package may launch is declared so, at import: the compile gate compiles
them all, and the tests on the CPU run them all.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from flagstone_cupy.signature import C_TYPES, Parameter, declarations

ARCHITECTURES = ("75", "80", "86", "89", "90", "90a", "100", "120")
"""What kernels are compiled for in the tests: sm_75 (Turing) to sm_120 (Blackwell)."""

REGISTRY: dict[str, Kernel] = {}
"""``file:expression`` -> kernel, of all that are declared."""


class Kernel:
    """One instantiation of a kernel.

    Attributes:
        source: the file under ``kernels/``.
        name: of the function.
        expression: how C++ names the instantiation, ``"scale<float>"``.
        parameters: what it takes; types are those of C++ with template arguments filled in.
        dtypes: what each parameter holds; of what it points to, for a pointer.
        since: the lowest compute capability it compiles for, 75 for 7.5.
    """

    def __init__(self, source: str, name: str, *, since: int = 75, **template: Any) -> None:
        declared = declarations(source)
        signature = declared.kernels[name]
        if set(template) != set(signature.template):
            raise TypeError(
                f"{source}: {name} takes the template arguments {signature.template}; "
                f"got {tuple(template)}"
            )
        written = {key: _written(value) for key, value in template.items()}
        listed = ", ".join(written[key] for key in signature.template)
        self.source, self.name, self.since = source, name, since
        self.expression = f"{name}<{listed}>" if listed else name
        self.parameters: tuple[Parameter, ...] = signature.parameters
        self.dtypes: tuple[np.dtype, ...] = tuple(
            self._dtype(written.get(p.type, p.type), declared.structs) for p in self.parameters
        )
        if str(self) in REGISTRY:
            raise ValueError(f"{self} is declared twice")
        REGISTRY[str(self)] = self

    def __str__(self) -> str:
        return f"{self.source}:{self.expression}"

    def __repr__(self) -> str:
        return f"<kernel {self}>"

    @property
    def architectures(self) -> tuple[str, ...]:
        """Those of ``ARCHITECTURES`` that it compiles for."""
        return tuple(a for a in ARCHITECTURES if int(a.rstrip("a")) >= self.since)

    def _dtype(self, kind: str, structs: dict[str, np.dtype]) -> np.dtype:
        if kind in structs:
            return structs[kind]
        if kind not in C_TYPES:
            raise TypeError(f"{self.source}: {self.name} has a parameter of unknown type {kind!r}")
        return np.dtype(C_TYPES[kind])


class Family:
    """A kernel for several template arguments; indexed by dtypes or by the arguments themselves."""

    def __init__(self, members: dict[tuple[Any, ...], Kernel]) -> None:
        self._members = members
        by_dtype = {tuple(_as_dtype(part) for part in key): k for key, k in members.items()}
        self._found: dict[Any, Kernel] = {**by_dtype, **members}
        for key, kernel in list(self._found.items()):
            if len(key) == 1:
                self._found[key[0]] = kernel

    def __getitem__(self, key: Any) -> Kernel:
        return self._found[key]

    def __contains__(self, key: object) -> bool:
        return key in self._found

    def __iter__(self) -> Iterator[Kernel]:
        return iter(self._members.values())


def family(source: str, name: str, *, since: int = 75, **template: tuple[Any, ...]) -> Family:
    """Declare ``name`` for all combinations of its template arguments, in the order given.

    A type is written as in C++ (``"float"``) and also found by its dtype (``np.dtype("float32")``).
    """
    keys = list(itertools.product(*template.values()))
    made = {
        key: Kernel(source, name, since=since, **dict(zip(template, key, strict=True)))
        for key in keys
    }
    return Family(made)


def struct(source: str, name: str, *values: Any) -> Any:
    """The struct ``name`` of ``source`` with these values, in order, as ``launch`` takes it."""
    return np.array([values], declarations(source).structs[name])


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _as_dtype(part: Any) -> Any:
    return np.dtype(C_TYPES[part]) if isinstance(part, str) and part in C_TYPES else part
