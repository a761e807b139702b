"""The probe of the CuPy backend, with a driver made of paper."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from flagstone.plugins import registry
from flagstone_cupy import probe as module


class PaperDriver:
    """Answers like libcuda: a code for cuInit, a version, a number of cards."""

    def __init__(self, code: int = 0, version: int = 13000, cards: int = 1) -> None:
        self.code, self.version, self.cards = code, version, cards

    def cuInit(self, flags: int) -> int:  # noqa: N802 - the driver's name
        return self.code

    def cuDriverGetVersion(self, out: Any) -> int:  # noqa: N802 - the driver's name
        ctypes.cast(out, ctypes.POINTER(ctypes.c_int))[0] = self.version
        return 0

    def cuDeviceGetCount(self, out: Any) -> int:  # noqa: N802 - the driver's name
        ctypes.cast(out, ctypes.POINTER(ctypes.c_int))[0] = self.cards
        return 0


def missing() -> Any:
    raise OSError("libcuda.so.1: cannot open shared object file")


def test_without_cupy_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "installed", list)
    result = module.probe()
    assert not result.ok
    assert "CuPy is not installed" in result.reason
    assert "flagstone[cuda13x]" in result.reason


def test_two_distributions_of_cupy_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "installed", lambda: ["cupy-cuda13x", "cupy-cuda12x"])
    result = module.probe()
    assert not result.ok
    assert "cupy-cuda13x and cupy-cuda12x are both installed" in result.reason


@pytest.mark.parametrize(
    ("driver", "words"),
    [
        (missing, "no NVIDIA driver"),
        (lambda: PaperDriver(code=100), "finds no card"),
        (lambda: PaperDriver(cards=0), "finds no card"),
        (lambda: PaperDriver(code=999), "CUDA error 999"),
        (lambda: PaperDriver(version=12080), "supports CUDA 12.8, and cupy-cuda13x needs 13.0"),
    ],
)
def test_each_lack_is_told_in_its_own_words(driver: Any, words: str) -> None:
    result = module.driver_probe("cupy-cuda13x", driver)
    assert not result.ok
    assert words in result.reason
    assert "\n" not in result.reason


def test_a_driver_with_a_card_will_do() -> None:
    result = module.driver_probe("cupy-cuda12x", lambda: PaperDriver(version=12020, cards=2))  # type: ignore[arg-type, return-value]  # a paper driver
    assert result.ok
    assert result.detail == "2 cards, driver for CUDA 12.2"


def test_the_backend_is_registered_without_importing_cupy() -> None:
    assert registry.find("backend", "cupy").devices == ("cuda",)
