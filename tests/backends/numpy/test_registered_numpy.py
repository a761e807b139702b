"""NumPy's backend and each of its kernels, by the suites that a stranger's use."""

from __future__ import annotations

import pytest

from flagstone.backend import open_backend
from flagstone.plugins import registry
from flagstone.testing import CheckWarning, checkable, suite_of

NOT_HERE = f"default::{CheckWarning.__module__}.{CheckWarning.__name__}"  # times vary in tests

globals()["TestNumpy"] = suite_of(registry.find("backend", "numpy"))
for spec in checkable("kernel", open_backend("cpu")).values():
    suite = suite_of(spec)
    globals()[suite.__name__] = pytest.mark.filterwarnings(NOT_HERE)(suite)
