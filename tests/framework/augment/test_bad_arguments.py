"""Every option of every augmentation is looked at when it is made."""

from __future__ import annotations

import inspect
import math
import re
from typing import Any

import pytest

from flagstone.errors import ConfigurationError, ShapeError
from flagstone.plugins import registry


class Anything:
    def __repr__(self) -> str:
        return "anything"


def options() -> list[tuple[str, str]]:
    return [
        (name, option)
        for name in registry.names("augmentation")
        for option in inspect.signature(registry.load("augmentation", name)).parameters
    ]


@pytest.mark.parametrize(("name", "option"), options())
def test_an_augmentation_refuses_what_an_option_cannot_be(name: str, option: str) -> None:
    make = registry.load("augmentation", name)
    values: list[Any] = [Anything(), "nonsense", [1], math.nan, math.inf, -1, None]
    for value in values:
        told = rf"augmentation {name}: {option} expected .*; got {re.escape(repr(value))}"
        with pytest.raises(ConfigurationError, match=told):
            make(**{option: value})


@pytest.mark.parametrize("name", [n for n in registry.names("augmentation") if n != "mixup"])
@pytest.mark.parametrize("shape", [(), (28,), (28, 28), (0, 4, 1), (4, 4, 1, 1), None])
def test_an_augmentation_refuses_what_is_no_image(name: str, shape: Any) -> None:
    with pytest.raises(ShapeError, match=rf"augment: {name} .*expected images .*; got examples of"):
        registry.load("augmentation", name)().check(shape)
