"""What a run is asked to do: flags before environment before configuration file before defaults."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from flagstone.backend import EXACT
from flagstone.cli.hyperparameters import Hyperparameter, as_toml
from flagstone.cli.train_options import PREFIX, chosen_model, given, hyperparameters
from flagstone.errors import ConfigurationError, InputError, UnknownNameError
from flagstone.plugins import ModelSpec, registry

VALIDATION = Hyperparameter("validation", float, 0.1)
TOP_LEVEL = ("model", "data", "target", "validation", "out", "parameters", "run")
FORMAT = 1


@dataclass(frozen=True)
class Settings:
    """One run, as asked for.

    Attributes:
        model: the registered name.
        data: a registered name, or a path as it was given.
        target: the target column of a file, if one was named.
        validation: the fraction of rows that is held out; None where nobody said.
        out: where run directories are made.
        parameters: every hyper-parameter of the model, and ``seed`` and ``device``.
        own: the names among ``parameters`` that the model takes.
    """

    model: str
    data: str
    target: str | None
    validation: float | None
    out: str
    parameters: Mapping[str, Any]
    own: tuple[str, ...] = field(default=(), compare=False)

    @property
    def seed(self) -> int:
        """Of everything random, the split included."""
        return int(self.parameters["seed"])

    @property
    def device(self) -> str:
        """As it was asked for, such as ``auto``."""
        return str(self.parameters["device"])

    @property
    def precision(self) -> str:
        """What the backend computes in; ``exact`` for a model that does not ask."""
        return str(self.parameters.get("precision", EXACT))

    def estimator(self, device: str) -> Any:
        """The model, unfitted, for a device."""
        values = {**self.parameters, "device": device}
        return registry.load("model", self.model)(**{name: values[name] for name in self.own})

    def as_config(self) -> dict[str, Any]:
        """What ``--config`` reads to do the same again."""
        config: dict[str, Any] = {"model": self.model, "data": lasting(self.data)}
        if self.target is not None:
            config["target"] = self.target
        if self.validation is not None:
            config["validation"] = self.validation
        parameters = {name: as_toml(value) for name, value in self.parameters.items()}
        return {**config, "parameters": parameters}


def settings_of(ctx: click.Context) -> Settings:
    """Resolve a command line that names its model and data."""
    known = hyperparameters(ctx)
    layers = [
        _flags(ctx, known),
        given(ctx, ParameterSource.ENVIRONMENT),
        _from_file(ctx.params["config"], known, chosen_model(ctx)),
    ]

    def pick(name: str, default: Any) -> tuple[Any, str]:
        return next((layer[name] for layer in layers if name in layer), (default, ""))

    spec = chosen_model(ctx)
    if spec is None:
        raise click.UsageError("Missing argument MODEL; `flagstone models` lists them.", ctx)
    data, _ = pick("data", None)
    if data is None:
        raise click.UsageError("Missing option --data: a registered dataset or a path.", ctx)
    values = {}
    for name, h in known.items():
        value, where = pick(PREFIX + name, None)
        values[name] = h.accept(value, where) if where else h.default
    fraction = _fraction(*pick("validation", None))
    named = PREFIX + "validation_fraction"  # the same by the estimator's name
    # A file has every hyper-parameter: a 0 there is nobody's wish.
    if values.get("validation_fraction") or any(named in layer for layer in layers[:2]):
        if fraction is not None:
            raise ConfigurationError("--validation and --validation-fraction exclude each other")
        where = pick(named, None)[1] or "validation_fraction"
        fraction = _fraction(values["validation_fraction"], where)
        values["validation_fraction"] = 0.0
    return Settings(
        model=spec.name,
        data=str(data),
        target=_text(pick("target", None)),
        validation=fraction,
        out=str(pick("out", "runs")[0]),
        parameters=values,
        own=tuple(spec.load().hyperparameters()),
    )


def settings_from_run(
    config: Mapping[str, Any], known: Mapping[str, Hyperparameter], own: tuple[str, ...], out: str
) -> Settings:
    """The settings that a run was made with; what it does not say has its default."""
    saved = _checked_names(config.get("parameters", {}), known, str(config.get("model")), "run")
    return Settings(
        model=str(config["model"]),
        data=str(config["data"]),
        target=config.get("target"),
        validation=config.get("validation"),
        out=out,
        parameters={
            name: h.accept(saved[name], name) if name in saved else h.default
            for name, h in known.items()
        },
        own=own,
    )


def read_config_file(path: str) -> dict[str, Any]:
    """A configuration file, its top level checked.

    Raises:
        ConfigurationError, InputError: it cannot be read, or holds what no file may hold.
    """
    try:
        config = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"--config {path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigurationError(f"--config {path}: not valid TOML: {error}") from error
    for name in config:
        if name not in TOP_LEVEL:
            hint = "Hyper-parameters stand under [parameters]."
            raise UnknownNameError(f"setting in {path}", name, TOP_LEVEL, hint)
    if not isinstance(config.get("parameters", {}), dict):
        raise ConfigurationError(f"{path}: parameters: expected a table, [parameters]")
    return config


def lasting(data: str) -> str:
    """A registered name as it is; a path such that it holds in every working directory."""
    return data if data in registry.names("dataset") else os.path.abspath(os.path.expanduser(data))


def _flags(ctx: click.Context, known: Mapping[str, Hyperparameter]) -> dict[str, tuple[Any, str]]:
    """The flags, --set among them."""
    flags = given(ctx, ParameterSource.COMMANDLINE)
    for assignment in ctx.params["set_"]:
        name, equals, value = assignment.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name:
            raise ConfigurationError(f"--set: expected name=value; got {assignment!r}")
        _checked_names({name: value}, known, str(ctx.params["model"]), "--set")
        if PREFIX + name in flags:
            raise ConfigurationError(f"--set {name}: {name} is given twice")
        flags[PREFIX + name] = (value, f"--set {name}")
    return flags


def _from_file(
    path: str | None, known: Mapping[str, Hyperparameter], spec: ModelSpec | None
) -> dict[str, tuple[Any, str]]:
    if path is None:
        return {}
    config = read_config_file(path)
    model = "the model" if spec is None else spec.name
    hint = ""
    if spec is not None and config.get("model", model) != model:
        hint = f"{path} is for the model {config['model']!r}, and the command line names {model!r}."
    parameters = _checked_names(config.pop("parameters", {}), known, model, path, hint)
    prefixed = {PREFIX + name: value for name, value in parameters.items()}
    return {
        name: (value, f"{path}, {name.removeprefix(PREFIX)}")
        for name, value in {**config, **prefixed}.items()
    }


def _checked_names(
    values: Mapping[str, Any],
    known: Mapping[str, Hyperparameter],
    model: str,
    where: str,
    hint: str = "",
) -> Mapping[str, Any]:
    for name in values:
        if name not in known:
            raise UnknownNameError(f"hyper-parameter of {model} in {where}", name, known, hint)
    return values


def _text(picked: tuple[Any, str]) -> str | None:
    return None if picked[0] is None else str(picked[0])


def _fraction(value: Any, where: str) -> float | None:
    if value is None:
        return None
    fraction = float(VALIDATION.accept(value, where))
    if not 0 <= fraction < 1:
        raise ConfigurationError(
            f"{where}: expected a fraction of the rows, at least 0 and below 1; got {value}"
        )
    return fraction
