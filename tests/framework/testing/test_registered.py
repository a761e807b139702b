"""Every registered layer, loss, optimizer and schedule, by the suites that a stranger's use."""

from __future__ import annotations

from flagstone.testing import suites

for kind in ("layer", "loss", "optimizer", "schedule"):
    globals().update({f"{name}As{kind.title()}": suite for name, suite in suites(kind).items()})
