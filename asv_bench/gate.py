"""The gate of pull requests: is HEAD slower than BASE?

    python asv_bench/gate.py origin/main HEAD [NAME ...] [--factor 1.3] [--markdown FILE]

It is ``python -m flagstone.benchmarking.gate`` from this checkout. ``--help`` tells the exit codes.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

BROKEN_BUILD = 3  # the gate's own code for it


def main() -> int:
    """Run the gate; a checkout that cannot be imported is a broken build, no regression."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "framework"))
    try:
        from flagstone.benchmarking import gate
    except Exception:  # noqa: BLE001 - whatever keeps this checkout from being imported
        traceback.print_exc()
        print("**Broken build: this checkout cannot be imported**")
        return BROKEN_BUILD
    return gate.main()


if __name__ == "__main__":
    sys.exit(main())
