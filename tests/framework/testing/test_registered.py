"""Every registered layer, loss, optimizer and schedule, by the suites that a stranger's use."""

from __future__ import annotations

from typing import Any

from flagstone import nn
from flagstone.plugins import LayerSpec, registry
from flagstone.testing import suites
from flagstone.testing.layer_table import LAYER_SAMPLES

for kind in ("layer", "loss", "optimizer", "schedule"):
    globals().update({f"{name}As{kind.title()}": suite for name, suite in suites(kind).items()})

BASES = {"Layer", "Conv", "ConvTranspose", "MaxPool", "AvgPool"}  # what others derive from


def missing_rows(of: str = "flagstone") -> list[str]:
    """The layers of our own plugins, or those of another distribution, that have no row."""
    own = {
        spec.name
        for spec in registry.specs("layer")
        if spec.provider is not None and spec.provider.distribution == of
    }
    return sorted(own - set(LAYER_SAMPLES))


def test_every_layer_of_ours_has_a_row_in_the_table_of_layers() -> None:
    """Nothing of ours is left to guesses."""
    assert missing_rows() == []
    assert set(LAYER_SAMPLES) <= set(registry.names("layer"))


def test_a_layer_without_a_row_is_found(planted: Any) -> None:
    with planted(LayerSpec("planted", "flagstone.nn:ReLU")):
        provider = registry.find("layer", "planted").provider
        assert provider is not None
        assert missing_rows(provider.distribution) == ["planted"]


def test_every_public_layer_is_registered() -> None:
    public = {getattr(nn, name) for name in nn.__all__}
    layers = {c for c in public if isinstance(c, type) and issubclass(c, nn.Layer)}
    registered = {registry.load("layer", name) for name in registry.names("layer")}
    assert {c.__name__ for c in layers - registered} == BASES
