"""Tables of the course's labs that are read from ``$FLAGSTONE_DATA/course``."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import flagstone.data
from flagstone.data import Dataset
from flagstone.errors import InputError, UnavailableError
from flagstone_datasets.places import VARIABLE, data_directory

PIMA_FEATURES = (
    "pregnancies",
    "glucose",
    "blood pressure",
    "skin thickness",
    "insulin",
    "body mass index",
    "pedigree",
    "age",
)
ZOO_FEATURES = (
    "hair",
    "feathers",
    "eggs",
    "milk",
    "airborne",
    "aquatic",
    "predator",
    "toothed",
    "backbone",
    "breathes",
    "venomous",
    "fins",
    "legs",
    "tail",
    "domestic",
    "catsize",
)


def pima() -> Dataset:
    """Diabetes among 759 Pima women: 8 measurements, scaled by the course to about [-1, 1]."""
    return _read("pima", "data-03-diabetes.csv", PIMA_FEATURES, "diabetes")


def zoo() -> Dataset:
    """101 animals of 7 kinds (0 to 6) by 16 traits."""
    return _read("zoo", "data-04-zoo.csv", ZOO_FEATURES, "type")


def _read(name: str, file: str, features: tuple[str, ...], target: str) -> Dataset:
    path = _find(name, file)
    dataset = flagstone.data.load(path, task="classification")
    if dataset.X.shape[1] != len(features):
        raise InputError(
            f"{path}: expected {len(features)} feature columns and the target; "
            f"got {dataset.X.shape[1]}"
        )
    return dataclasses.replace(dataset, name=name, feature_names=features, target_names=(target,))


def _find(name: str, file: str) -> Path:
    directory = data_directory()
    if directory is None:
        raise UnavailableError(
            f"dataset {name}: set {VARIABLE} to a directory that holds course/{file} "
            f"(a file of the course Deep Learning Zero To All)"
        )
    path = directory / "course" / file
    if not path.is_file():
        raise UnavailableError(
            f"dataset {name}: {path} is missing; put {file} "
            f"(a file of the course Deep Learning Zero To All) there"
        )
    return path
