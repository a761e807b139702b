"""A fitted model in one file: weights, statistics, classes and hyper-parameters, never code."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flagstone.backend import EXACT, Backend, open_backend
from flagstone.errors import (
    ConfigurationError,
    InputError,
    RunError,
    UnavailableError,
    UnknownNameError,
)
from flagstone.estimator.parameters import require_known
from flagstone.estimator.predictor import Predictor
from flagstone.estimator.spec import Spec
from flagstone.estimator.validation import require_fitted
from flagstone.plugins import ModelSpec, Provider, registry
from flagstone.training.files import read_arrays, write_arrays

FORMAT = 1
MODEL_FILE = "model.safetensors"  # in a run directory
_LAYER = "layer."
_FITTED = "fitted."


def save(model: Predictor, path: Any, extra: Mapping[str, Any]) -> None:
    """Write ``model``; see :meth:`Predictor.save`.

    Raises:
        NotFittedError: it was not fitted.
        InputError: a hyper-parameter or ``extra`` holds what JSON cannot, or no plugin provides
            the model's class, so that it could not be loaded again.
    """
    require_fitted(model)
    arrays = {_LAYER + name: value for name, value in model.layer_.state_dict().items()}
    values: dict[str, Any] = {}
    for name in _remembered(model):
        value = getattr(model, name)
        if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
            arrays[_FITTED + name] = value
        elif isinstance(value, np.ndarray):
            values[name] = {"dtype": value.dtype.str, "values": value.tolist()}
        else:
            values[name] = value
    spec = _registered(type(model))
    metadata = {
        "format": FORMAT,
        "model": spec.name,
        "plugin": _provider(spec),
        "params": {k: _plain(k, v) for k, v in model.get_params().items()},
        "inputs": list(model._inputs.shape),
        "outputs": list(model._outputs.shape),
        "fitted": values,
        "extra": dict(extra),
    }
    try:
        write_arrays(Path(path), arrays, metadata)
    except TypeError as error:
        raise InputError(f"save: expected values that JSON can hold; {error}") from None


def load(path: Any, device: str | None = None, precision: str | None = None) -> Any:
    """The model that :meth:`Predictor.save` wrote.

    Args:
        path: the file, or the directory of a finished run, whose model it is.
        device: where it predicts; by default what its ``device`` hyper-parameter says, so a model
            trained with ``device="cuda"`` says so where there is no card.
        precision: what it predicts in; by default what it was trained in.

    Raises:
        ConfigurationError: the device or the model has no such precision.
        RunError, ChecksumError: the file cannot be read, or was changed.
        UnavailableError: the plugin that provides its model is not installed, or its device is not
            there.
    """
    path = Path(path)
    if (path / MODEL_FILE).is_file():
        path = path / MODEL_FILE
    elif path.is_dir():
        raise RunError(f"{path}: {_of_directory(path)}")
    arrays, metadata = read_arrays(path)
    if metadata.get("format") != FORMAT or "model" not in metadata:
        raise RunError(
            f"{path}: expected a model file of format {FORMAT}; "
            f"got format {metadata.get('format')!r}"
        )
    try:
        cls = registry.load("model", metadata["model"])
    except UnknownNameError:
        raise UnavailableError(
            f"{path}: holds a model {metadata['model']!r}, which no plugin provides here; "
            f"{_told(metadata.get('plugin'))}"
        ) from None
    require_known(f"{path}: model {metadata['model']!r}", metadata["params"], cls.hyperparameters())
    params = {k: tuple(v) if isinstance(v, list) else v for k, v in metadata["params"].items()}
    model: Predictor = cls(**params)
    if device is not None:
        model.device = device
    model._inputs, model._outputs = (
        Spec(tuple(metadata["inputs"])),
        Spec(tuple(metadata["outputs"])),
    )
    for name, value in metadata["fitted"].items():
        is_array = isinstance(value, dict) and value.keys() == {"dtype", "values"}
        setattr(model, name, np.array(value["values"], value["dtype"]) if is_array else value)
    for name, value in arrays.items():
        if name.startswith(_FITTED):
            setattr(model, name.removeprefix(_FITTED), value)
    backend = _backend_for(model, precision, path)
    model.layer_ = model._assemble(backend)
    model.layer_.load_state_dict(
        {k.removeprefix(_LAYER): v for k, v in arrays.items() if k.startswith(_LAYER)}
    )
    if precision not in (None, EXACT) and model.layer_.dtype_name == "float64":
        raise ConfigurationError(
            f"precision expected 'exact', for {path} was trained in float64; got {precision!r}"
        )
    model.device_ = str(backend.device)
    return model


def _of_directory(path: Path) -> str:
    """What is wrong with a directory that holds no model, and what to give instead."""
    if (path / "config.toml").is_file():
        return (
            f"a run that has no {MODEL_FILE} yet; finish it with "
            f"flagstone train --resume {shlex.quote(str(path))}"
        )
    inside = sorted(p.parent.name for p in path.glob(f"*/{MODEL_FILE}"))
    inside += sorted(p.name for p in path.glob("*.safetensors"))
    such = f", such as {str(path / inside[-1])!r}" if inside else ""
    return (
        f"expected a model file or the directory of one run, which holds {MODEL_FILE}; got another "
        f"directory. Give what is to be loaded itself{such}"
    )


def _backend_for(model: Predictor, precision: str | None, path: Path) -> Backend:
    """Where and in what precision a model that is being loaded predicts."""
    if precision is not None:
        if "precision" in model.hyperparameters():
            model.precision = precision  # type: ignore[attr-defined]
        return open_backend(model.device, precision)
    try:
        return open_backend(model.device, getattr(model, "precision", EXACT))
    except ConfigurationError as error:
        raise ConfigurationError(
            f"{error}. {path} was trained so; precision='exact' predicts without"
        ) from None


def _remembered(model: Predictor) -> list[str]:
    """The names of what ``fit`` learned besides the layer."""
    skip = {"layer_", "device_", "_inputs", "_outputs", *model.hyperparameters()}
    return [name for name in vars(model) if name not in skip]


def _provider(spec: ModelSpec) -> dict[str, str]:
    """Who provides a model, for whoever loads it elsewhere."""
    provider = spec.provider or Provider("", "")
    return {
        "name": provider.name,
        "distribution": provider.distribution,
        "version": provider.version,
        "target": spec.target,
    }


def _told(saved: Any) -> str:
    """What to do without the plugin that :func:`_provider` tells of."""
    told = "install the plugin it was trained with"
    if isinstance(saved, Mapping) and saved.get("distribution"):
        name, version = saved["distribution"], saved.get("version", "")
        told = (
            f"it was saved with plugin {saved.get('name')!r} of {name} {version}".rstrip()
            + f": pip install {name}"
        )
    elif isinstance(saved, Mapping):
        told = (
            f"it was saved with {saved.get('target')}, which was registered in that process only: "
            "register it here too (flagstone.plugins.register)"
        )
    return f"{told}. {registry.hint()}".rstrip()


def _registered(cls: type) -> ModelSpec:
    target = f"{cls.__module__}:{cls.__qualname__}"
    for spec in registry.specs("model"):
        if spec.target == target or (
            spec.target.rpartition(":")[2] == cls.__qualname__ and (spec.load() is cls)
        ):
            return spec
    raise InputError(
        f"save: expected a model that a plugin provides, so that load can find it; got {target}. "
        "Register it with a ModelSpec (flagstone.plugins.register does so in one process)"
    )


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return _plain(name, value.tolist())
    if isinstance(value, (tuple, list)):
        return [_plain(name, v) for v in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise InputError(
        f"save: hyper-parameter {name} expected a number, text, or a tuple of them; "
        f"got {type(value).__name__}"
    )
