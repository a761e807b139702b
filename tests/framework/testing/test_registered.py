"""Every registered layer, loss, optimizer and schedule, by the suites that a stranger's use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from flagstone import nn
from flagstone.plugins import LayerSpec, LossSpec, registry
from flagstone.testing import suites
from flagstone.testing.layer_table import LAYER_SAMPLES
from flagstone.testing.loss_samples import LOSS_SAMPLES

for kind in ("layer", "loss", "optimizer", "schedule"):
    globals().update({f"{name}As{kind.title()}": suite for name, suite in suites(kind).items()})

TABLES: Mapping[str, Mapping[str, Any]] = {"layer": LAYER_SAMPLES, "loss": LOSS_SAMPLES}
BASES = {"Layer", "Conv", "ConvTranspose", "MaxPool", "AvgPool"}  # what others derive from


def missing_rows(kind: str, of: str = "flagstone") -> list[str]:
    """What our own plugins, or those of another distribution, bring that has no row."""
    own = {
        spec.name
        for spec in registry.specs(kind)
        if spec.provider is not None and spec.provider.distribution == of
    }
    return sorted(own - set(TABLES[kind]))


@pytest.mark.parametrize("kind", TABLES)
def test_what_is_built_in_says_with_what_it_is_checked(kind: str) -> None:
    """Nothing of ours is left to guesses."""
    assert missing_rows(kind) == []
    assert set(TABLES[kind]) <= set(registry.names(kind))


@pytest.mark.parametrize(("kind", "spec"), [("layer", LayerSpec), ("loss", LossSpec)])
def test_one_without_a_row_is_found(planted: Any, kind: str, spec: Any) -> None:
    with planted(spec("planted", "flagstone.nn:ReLU")):
        provider = registry.find(kind, "planted").provider
        assert provider is not None
        assert missing_rows(kind, provider.distribution) == ["planted"]


def test_every_public_layer_is_registered() -> None:
    public = {getattr(nn, name) for name in nn.__all__}
    layers = {c for c in public if isinstance(c, type) and issubclass(c, nn.Layer)}
    registered = {registry.load("layer", name) for name in registry.names("layer")}
    assert {c.__name__ for c in layers - registered} == BASES
