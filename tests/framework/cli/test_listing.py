"""What is there: models, datasets, backends, plugins, and a doctor's report."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flagstone.plugins import registry


@pytest.mark.parametrize("kind", ["model", "dataset", "backend"])
def test_lists_say_what_the_registry_says(run: Callable[..., Any], kind: str) -> None:
    rows = run(f"{kind}s --json").json[f"{kind}s"]
    assert sorted(row["name"] for row in rows) == registry.names(kind)
    text = run(f"{kind}s").out
    for row in rows:
        spec = registry.find(kind, row["name"])
        assert row["summary"] == spec.summary
        assert spec.provider is not None
        assert row["provider"] == spec.provider.name
        assert f"\n{row['name']} " in text
        assert spec.summary in text


def test_a_dataset_that_lacks_something_says_what(
    run: Callable[..., Any], plugin: Callable[[str], Path]
) -> None:
    plugin(
        """
        import flagstone as fs

        @fs.hookimpl
        def flagstone_datasets():
            yield fs.DatasetSpec("far", "x:y", "far away", ("no_such_module",), task="regression")
        """
    )
    assert "far away (needs no_such_module, not installed)" in run("datasets").out
    (row,) = (r for r in run("datasets --json").json["datasets"] if r["name"] == "far")
    assert (row["requires"], row["missing"]) == (["no_such_module"], ["no_such_module"])


BACKEND = """
    import flagstone as fs
    from flagstone.plugins import Probe, hookimpl

    @hookimpl
    def flagstone_backends():
        yield fs.BackendSpec("tpu", "test_plugin:missing", "far away", devices=("tpu",),
                             probe="test_plugin:probe", priority=1000)

    def probe():
        return Probe(False, "no card in here")
"""


def test_a_backend_that_does_not_work_says_why(
    run: Callable[..., Any], plugin: Callable[[str], Path]
) -> None:
    plugin(BACKEND)
    rows = run("backends --json").json["backends"]
    assert rows[0]["name"] == "tpu"
    assert (rows[0]["works"], rows[0]["reason"]) == (False, "no card in here")
    assert "no: no card in here" in run("backends").out
    assert "tpu (tpu): does not work: no card in here" in run("doctor").out
    done = run("train softmax --data iris --device tpu")
    assert (done.code, done.error) == (3, "device 'tpu': no card in here")
    assert run("train softmax --data iris --epochs 1 --json").json["device"] == "cpu"


def test_plugins_list(run: Callable[..., Any]) -> None:
    rows = {row["name"]: row for row in run("plugins list --json").json["plugins"]}
    assert rows["numpy"]["status"] == "ok"
    assert rows["numpy"]["provides"] == {"backend": ["numpy"]}
    assert rows["numpy"]["distribution"] == "flagstone"
    text = run("plugins list --kind backend").out
    assert "backend: numpy" in text
    assert "classifier" not in text
    assert "is not one of" in run("plugins list --kind nix").error
    placed = {row["name"]: row["location"] for row in rows.values()}
    assert placed["numpy"].endswith("flagstone_numpy/__init__.py")
    told = [line for line in run("plugins list --where").out.splitlines() if "numpy" in line]
    assert told[0].split() == ["numpy", "ok", "flagstone", "0.1.0", placed["numpy"]]


def test_doctor_reports_what_is_here(run: Callable[..., Any], monkeypatch: Any) -> None:
    import platform

    monkeypatch.setenv("FLAGSTONE_SEED", "3")
    report = run("doctor --json").json
    assert report["python"] == platform.python_version()
    assert report["numpy"] == np.__version__
    assert report["variables"]["FLAGSTONE_SEED"] == "3"
    assert report["extras"]["sklearn"] == {
        "scikit-learn": importlib.metadata.version("scikit-learn")
    }
    (numpy,) = (row for row in report["backends"] if row["name"] == "numpy")
    assert numpy["works"]
    assert np.__version__ in numpy["detail"]
    text = run("doctor").out
    for part in ("FLAGSTONE_SEED=3", "sklearn: installed", numpy["detail"], "\nproblems\n"):
        assert part in text


def test_doctor_tells_what_is_missing_apart_from_what_is_there(
    run: Callable[..., Any], monkeypatch: Any
) -> None:
    extras = {"all": {"here": "1.0", "gone": None, "lost": None}, "none": {"gone": None}}
    monkeypatch.setattr("flagstone.cli.doctor._extras", lambda: extras)
    text = run("doctor").out
    assert "  all: not installed (missing: gone, lost; there: here 1.0)\n" in text
    assert "  none: not installed (missing: gone)\n" in text


def test_doctor_tells_which_kernel_serves_which_op(run: Callable[..., Any]) -> None:
    from flagstone.backend import open_backend
    from flagstone.ops import ALL_OPS

    ops = run("doctor --ops --json").json["ops"]
    kernels = open_backend("cpu").kernels
    assert set(ops["served_by"]) == set(ALL_OPS)
    generic = {name for name, by in ops["served_by"].items() if by == "generic"}
    assert generic == set(ALL_OPS) - set(kernels)
    assert ops["served_by"]["log_softmax"].startswith("flagstone_numpy.kernels.")
    assert "ops on cpu (numpy)" in run("doctor --ops --device cpu").out
    assert run("doctor --ops --device tpu").code == 2


def test_doctor_shows_a_plugins_kernel_and_the_one_behind_it() -> None:
    from flagstone.backend import declines
    from flagstone.cli.doctor import _served_by
    from flagstone.kernels import in_front

    @declines
    def added(x: Any) -> Any:
        return x

    def own(x: Any, precision: str = "exact") -> Any:
        return x, precision

    names = [f"{f.__module__}:{f.__qualname__}" for f in (added, own)]
    assert _served_by(in_front(added, own)) == ", then ".join(names)
    assert _served_by(in_front(own, added)) == names[1]  # which declines nothing


def test_doctor_warns_of_two_cupys(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: Any
) -> None:
    for name in ("cupy-cuda12x", "cupy-cuda13x"):
        info = tmp_path / "site" / f"{name.replace('-', '_')}-14.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 14.0\n")
    assert "distributions of CuPy" not in run("doctor").out
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert (
        "2 distributions of CuPy are installed (cupy-cuda12x, cupy-cuda13x) and overwrite each "
        "other; uninstall all of them, then install one"
    ) in run("doctor --json").json["problems"]


@pytest.mark.parametrize(
    ("device", "code", "message"),
    [("foo", 2, "unknown device 'foo'"), ("far", 3, "device 'far': no card"), ("?", 2, "got '?'")],
)
def test_doctor_tells_of_a_device_that_cannot_be_used(
    run: Callable[..., Any],
    plugin: Callable[[str], Path],
    monkeypatch: Any,
    device: str,
    code: int,
    message: str,
) -> None:
    plugin(BACKEND.replace("tpu", "far"))
    done = run(f"doctor --json --device {device}")
    assert done.code == code
    (problem,) = (text for text in done.json["problems"] if message in text)
    assert problem.startswith("--device: ")
    assert message in done.error
    monkeypatch.setenv("FLAGSTONE_DEVICE", device)
    done = run("doctor --json")
    assert done.code == 0
    (problem,) = (text for text in done.json["problems"] if message in text)
    assert "FLAGSTONE_DEVICE" in problem
