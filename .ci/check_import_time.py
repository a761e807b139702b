"""Check that ``import flagstone`` is cheap: in time, and in what it brings along.

Each start is a fresh interpreter that imports numpy, or numpy and flagstone; the two alternate, so
that both meet the same weather. What is compared is the median of the differences.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

STARTS = 15
LIMIT_MS = 150.0
HEAVY = (
    "click",
    "cupy",
    "matplotlib",
    "onnx",
    "polars",
    "rich",
    "safetensors",
    "scipy",
    "sklearn",
    "torch",
)

BASELINE = "import numpy"
MEASURED = "import numpy; import flagstone"
LIST_MODULES = "import flagstone, sys; print(*sys.modules, sep='\\n')"


def main() -> int:
    heavy = heavy_modules()
    if heavy:
        print(f"import flagstone imports {', '.join(heavy)}; import them where they are used")
    added = added_milliseconds()
    verdict = "" if added <= LIMIT_MS else ": too slow"
    print(
        f"import flagstone adds {added:.1f} ms to import numpy "
        f"(median of {STARTS} starts, at most {LIMIT_MS:.0f}){verdict}"
    )
    return int(bool(heavy) or added > LIMIT_MS)


def heavy_modules() -> list[str]:
    """Which of ``HEAVY`` are in ``sys.modules`` after ``import flagstone``."""
    run = subprocess.run(
        [sys.executable, "-c", LIST_MODULES],
        env=environment(),
        check=True,
        capture_output=True,
        text=True,
    )
    packages = {name.partition(".")[0] for name in run.stdout.split()}
    return sorted(packages.intersection(HEAVY))


def added_milliseconds() -> float:
    """The median of what a start takes longer for importing flagstone as well."""
    for code in (BASELINE, MEASURED):  # byte code is compiled, files are in memory
        start(code)
    return statistics.median(start(MEASURED) - start(BASELINE) for _ in range(STARTS)) * 1e3


def start(code: str) -> float:
    """Seconds from starting an interpreter to its end."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], env=environment(), check=True)
    return time.perf_counter() - begun


def environment() -> dict[str, str]:
    """Ours, but byte code may be kept: a user's is, and compiling is not what is measured."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


if __name__ == "__main__":
    sys.exit(main())
