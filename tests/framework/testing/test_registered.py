"""Every registered layer, loss, optimizer and schedule, by the suites that a stranger's use."""

from __future__ import annotations

from flagstone.plugins import registry
from flagstone.testing import suites
from flagstone.testing.layer_table import LAYER_SAMPLES
from flagstone.testing.loss_samples import LOSS_SAMPLES

for kind in ("layer", "loss", "optimizer", "schedule"):
    globals().update({f"{name}As{kind.title()}": suite for name, suite in suites(kind).items()})


def test_what_is_built_in_says_with_what_it_is_checked() -> None:
    """Nothing of ours is left to guesses."""
    for kind, samples in (("layer", LAYER_SAMPLES), ("loss", LOSS_SAMPLES)):
        own = {
            spec.name
            for spec in registry.specs(kind)
            if spec.provider is not None and spec.provider.distribution == "flagstone"
        }
        assert own <= set(samples), f"without samples: {own - set(samples)}"
        assert set(samples) <= set(registry.names(kind))
