"""What is in the catalogue, and that timing times."""

from __future__ import annotations

import runpy
import time

import pytest

from flagstone.backend import open_backend
from flagstone.benchmarking import of_kernels
from flagstone.benchmarking.benchmark import Benchmark, NotHere
from flagstone.benchmarking.catalogue import catalogue, chosen
from flagstone.benchmarking.sides import measure, worker
from flagstone.benchmarking.timing import Timer
from flagstone.errors import UnknownNameError
from flagstone.ops import ALL_OPS
from flagstone.plugins import registry

SINGLE = ("op/adapt_loss_scale/large",)  # without an axis, so not large


def test_everything_that_is_registered_is_in_it() -> None:
    known = catalogue()
    assert {f"op/{name}/{size}" for name in ALL_OPS for size in ("small", "large")} <= set(known)
    for name in registry.names("model"):
        assert {f"step/{name}", f"fit/{name}", f"predict/{name}/one"} <= set(known)
    for name in registry.names("layer"):
        assert {f"layer/{name}/forward", f"layer/{name}/backward"} <= set(known)
    for name in registry.names("optimizer"):
        assert {f"optimizer/{name}/small", f"optimizer/{name}/large"} <= set(known)


def test_a_name_is_a_whole_a_part_or_a_pattern() -> None:
    def names(*wanted: str) -> list[str]:
        return [benchmark.name for benchmark in chosen(wanted)]

    assert names("kernel/add/small") == ["kernel/add/small"]
    assert names("conv1x1") == [
        f"kernel/conv1x1/{which}" for which in ("small", "large", "backward")
    ]
    assert names("kernel/conv*/small") == [f"kernel/conv{k}x{k}/small" for k in (3, 1, 7)]
    assert names("*") == list(catalogue())
    assert names() == [name for name, b in catalogue().items() if b.in_gate]
    assert names("op/abs") == names("op/abs/") == ["op/abs/small", "op/abs/large"]
    with pytest.raises(UnknownNameError, match="unknown benchmark 'step/none'"):
        names("step/none")
    for wrong, meant in (("op/abss", "op/abs"), ("kernal", "kernel"), ("step/mpl", "step/mlp")):
        with pytest.raises(UnknownNameError, match=f"Did you mean '{meant}'") as refused:
            names(wrong)
        assert len(str(refused.value)) < 250


@pytest.mark.parametrize("size", ["small", "large"])
def test_every_op_runs(size: str) -> None:
    for name, benchmark in catalogue().items():
        if name.startswith("op/") and name.endswith(size) and name not in SINGLE:
            benchmark.prepare(open_backend("cpu"))()
    with pytest.raises(NotHere, match="single values"):
        catalogue()[SINGLE[0]].prepare(open_backend("cpu"))


def test_the_kernels_of_a_commit_without_one_of_the_ops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("flagstone.ops.gelu")
    there = {b.name: b for b in runpy.run_path(of_kernels.__file__)["benchmarks"]()}
    there["kernel/relu/small"].prepare(open_backend("cpu"))()
    with pytest.raises(NotHere, match="no op gelu"):
        there["kernel/gelu/small"].prepare(open_backend("cpu"))


def test_a_step_can_be_run_more_often_than_its_training_has_steps() -> None:
    step = catalogue()["step/speedrun"].prepare(open_backend("cpu"))
    for _ in range(3):  # its slow weights move by a table of all steps
        step()


def test_a_timer_repeats_what_is_short_and_tells_one_call() -> None:
    short = Timer(Benchmark("x", lambda _: lambda: time.sleep(0.0005)), open_backend("cpu"))
    assert short.repeats > 5
    assert 0.0005 <= short.sample() < 0.005
    long = Timer(Benchmark("x", lambda _: lambda: time.sleep(0.02)), open_backend("cpu"))
    assert long.repeats == 1
    assert long.sample() >= 0.02


def test_a_worker_of_this_environment() -> None:
    names = ["kernel/add/small", "step/kmeans"]
    with worker() as side:
        assert side.names(names) == names
    added, skipped = measure(
        {"one": worker, "other": worker}, [(name, "cpu") for name in names], rounds=1, pairs=2
    )
    assert added.sound
    assert len(added.times(1)) == 2
    assert min(added.times(0)) > 0
    assert set(skipped.skipped) == {"one", "other"}
