"""NVRTC and the cache of cubins; neither a card nor a driver is needed."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest

from flagstone.errors import UnavailableError
from flagstone_cupy import compile as module
from flagstone_cupy.resources import Resources, resources

needs_nvrtc = pytest.mark.skipif(
    importlib.util.find_spec("cuda") is None, reason="NVRTC is not installed (cuda-bindings)"
)
SOURCE = (
    '#include "add.cuh"\ntemplate <typename T> __global__ void add(T* x) { *x = one<T>() + *x; }\n'
)
HEADER = "template <typename T> __device__ T one() { return T(1); }\n"


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "add.cu").write_text(SOURCE)
    (folder / "add.cuh").write_text(HEADER)
    monkeypatch.setattr(module, "KERNELS", folder)
    monkeypatch.setattr("flagstone_cupy.signature.KERNELS", folder)
    monkeypatch.setenv(module.CACHE, str(tmp_path / "cache"))
    return "add.cu"


def built(source: str, **changes: str) -> module.Cubin:
    return module.compiled(source, ["add<float>"], changes.get("architecture", "80"))


@needs_nvrtc
def test_a_cubin_and_its_symbols(source: str) -> None:
    cubin = module.compiled(source, ["add<float>", "add<double>"], "90a")
    assert cubin.path.read_bytes()[:4] == b"\x7fELF"
    assert cubin.symbols == {"add<float>": "_Z3addIfEvPT_", "add<double>": "_Z3addIdEvPT_"}
    taken = resources(cubin.log)
    assert set(taken) == set(cubin.symbols.values())
    assert all(r.spills == r.local == 0 < r.registers for r in taken.values())


@needs_nvrtc
def test_the_second_time_nothing_is_compiled(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = built(source)
    monkeypatch.setattr(module, "_compile", None)
    assert built(source) == first
    with pytest.raises(TypeError):
        built(source, architecture="86")


@needs_nvrtc
def test_a_changed_header_is_compiled_anew(source: str) -> None:
    first = built(source)
    (module.KERNELS / "add.cuh").write_text(HEADER.replace("T(1)", "T(2)"))
    second = built(source)
    assert second.path != first.path
    assert second.path.read_bytes() != first.path.read_bytes()


@needs_nvrtc
def test_another_build_of_nvrtc_compiles_anew(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = built(source)
    assert module._build().startswith("nvidia-cuda-nvrtc")
    monkeypatch.setattr(module, "_build", lambda: "nvidia-cuda-nvrtc 99.0.1")
    assert built(source).path != first.path


@needs_nvrtc
@pytest.mark.parametrize("part", ["cubin", "json"])
@pytest.mark.parametrize("damage", ["empty", "cut", "gone", "other"])
def test_a_damaged_entry_is_compiled_anew(source: str, part: str, damage: str) -> None:
    first = built(source)
    whole = first.path.read_bytes()
    path = first.path.with_suffix(f".{part}")
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"empty": b"", "cut": data[:-9], "other": b"[1, 2]"}[damage])
    again = built(source)
    assert again.path.read_bytes() == whole
    assert again.symbols == first.symbols
    json.loads(again.path.with_suffix(".json").read_bytes())


@needs_nvrtc
def test_no_litter_is_left(source: str) -> None:
    first = built(source)
    assert {path.suffix for path in first.path.parent.iterdir()} == {".cubin", ".json"}


@needs_nvrtc
def test_a_source_that_does_not_compile_says_where(source: str) -> None:
    (module.KERNELS / source).write_text("template <typename T> __global__ void add(T* x) { y; }")
    with pytest.raises(module.KernelError, match=r'(?s)add.cu does not compile.*"y" is undefined'):
        built(source)


@needs_nvrtc
@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_that_cannot_be_written_says_so(source: str, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o500)
    with pytest.raises(UnavailableError, match="FLAGSTONE_CACHE"):
        built(source)


@needs_nvrtc
def test_a_cache_that_is_a_file_says_so(source: str, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(UnavailableError, match=r"cannot be written to .*let FLAGSTONE_CACHE name"):
        built(source)


def test_without_nvrtc_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    monkeypatch.setitem(sys.modules, "cuda", None)
    module.version.cache_clear()
    try:
        with pytest.raises(
            UnavailableError, match="NVRTC, which is not installed; install flagsto"
        ):
            module.version()
    finally:
        module.version.cache_clear()


@needs_nvrtc
@pytest.mark.parametrize(
    ("major", "minor", "architecture"),
    [(7, 5, "75"), (8, 0, "80"), (8, 6, "86"), (8, 9, "89"), (9, 0, "90"), (12, 0, "120")],
)
def test_a_cards_architecture(major: int, minor: int, architecture: str) -> None:
    assert module.architecture_of(major, minor) == architecture


@needs_nvrtc
def test_a_card_that_nvrtc_does_not_know() -> None:
    with pytest.raises(
        UnavailableError, match=r"compute capability 6.1, and NVRTC .* compiles for"
    ):
        module.architecture_of(6, 1)


def test_resources_are_read_from_the_log() -> None:
    log = (
        "ptxas info    : Compiling entry function '_Z1aPf' for 'sm_80'\n"
        "ptxas info    : Function properties for _Z1aPf\n"
        "    24 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads\n"
        "ptxas info    : Used 40 registers, used 1 barriers, 1024 bytes smem, 372 bytes cmem[0]\n"
    )
    assert resources(log) == {"_Z1aPf": Resources(registers=40, shared=1024, local=24, spills=20)}
