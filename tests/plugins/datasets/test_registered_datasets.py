"""Every registered dataset, by the suite that a stranger's uses; none is downloaded for it."""

from __future__ import annotations

from flagstone.testing import suites

globals().update(suites("dataset"))
