"""Values are read as annotations say, and a wrong one is named."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Sequence
from typing import Any, Literal, Optional

import pytest
import tomli_w

from flagstone.cli.hyperparameters import Hyperparameter, as_toml, hyperparameters_of, written
from flagstone.errors import ConfigurationError

READ = [
    (int, "3", 3),
    (int, " -3 ", -3),
    (float, "1e-3", 1e-3),
    (float, "2", 2.0),
    (str, "adam", "adam"),
    (str, "none", "none"),
    (str, "1", "1"),
    (bool, "true", True),
    (bool, "No", False),
    (bool, "0", False),
    (int | None, "none", None),
    (int | None, "5", 5),
    (Optional[float], "None", None),  # noqa: UP045 - authors still write it
    (int | float, "3", 3),
    (int | float, "3.5", 3.5),
    (float | str, "auto", "auto"),
    (str | float, "0.5", 0.5),
    (tuple[int, ...], "256,256", (256, 256)),
    (tuple[int, ...], "256", (256,)),
    (tuple[int, ...], "(64, 32)", (64, 32)),
    (tuple[int, ...], "(64,)", (64,)),
    (tuple[int, ...], "", ()),
    (tuple[float, float], "0.9,0.999", (0.9, 0.999)),
    (tuple[int, ...] | None, "none", None),
    (Sequence[int], "1,2", (1, 2)),
    (list[str], "a,b", ("a", "b")),
    (Literal["same", "valid"], "same", "same"),
    (Literal[1, 2], "2", 2),
    (Any, "3", 3),
    (Any, "3.5", 3.5),
    (Any, "none", None),
    (Any, "true", True),
    (Any, "adam", "adam"),
]


@pytest.mark.parametrize(("annotation", "text", "expected"), READ)
def test_text_is_read(annotation: Any, text: str, expected: Any) -> None:
    value = Hyperparameter("x", annotation, None).parse(text, "--x")
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "text", "expected"),
    [
        (int, "3.5", "a whole number"),
        (int, "1_000", "a whole number"),
        (int, "", "a whole number"),
        (float, "abc", "a number"),
        (bool, "maybe", "true or false"),
        (int | None, "x", "a whole number or none"),
        (tuple[int, ...], "1,a", "whole numbers separated by commas"),
        (tuple[int, ...], "1,,2", "whole numbers separated by commas"),
        (tuple[float, float], "1", "2 numbers separated by commas"),
        (Literal["same", "valid"], "full", "one of same, valid"),
    ],
)
def test_a_wrong_value_says_what_was_expected(annotation: Any, text: str, expected: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Hyperparameter("x", annotation, None).parse(text, "--x")
    assert str(caught.value) == f"--x: expected {expected}; got {text!r}"


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, 3),
        (float, 0.001),
        (float, 1e-30),
        (bool, False),
        (str, "sgd(momentum=0.9)"),
        (int | None, None),
        (tuple[int, ...], (256, 256)),
        (tuple[int, ...], ()),
        (tuple[float, ...], (0.1, 1e-9)),
    ],
)
def test_values_survive_toml_and_text(annotation: Any, value: Any) -> None:
    h = Hyperparameter("x", annotation, None)
    from_toml = tomllib.loads(tomli_w.dumps({"x": as_toml(value)}))["x"]
    assert h.accept(from_toml, "x") == value
    assert h.parse(written(value), "x") == value


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, 1.5),
        (int, True),
        (int, [1]),
        (float, False),
        (float, {"a": 1}),
        (tuple[int, ...], 1.5),
    ],
)
def test_toml_of_another_type_is_refused(annotation: Any, value: Any) -> None:
    with pytest.raises(ConfigurationError, match="x: expected"):
        Hyperparameter("x", annotation, None).accept(value, "x")


def test_a_model_is_asked_for_names_types_defaults_and_documentation() -> None:
    class Base:
        """Shared.

        Attributes:
            lr: the learning rate,
                which is positive.
            seed: overridden below.
        """

    class Model(Base):
        """A model.

        Attributes:
            seed, ``other``: text that is no list entry.
            seed, bias: of everything.
        """

        @classmethod
        def hyperparameters(cls) -> dict[str, inspect.Parameter]:
            return {
                name: inspect.Parameter(
                    name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
                )
                for name, default, annotation in [
                    ("lr", 0.1, float),
                    ("seed", 0, inspect.Parameter.empty),
                    ("bias", (1, 2), "unresolvable"),
                    ("odd", None, inspect.Parameter.empty),
                ]
            }

    found = hyperparameters_of(Model)
    assert list(found) == ["lr", "seed", "bias", "odd"]
    assert found["lr"].help == "the learning rate, which is positive."
    assert found["seed"].help == found["bias"].help == "of everything."
    assert found["seed"].annotation is int
    assert found["bias"].parse("3,4", "") == (3, 4)
    assert found["odd"].parse("none", "") is None
    assert Hyperparameter("weight_decay", float, 0.0).flag == "--weight-decay"
