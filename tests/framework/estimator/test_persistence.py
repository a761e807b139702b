"""A saved model predicts bit for bit as before, or the reason why not is one line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flagstone as fs
from flagstone import plugins
from flagstone.errors import (
    ChecksumError,
    ConfigurationError,
    InputError,
    RunError,
    UnavailableError,
    UnknownNameError,
)
from flagstone.plugins import ModelSpec, Provider, hookimpl, registry
from flagstone.training.files import read_arrays, write_arrays

X = np.random.default_rng(0).integers(0, 256, (12, 6, 5), dtype=np.uint8)
Y = np.arange(12) % 2


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["no", "yes"]), np.array([3, 70]), np.array([False, True]), np.array([0.0, 2.0]),
        np.array(["a", "ü"], object),
    ],
    ids=lambda a: str(a.dtype),
)  # fmt: skip
def test_labels_keep_their_type(labels: np.ndarray, tmp_path: Path) -> None:
    x = X.reshape(12, -1)
    model = fs.model("softmax", epochs=2).fit(x, labels[Y])
    model.save(tmp_path / "m")
    other = fs.load(tmp_path / "m")
    assert other.classes_.dtype == labels.dtype
    assert other.predict(x).tolist() == model.predict(x).tolist()
    assert other.n_features_in_ == 30


def test_names_of_features_are_kept(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn, which reads data frames, is not there")
    polars = pytest.importorskip("polars", reason="polars is not installed")
    frame = polars.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "b": [4.0, 1.0, 2.0, 3.0]})
    model = fs.model("linear").fit(frame, np.array([1.0, 2.0, 3.0, 4.0]))
    model.save(tmp_path / "m")
    other = fs.load(tmp_path / "m")
    assert other.feature_names_in_.tolist() == ["a", "b"]
    np.testing.assert_array_equal(other.predict(frame), model.predict(frame))
    with pytest.raises(InputError, match="feature names"):
        other.predict(frame[["b", "a"]])


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    fs.model("softmax", epochs=1, device="cpu").fit(X, Y).save(path)
    return path


def test_the_device_can_be_overridden(saved: Path) -> None:
    assert fs.load(saved).device == "cpu"
    assert fs.load(saved, device="numpy").device == "numpy"
    with pytest.raises(UnknownNameError, match="unknown device 'abacus'"):
        fs.load(saved, device="abacus")


def test_a_model_that_no_plugin_provides(saved: Path) -> None:
    arrays, metadata = read_arrays(saved)
    del metadata["plugin"]  # a file of an earlier version
    write_arrays(saved, arrays, {**metadata, "model": "from-elsewhere"})
    told = "holds a model 'from-elsewhere', which no plugin provides here; install the plugin it"
    with pytest.raises(UnavailableError, match=told):
        fs.load(saved)


PLUGIN = """
from flagstone.plugins import ModelSpec, hookimpl

@hookimpl
def flagstone_models():
    yield ModelSpec("absent", "flagstone_classifier.softmax:SoftmaxRegression",
                    task="classification")
"""


def test_a_model_of_an_absent_plugin_names_its_distribution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "absent_plugin.py").write_text(PLUGIN, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "model.safetensors"
    absent = Provider("absent", "absent_plugin", "flagstone-absent", "1.2")
    own = {"core": "flagstone.builtins", "numpy": "flagstone_numpy"}
    providers = [Provider(name, module, "flagstone") for name, module in own.items()]
    with registry.isolated([*providers, absent]):
        fs.model("absent", device="cpu", epochs=1).fit(X, Y).save(path)
    del sys.modules["absent_plugin"]
    told = (
        r"'absent', which no plugin provides here; it was saved with plugin 'absent' of "
        r"flagstone-absent 1\.2: pip install flagstone-absent\."
    )
    with pytest.raises(UnavailableError, match=told) as error:
        fs.load(path)
    assert error.value.exit_code == 3


def test_a_model_of_a_plugin_of_another_process(tmp_path: Path) -> None:
    class Planted:
        @hookimpl
        def flagstone_models(self) -> Any:
            target = "flagstone_classifier.softmax:SoftmaxRegression"
            return [ModelSpec("another", target, task="classification")]

    path = tmp_path / "model.safetensors"
    fs.model("softmax", epochs=1, device="cpu").fit(X, Y).save(path)
    arrays, metadata = read_arrays(path)
    assert metadata["plugin"] == {
        "name": "classifier",
        "distribution": "flagstone",
        "version": fs.__version__,
        "target": "flagstone_classifier.softmax:SoftmaxRegression",
    }
    plugins.register(Planted(), "planted")
    try:
        given = {"name": "planted", "distribution": "", "version": "", "target": "m:Model"}
        write_arrays(path, arrays, {**metadata, "model": "another", "plugin": given})
        assert isinstance(fs.load(path), type(fs.model("softmax")))
    finally:
        plugins.unregister("planted")
    told = "saved with m:Model, which was registered in that process only: register it here too"
    with pytest.raises(UnavailableError, match=told):
        fs.load(path)


def test_a_file_of_another_format_or_kind(saved: Path, tmp_path: Path) -> None:
    arrays, metadata = read_arrays(saved)
    write_arrays(saved, arrays, {**metadata, "format": 99})
    with pytest.raises(RunError, match="expected a model file of format 1; got format 99"):
        fs.load(saved)
    write_arrays(saved, arrays, {"epoch": 3})
    with pytest.raises(RunError, match="expected a model file"):
        fs.load(saved)
    (tmp_path / "text").write_text("no model")
    for path in (tmp_path / "text", tmp_path / "absent", tmp_path):
        with pytest.raises(RunError) as caught:
            fs.load(path)
        assert str(path) in str(caught.value)


def test_a_directory_says_what_to_give_instead(saved: Path, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "softmax-0001"
    run.mkdir(parents=True)
    with pytest.raises(RunError, match=r"directory of one run.*got another directory\. Give what"):
        fs.load(run)
    (run / "model.safetensors").write_bytes(saved.read_bytes())
    with pytest.raises(RunError, match=f"such as .*{run.name}'$"):
        fs.load(run.parent)
    assert fs.load(run).task == "classification"
    (run / "model.safetensors").unlink()
    (run / "config.toml").touch()
    with pytest.raises(
        RunError, match=r"no model\.safetensors yet; finish it with flagstone train"
    ):
        fs.load(run)
    with pytest.raises(RunError, match="no such file"):
        fs.load(tmp_path / "nowhere")


@pytest.mark.parametrize("where", [0.1, 0.5, 0.999])
def test_a_flipped_bit_is_noticed(saved: Path, where: float) -> None:
    content = bytearray(saved.read_bytes())
    content[int(where * len(content))] ^= 4
    saved.write_bytes(content)
    with pytest.raises(RunError):
        fs.load(saved)


def test_a_flipped_bit_in_the_weights_is_a_checksum_error(saved: Path) -> None:
    content = bytearray(saved.read_bytes())
    content[-1] ^= 1
    saved.write_bytes(content)
    with pytest.raises(ChecksumError, match=r"model\.safetensors"):
        fs.load(saved)


def test_an_unknown_hyperparameter_in_the_file(saved: Path) -> None:
    arrays, metadata = read_arrays(saved)
    params = {**metadata["params"], "momentum": 1}
    write_arrays(saved, arrays, {**metadata, "params": params})
    with pytest.raises(ConfigurationError, match="no hyper-parameter 'momentum'"):
        fs.load(saved)


def test_what_cannot_be_saved_is_refused_and_leaves_the_old_file(saved: Path) -> None:
    before = saved.read_bytes()
    model = fs.load(saved)
    with pytest.raises(InputError, match="JSON"):
        model.save(saved, extra={"x": object()})

    class Stranger(type(model)):  # type: ignore[misc]  # no plugin provides it
        pass

    with pytest.raises(InputError, match="expected a model that a plugin provides"):
        Stranger(epochs=1).fit(X, Y).save(saved)
    assert saved.read_bytes() == before
