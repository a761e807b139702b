"""What every test stands on: a clean environment, and data files where there are any."""

from __future__ import annotations

import functools
import gc
import importlib.util
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parent.parent
DATA = "FLAGSTONE_DATA"

# No time limit on an example: machines that run several tests at once are slow now and then.
hypothesis.settings.register_profile("local", deadline=None)
# CI draws the same examples every time, so that a failure there is there to be looked at.
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)


def pytest_configure() -> None:
    """Forget the user's settings, before any test module can have read them.

    A shell that starts tests in the background lets them ignore Ctrl-C, and so would every process
    that a test starts; the tests of Ctrl-C want it as it is in a terminal.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")
    for name in [name for name in os.environ if name.startswith("FLAGSTONE_") and name != DATA]:
        del os.environ[name]
    # Tests of the NumPy backend are of its own kernels; tests/backends/numba is of the plugin's.
    os.environ["FLAGSTONE_DISABLE_PLUGINS"] = "numba"
    if os.environ.get(DATA):  # tests change their directory
        os.environ[DATA] = str(Path(os.environ[DATA]).expanduser().resolve())


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a marked test, with the reason, where what it needs is not there."""
    for marker, why_not in (("gpu", _why_no_gpu), ("data", _why_no_data)):
        if item.get_closest_marker(marker) and (reason := why_not()):
            pytest.skip(reason)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The directory with ``mnist/`` and ``course/``: ``FLAGSTONE_DATA``, or ../shared/data."""
    if reason := _why_no_data():
        pytest.skip(reason)
    return _data_directory()


def _data_directory() -> Path:
    return Path(os.environ.get(DATA) or ROOT.parent / "shared" / "data")


@functools.cache
def _why_no_data() -> str:
    mnist = _data_directory() / "mnist"
    return "" if mnist.is_dir() else f"no MNIST files: {mnist} is not there; set {DATA}"


@functools.cache
def _why_no_gpu() -> str:
    if importlib.util.find_spec("cupy") is None:
        return "no GPU: CuPy is not installed"
    import cupy

    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"no GPU: {error}"
    return "" if count else "no GPU: CUDA finds no device"


@pytest.fixture(autouse=True)
def no_memory_left_on_the_card(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test on a card gives back all of the card's memory that it took."""
    if request.node.get_closest_marker("gpu") is None or _why_no_gpu():
        yield
        return
    import cupy

    pool = cupy.get_default_memory_pool()
    before = pool.used_bytes()
    yield
    gc.collect()
    cupy.cuda.runtime.deviceSynchronize()
    assert pool.used_bytes() <= before
