"""What a run, or ``doctor``, finds around it."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import flagstone

if TYPE_CHECKING:
    from flagstone.backend import Backend


def environment(backend: Backend) -> dict[str, Any]:
    """The document of ``environment.json``."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        **software(),
        "backend": backend.describe(),
        "device": str(backend.device),
        "precision": backend.precision,
        "variables": variables(),
    }


def software() -> dict[str, Any]:
    """Versions, and the machine's kind."""
    import numpy

    return {
        "flagstone": flagstone.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "numpy": numpy.__version__,
    }


def variables() -> dict[str, str]:
    """flagstone's own environment variables, and those that set BLAS's threads."""
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {
        name: value
        for name, value in sorted(os.environ.items())
        if name.startswith("FLAGSTONE_") or name in threads
    }
