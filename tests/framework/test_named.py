"""Options written as text."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from flagstone import nn, optim, schedules
from flagstone.errors import ConfigurationError, UnknownNameError
from flagstone.named import is_number, make, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sgd", ("sgd", {})),
        ("  sgd ", ("sgd", {})),
        ("sgd()", ("sgd", {})),
        ("sgd(momentum=0.9)", ("sgd", {"momentum": 0.9})),
        ("sgd (momentum = 0.9, nesterov=True,)", ("sgd", {"momentum": 0.9, "nesterov": True})),
        ("adam(betas=(0.8, 0.9), eps=1e-6)", ("adam", {"betas": (0.8, 0.9), "eps": 1e-6})),
        ("x(a=-1, b='(', c=None, d=[1])", ("x", {"a": -1, "b": "(", "c": None, "d": [1]})),
    ],
)
def test_parse(text: str, expected: tuple[str, dict[str, Any]]) -> None:
    assert parse("optimizer", text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "sgd(0.9)", "sgd(momentum=0.9", "sgd(momentum=0.9))", "sgd(momentum=high)", "sgd(**{})",
        "sgd(*[1])", "sgd(momentum=0.9)(nesterov=True)", "sgd(momentum=0.9).x(a=1)", "sgd() + 1",
        "sgd(momentum=__import__('os'))", "sgd(momentum=0.9, momentum=0.8)", "sgd(a=1);", "sgd(\0)",
        "sgd(momentum==1)", "sgd(momentum:=1)", "sgd(lambda=1)",
    ],
)  # fmt: skip
def test_text_of_another_form_is_refused(text: str) -> None:
    message = f"optimizer: expected a name or name(option=value, ...); got {text!r}"
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        make("optimizer", text, nn.Linear(1, 1), 0.1)


def test_an_optimizer_with_its_options() -> None:
    layer = nn.Linear(1, 1)
    given = make("optimizer", "sgd(momentum=0.9, nesterov=True)", layer, 0.25)
    assert isinstance(given, optim.SGD)
    assert (given.lr, given.momentum, given.nesterov) == (0.25, 0.9, True)


def test_what_is_no_text_is_given_back() -> None:
    schedule = schedules.Cosine()
    assert make("schedule", schedule) is schedule


def test_an_unknown_name_and_an_unknown_option() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown optimizer 'adm'.*Did you mean 'adam'"):
        make("optimizer", "adm")
    with pytest.raises(ConfigurationError, match=r"optimizer: expected a name or .*; got ''"):
        make("optimizer", "")
    with pytest.raises(
        ConfigurationError,
        match=r"'sgd' has no option 'momentun'; known: momentum, .*Did you mean 'momentum'",
    ):
        make("optimizer", "sgd(momentun=0.9)", nn.Linear(1, 1), 0.1)
    with pytest.raises(ConfigurationError, match="layer 'relu' has no option 'slope'; known: none"):
        make("layer", "relu(slope=1)")


@pytest.mark.parametrize("option", ["lr=0.1", "layer=None"])
def test_what_the_framework_passes_is_no_option(option: str) -> None:
    with pytest.raises(ConfigurationError, match="optimizer 'sgd' has no option"):
        make("optimizer", f"sgd({option})", nn.Linear(1, 1), 0.1)


def test_what_cannot_be_made_without_an_option_says_so() -> None:
    expected = "schedule 'multi-step' cannot be made without milestones; write multi-step(mileston"
    with pytest.raises(ConfigurationError, match=f"^{re.escape(expected)}"):
        make("schedule", "multi-step")
    expected = "'piecewise' cannot be made without factors; write piecewise(factors=...)"
    with pytest.raises(ConfigurationError, match=re.escape(expected)):
        make("schedule", "piecewise(at=[3])")
    assert make("schedule", "multi-step(milestones=[3])").milestones == (3,)


def test_an_option_of_the_wrong_type_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"SGD: momentum expected .*; got 'high'"):
        make("optimizer", "sgd(momentum='high')", nn.Linear(1, 1), 0.1)


def test_is_number() -> None:
    for yes in (0, 1.5, float("nan"), np.float32(1), np.int64(2), -3):
        assert is_number(yes)
    for no in (True, np.True_, "1", None, 1j, [1], np.ones(1)):
        assert not is_number(no)
