"""Reading kernels' signatures and structs from CUDA C++."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from flagstone_cupy.kernel import REGISTRY, Kernel, family
from flagstone_cupy.signature import declarations

SOURCE = """
// struct InAComment { int a; };
#include "shared.cuh"
template <typename T>
struct OfTypes { T a; };
struct Shape { int size[3]; float scale; Pair pair; long long n, m; };
template <typename T> __device__ T twice(T x) { return x + x; }
template <typename T, int ROWS, bool FAST = false>
__global__ void __launch_bounds__((ROWS + (4 / 2)) * 32, 1)
    scale(const T* __restrict__ x, T *y, const Shape shape, T factor, unsigned long long n) {
}
/* template <typename T> __global__ void hidden(T x) {} */
__global__ void plain() { }
"""


@pytest.fixture
def source(tmp_path: Path) -> str:
    (tmp_path / "kernels.cu").write_text(SOURCE.replace('"shared.cuh"', f'"{tmp_path}/shared.cuh"'))
    (tmp_path / "shared.cuh").write_text("struct Pair { unsigned char a; double b; };\n")
    return str(tmp_path / "kernels.cu")


@pytest.fixture(autouse=True)
def _forget() -> object:
    before = dict(REGISTRY)
    yield
    REGISTRY.clear()
    REGISTRY.update(before)


def test_kernels_and_their_parameters(source: str) -> None:
    kernels = declarations(source).kernels
    assert list(kernels) == ["scale", "plain"]
    assert kernels["scale"].template == ("T", "ROWS", "FAST")
    names = [(p.name, p.type, p.is_pointer, p.is_const) for p in kernels["scale"].parameters]
    assert names == [
        ("x", "T", True, True),
        ("y", "T", True, False),
        ("shape", "Shape", False, True),
        ("factor", "T", False, False),
        ("n", "unsigned long long", False, False),
    ]
    assert kernels["plain"].parameters == ()


def test_structs_lie_as_in_c(source: str) -> None:
    structs = declarations(source).structs
    assert set(structs) == {"Pair", "Shape"}  # what templates depend on cannot be passed
    assert structs["Pair"].itemsize == 16
    shape = structs["Shape"]
    assert [shape.fields[name][1] for name in shape.names] == [0, 12, 16, 32, 40]  # type: ignore[index,union-attr]  # it has fields
    assert shape.itemsize == 48


def test_an_instantiation_knows_its_types(source: str) -> None:
    kernel = Kernel(source, "scale", FAST=True, T="double", ROWS=4)
    assert kernel.expression == "scale<double, 4, true>"
    assert kernel.dtypes[0] == kernel.dtypes[3] == np.float64
    assert kernel.dtypes[2].names is not None
    assert REGISTRY[str(kernel)] is kernel


def test_the_same_instantiation_twice_is_a_mistake(source: str) -> None:
    Kernel(source, "plain")
    with pytest.raises(ValueError, match="plain is declared twice"):
        Kernel(source, "plain")


def test_template_arguments_must_be_the_kernels(source: str) -> None:
    with pytest.raises(
        TypeError, match=r"scale takes the template arguments \('T', 'ROWS', 'FAST'"
    ):
        Kernel(source, "scale", T="float")


def test_a_family_is_found_by_dtype_and_by_name(source: str) -> None:
    found = family(source, "scale", T=("float", "double"), ROWS=(1, 2), FAST=(False,))
    assert found[np.dtype("float64"), 2, False].expression == "scale<double, 2, false>"
    assert found["float", 1, False] in list(found)
    assert (np.dtype("float16"), 1, False) not in found
    assert len(list(found)) == 4


def test_architectures_begin_where_a_kernel_says(source: str) -> None:
    assert Kernel(source, "plain", since=90).architectures == ("90", "90a", "100", "120")
