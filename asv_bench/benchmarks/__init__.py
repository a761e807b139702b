"""asv's benchmarks: the catalogue of this checkout, whichever commit's flagstone is installed.

``flagstone.benchmarking`` is taken from beside this folder, so that one definition serves the whole
history; what a commit does not have is skipped there.
"""

import importlib.util
import sys
from pathlib import Path

_FOLDER = Path(__file__).resolve().parents[2] / "framework" / "flagstone" / "benchmarking"


def _use_definitions():
    spec = importlib.util.spec_from_file_location("_worker", _FOLDER / "worker.py")
    worker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(worker)
    worker.use_definitions(_FOLDER)


if "flagstone.benchmarking" not in sys.modules:
    _use_definitions()
