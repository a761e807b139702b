"""Backends that the framework never heard of, by the suite that NumPy's passes too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flagstone.testing import BackendSuite
from flagstone.testing.host_reads import REFERENCE, check_backend


@pytest.mark.usefixtures("strict")
class TestStrict(BackendSuite):
    """array-api-strict, which refuses whatever the array API standard leaves open."""

    name = "strict"


class TestGeneric(BackendSuite):
    """NumPy without kernels."""

    name = REFERENCE

    @pytest.fixture(autouse=True)
    def _registered(self) -> Iterator[None]:
        with check_backend(REFERENCE):
            yield
