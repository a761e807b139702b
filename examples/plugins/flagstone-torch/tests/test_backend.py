"""What a backend owes flagstone, on PyTorch's tensors on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from flagstone import ops, testing
from flagstone.backend import Backend, open_backend
from flagstone.errors import UnavailableError, UnknownNameError
from flagstone.tensors import Tensor

from flagstone_torch import probe


class TestTorch(testing.BackendSuite):
    name = "torch"


@pytest.fixture(scope="module")
def backend() -> Backend:
    return open_backend("torch")


def test_random_words_are_those_of_numpy_at_counters_beyond_63_bits(backend: Backend) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        step, epoch, start, low, high = (int(n) for n in rng.integers(0, 2**64 - 99, 5, np.uint64))
        counter = Tensor(backend.asarray(np.array([step, epoch], np.uint64)), backend)
        words = ops.random_bits(counter, key=(low, high), blocks=9, start=start)
        first = np.array([start, step, epoch, 0], np.uint64)
        philox = np.random.Philox(key=np.array([low, high], np.uint64), counter=first)
        np.testing.assert_array_equal(words.numpy(), philox.random_raw(36))


def test_indexing_and_its_gradient_are_those_of_numpy_for_any_step(backend: Backend) -> None:
    rng = np.random.default_rng(1)
    a = np.arange(5 * 6 * 7, dtype=np.float64).reshape(5, 6, 7)

    def part(length: int) -> object:
        start, stop = (int(n) for n in rng.integers(-length, length, 2))
        steps = (-3, -2, -1, 1, 2, None)
        return start if rng.random() < 0.2 else slice(start, stop, steps[rng.integers(len(steps))])

    for _ in range(200):
        index = tuple(part(n) for n in a.shape[: rng.integers(1, 4)])
        if rng.random() < 0.5:
            index = (None, *index)
        x = Tensor(backend.asarray(a), backend, requires_grad=True)
        y = x[index]
        np.testing.assert_array_equal(y.numpy(), a[index], str(index))
        if y.size:
            (y * y).sum().backward()
            wanted = np.zeros_like(a)
            wanted[index] = 2 * a[index]
            assert x.grad is not None
            np.testing.assert_array_equal(x.grad.numpy(), wanted, str(index))


def test_arrays_of_the_host_are_shared_where_they_can_be(backend: Backend) -> None:
    a = np.arange(6.0)
    assert np.shares_memory(backend.to_numpy(backend.asarray(a)), a)
    assert np.shares_memory(backend.to_numpy(backend.asarray(a[::2])), a)
    frozen = np.arange(6.0)
    frozen.flags.writeable = False
    for copied in (a[::-1], frozen):
        made = backend.to_numpy(backend.asarray(copied))
        np.testing.assert_array_equal(made, copied)
        assert not np.shares_memory(made, copied)


def test_what_it_says_of_itself(backend: Backend) -> None:
    assert backend.describe().startswith(f"torch {torch.__version__}, ")
    assert [str(device) for device in backend.devices()] == ["torch"]
    assert backend.memory().used is None


def test_a_second_cpu_is_refused() -> None:
    with pytest.raises(UnavailableError, match="there is one CPU device; write 'torch'"):
        open_backend("torch:1")
    with pytest.raises(UnknownNameError, match="unknown device 'torch:tpu'"):
        open_backend("torch:tpu")


@pytest.mark.parametrize(
    ("built", "reason"),
    [(None, "is built without CUDA"), ("13.0", "finds no NVIDIA card it can use")],
)
def test_cuda_says_why_not(built: str | None, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert reason in probe.cuda().reason
    with pytest.raises(UnavailableError, match=reason):
        open_backend("torch:cuda")
