"""Weight decay joins an optimizer that is written as text, wherever it belongs there."""

from __future__ import annotations

import re

import pytest

from flagstone.errors import ConfigurationError, UnknownNameError
from flagstone.optim import with_weight_decay


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sgd", "sgd(weight_decay=0.5)"),
        ("sgd(momentum=0.9)", "sgd(momentum=0.9, weight_decay=0.5)"),
        ("lbfgs", "lbfgs(weight_decay=0.5)"),
        ("lookahead", "lookahead(base='sgd(momentum=0.9, weight_decay=0.5)')"),
        ("lookahead(base='adam', k=3)", "lookahead(base='adam(weight_decay=0.5)', k=3)"),
        (
            "lookahead(base='lookahead(base=\"sgd\")')",
            "lookahead(base=\"lookahead(base='sgd(weight_decay=0.5)')\")",
        ),
        ("lookahead(base=3)", "lookahead(base=3)"),
    ],
)
def test_it_is_written_where_it_belongs(text: str, expected: str) -> None:
    assert with_weight_decay(text, 0.5) == expected
    assert with_weight_decay(text, 0.0) == text


@pytest.mark.parametrize("text", ["sgd(weight_decay=0.1)", "lookahead(base='sgd(weight_decay=0)')"])
def test_twice_is_refused(text: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"weight_decay expected once; got 0\.5 and, in opt"
    ):
        with_weight_decay(text, 0.5)


def test_an_optimizer_without_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from flagstone.plugins import registry

    monkeypatch.setattr(registry, "load", lambda kind, name: lambda layer, lr: None)
    message = "weight_decay expected 0, for the optimizer 'plain' has no weight decay; got 0.5"
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        with_weight_decay("plain", 0.5)
    monkeypatch.undo()
    with pytest.raises(UnknownNameError, match="unknown optimizer 'adm'"):
        with_weight_decay("adm", 0.5)
