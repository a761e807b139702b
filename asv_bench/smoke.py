"""Run every benchmark of asv's once, here, and fail where one fails or is silently left out.

    python asv_bench/smoke.py [--bench REGEX]

It is ``asv run --python=same --quick`` on one BLAS thread. asv ends with 2 where a benchmark raised
and with 0 where all were skipped, so its results are read as well: every benchmark has to have
measured something, but for those whose peer or compiler is not installed. Exit codes: 0 all is
well, 1 a benchmark failed or measured nothing, 2 asv itself failed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "framework"))

from flagstone.benchmarking.sides import ONE_THREAD  # noqa: E402 - of this checkout

MAY_BE_SKIPPED = {  # benchmark -> what it needs
    "bench_tracks.KernelSize.track_bytes": "NVRTC",
    "bench_tracks.Peer.track_ratio": "PyTorch",
}
A_BENCHMARK_FAILED = 2  # asv's exit code


def main() -> int:
    """Run asv and read what it wrote."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--bench", default=".", help="only those whose names this is found in")
    options = parser.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="flagstone-asv-") as folder:
        code, output = _asv(Path(folder), options.bench)
        found = _results(Path(folder, "results"))
    seconds = time.perf_counter() - started
    if code not in (0, A_BENCHMARK_FAILED) or not found:
        print(output)
        print(f"asv itself failed: exit code {code}, {len(found)} benchmarks")
        return 2
    wrong = []
    for name, values in sorted(found.items()):
        failed = sum(value is None for value in values)
        skipped = sum(value != value for value in values)  # NaN
        measured = len(values) - failed - skipped
        print(f"{name:50} {measured:5} measured {skipped:5} skipped {failed:5} failed")
        if failed or not (measured or name in MAY_BE_SKIPPED):
            wrong.append(name)
    print(f"{len(found)} benchmarks, {sum(map(len, found.values()))} cases, {seconds:.0f} s")
    if wrong or code:
        print(output)
        print(f"failed, or measured nothing: {', '.join(wrong) or 'see above'}")
        return 1
    return 0


def _asv(folder: Path, bench: str) -> tuple[int, str]:
    """Run asv with a configuration that keeps everything in ``folder``; its exit code and what it
    printed."""
    configuration = json.loads((HERE / "asv.conf.json").read_text(encoding="utf-8"))
    configuration |= {
        "repo": str(HERE.parent),
        "benchmark_dir": str(HERE / "benchmarks"),
        **{f"{kind}_dir": str(folder / kind) for kind in ("env", "results", "html")},
    }
    file = folder / "asv.conf.json"
    file.write_text(json.dumps(configuration), encoding="utf-8")
    asv = [sys.executable, "-m", "asv", "--config", str(file)]
    environ = {**os.environ, **ONE_THREAD}
    subprocess.run([*asv, "machine", "--yes"], check=True, env=environ, stdout=subprocess.DEVNULL)
    head = ["git", "-C", str(HERE.parent), "rev-parse", "HEAD"]
    commit = subprocess.run(head, check=True, capture_output=True, text=True).stdout.strip()
    command = [
        *asv, "run", "--python=same", "--quick", "--set-commit-hash", commit, "--show-stderr",
        "--bench", bench,
    ]  # fmt: skip
    if hasattr(os, "fork"):
        command += ["--launch-method", "forkserver"]  # what all import is imported once
    done = subprocess.run(
        command, check=False, env=environ, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    return done.returncode, done.stdout


def _results(folder: Path) -> dict[str, list[Any]]:
    """Benchmark -> a value for each case: a number, NaN where it was skipped, None if it failed."""
    found: dict[str, list[Any]] = {}
    for path in folder.glob("*/*.json"):
        document = json.loads(path.read_text(encoding="utf-8"))
        for name, result in document.get("results", {}).items():
            found[name] = list(result[0] or [None]) if isinstance(result, list) else [result]
    return found


if __name__ == "__main__":
    sys.exit(main())
