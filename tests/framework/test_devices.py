"""Which device is meant."""

from __future__ import annotations

import importlib.util
import pickle
import threading
from collections.abc import Iterator

import numpy as np
import pytest

import flagstone as fs
from flagstone import plugins
from flagstone.backend import Backend, open_backend
from flagstone.devices import Device, default_device, parse_device
from flagstone.errors import ConfigurationError, UnavailableError, UnknownNameError
from flagstone.plugins import BackendSpec, hookimpl


@pytest.fixture(autouse=True)
def _no_device_set(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("FLAGSTONE_DEVICE", raising=False)
    yield
    fs.set_device(None)


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("cpu", Device("cpu")),
        ("cuda", Device("cuda")),
        ("cuda:0", Device("cuda", 0)),
        ("cuda:12", Device("cuda", 12)),
        ("array-api_2", Device("array-api_2")),
        ("torch:cuda", Device("torch:cuda")),
        ("torch:cuda:1", Device("torch:cuda", 1)),
        (Device("cuda", 1), Device("cuda", 1)),
    ],
)
def test_parse(text: str, device: Device) -> None:
    assert parse_device(text) == device
    assert parse_device(str(device)) == device


@pytest.mark.parametrize(
    "text",
    [
        "",
        "CPU",
        "cuda:",
        "cuda:-1",
        "cuda:X",
        "cuda:1:2",
        "a::b",
        ":a",
        " cpu",
        "cuda:99999",
        3,
        None,
    ],
)
def test_parse_refuses(text: object) -> None:
    with pytest.raises(ConfigurationError, match="device: expected auto, cpu, cuda, cuda:N or a"):
        parse_device(text)  # type: ignore[arg-type]  # on purpose


def test_precedence(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_device() == Device("auto")
    monkeypatch.setenv("FLAGSTONE_DEVICE", "cuda:3")
    assert default_device() == Device("cuda", 3)
    fs.set_device("cuda:2")
    assert default_device() == Device("cuda", 2)
    with fs.device("cpu") as chosen:
        assert chosen == default_device() == Device("cpu")
        with fs.device("cuda:1"):
            assert default_device() == Device("cuda", 1)
        assert default_device() == Device("cpu")
    assert default_device() == Device("cuda", 2)
    fs.set_device(None)
    assert default_device() == Device("cuda", 3)


def test_an_empty_variable_is_no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAGSTONE_DEVICE", "")
    assert default_device() == Device("auto")


def test_a_bad_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAGSTONE_DEVICE", "GPU 1")
    with pytest.raises(ConfigurationError, match=r"FLAGSTONE_DEVICE: expected auto.*got 'GPU 1'"):
        open_backend()


def test_a_context_ends_with_an_error_and_is_its_threads_own() -> None:
    seen = []

    def fails() -> None:
        thread = threading.Thread(target=lambda: seen.append(default_device()))
        thread.start()
        thread.join()
        raise KeyError

    with pytest.raises(KeyError), fs.device("cuda:7"):
        fails()
    assert seen == [Device("auto")]
    assert default_device() == Device("auto")


def test_auto_and_the_default_are_the_cpu_here(strict: Backend) -> None:
    if importlib.util.find_spec("cupy") is None:
        assert open_backend("auto") is open_backend("cpu")
        assert open_backend() is open_backend("cpu")
    with fs.device("strict"):
        assert open_backend() is strict
        assert open_backend("auto") is strict  # auto leaves it to the default


class First(Backend):
    """A backend that a plugin brings."""

    name = "passing"
    xp = np


class Second(First):
    """Another plugin's, of the same name."""


def open_first(index: int | None) -> Backend:
    return First(Device("passing"))


def open_second(index: int | None) -> Backend:
    return Second(Device("passing"))


class Passing:
    def __init__(self, target: str) -> None:
        self.target = f"{__name__}:{target}"

    @hookimpl
    def flagstone_backends(self) -> Iterator[BackendSpec]:
        yield BackendSpec("passing", self.target, summary="", devices=("passing",))


def test_a_backend_does_not_outlive_its_plugin() -> None:
    for target, kind in (("open_first", First), ("open_second", Second), ("open_second", Second)):
        plugins.register(Passing(target), "passing-plugin")
        try:
            assert type(open_backend("passing")) is kind
        finally:
            plugins.unregister("passing-plugin")
        with pytest.raises(UnknownNameError):
            open_backend("passing")


def test_a_backend_goes_by_its_name_and_is_opened_once() -> None:
    cpu = open_backend("cpu")
    assert open_backend("numpy") is cpu
    assert open_backend(Device("cpu")) is cpu
    assert open_backend(cpu) is cpu
    assert str(cpu.device) == "cpu"
    assert pickle.loads(pickle.dumps(cpu)) is cpu
    assert fs.tensor([1.0], device="numpy").device == Device("cpu")


def test_a_device_nobody_has() -> None:
    with pytest.raises(UnknownNameError) as caught:
        open_backend("cpi")
    message = str(caught.value)
    assert message.startswith("unknown device 'cpi'; known: auto, cpu, ")
    assert "Did you mean 'cpu'?" in message
    with pytest.raises(UnknownNameError, match=r"unknown device 'gpu'.* mean 'cuda'\? cuda:1"):
        open_backend("gpu")
    assert caught.value.exit_code == 2


@pytest.mark.skipif(importlib.util.find_spec("cupy") is not None, reason="CuPy is installed")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_cuda_without_cupy(device: str) -> None:
    with pytest.raises(UnavailableError) as caught:
        open_backend(device)
    message = str(caught.value)
    assert message.startswith(f"device '{device}':")
    assert "flagstone[cuda13x]" in message
    assert "flagstone[cuda12x]" in message
    assert "\n" not in message
    assert caught.value.exit_code == 3


def test_there_is_one_cpu() -> None:
    with pytest.raises(UnavailableError, match="device 'cpu:1': there is one CPU device"):
        open_backend("cpu:1")
    assert str(open_backend("cpu:0").device) == "cpu"


def test_a_backend_describes_itself() -> None:
    cpu = open_backend("cpu")
    assert cpu.describe().startswith("numpy ")
    assert "thread" in cpu.describe()
    memory = cpu.memory()
    if memory.used is not None and memory.total is not None and memory.peak is not None:
        assert 0 < memory.used <= memory.total
        assert memory.peak > 1 << 20  # bytes
