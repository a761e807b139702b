"""Everything that only a machine with a card can show, in one run, as JSON and as a page.

    python asv_bench/on_card.py [--only tests] [--only steps] [--output on_card] [--minutes 9]

It needs CuPy, NumPy, PyTorch with CUDA, pytest and flagstone; a run of all parts fits nine minutes.
Every part is a process of its own and leaves ``<part>.json`` in the output folder at once, so that
one that fails or runs out of time costs only itself; ``--only`` runs some parts, and the page is
made of all that the folder holds, whichever run they came from.

compile    every kernel for this card's architecture, into the cache of cubins
tests      ``pytest -m gpu``
sanitizer  ``compute-sanitizer``, memcheck and racecheck, over a few of those tests
conv       convolutions beside cuDNN's: forward, input and weight gradient; exact, tf32, 16 bits
gemm       matrix products beside cuBLAS's
steps      the ladder's steps beside PyTorch eager, as a CUDA graph, and compiled (max-autotune)

Exit codes: 0; 1 a test failed or the sanitizer found something; 3 there is no card, or what a part
needs is not installed; 124 a part ran out of time (what it had measured is kept).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from card.page import page
from card.timing import NOT_AVAILABLE, ROOT, about, missing, write

# part -> its share of the time where all run
PARTS = {"compile": 60, "tests": 150, "sanitizer": 60, "conv": 130, "gemm": 40, "steps": 100}
TIMED_OUT = 124
# What the sanitizer sees: one test of each kind of kernel; it makes them some fifty times slower.
SMALL = (
    "tests/backends/cupy/test_gpu_ptx.py",
    "tests/backends/cupy/test_gpu_ops.py::TestRow::test_values",
)
FEW = "ptx or ((relu or softmax or conv or max_pool or batch_norm or linear) and float32)"


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--only", action="append", choices=PARTS, help="parts; all by default")
    parser.add_argument("--names", action="append", default=[], help="rows whose name begins so")
    parser.add_argument("--output", type=Path, default=Path("on_card"))
    parser.add_argument("--minutes", type=float, default=9.0, help="for all parts together")
    parser.add_argument("--uncompiled", action="store_true", help="leave torch.compile out")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)  # run it here
    options = parser.parse_args()
    chosen = [options.part] if options.part else options.only or list(PARTS)
    if reason := missing(torch=bool({"conv", "gemm", "steps"} & set(chosen))):
        print(f"on_card: {reason}", file=sys.stderr)
        return NOT_AVAILABLE
    if options.part:
        return run(options.part, options)
    code = 0
    end = time.monotonic() + 60 * options.minutes
    for i, part in enumerate(chosen):
        left = end - time.monotonic()
        share = left * PARTS[part] / sum(PARTS[p] for p in chosen[i:])
        code = _apart(part, left if part == chosen[-1] else 1.5 * share) or code
        text = page(options.output)
        (options.output / "on_card.md").write_text(text)
    print(f"written to {options.output}/on_card.md")
    return code


def _apart(part: str, seconds: float) -> int:
    """Run a part in a process of its own, with this one's other arguments."""
    print(f"--- {part}", flush=True)
    started = time.monotonic()
    try:
        command = [sys.executable, *sys.argv, "--part", part]
        code = subprocess.run(command, check=False, timeout=max(seconds, 1)).returncode
    except subprocess.TimeoutExpired:
        print(f"{part}: no more time after {seconds:.0f} s; what it wrote is kept")
        code = TIMED_OUT
    print(f"--- {part}: exit {code}, {time.monotonic() - started:.0f} s", flush=True)
    return code


def run(part: str, options: argparse.Namespace) -> int:
    """One part, in this process."""
    output = options.output / f"{part}.json"
    if part == "compile":
        return compile_all(output)
    if part == "tests":
        return tests(output, [sys.executable, "-m", "pytest"], ["-m", "gpu"])
    if part == "sanitizer":
        return sanitizer(output)
    if part == "steps":
        from card import steps

        steps.run(output, options.names, compiled=not options.uncompiled)
        return 0
    from card import conv, gemm

    means = (conv if part == "conv" else gemm).run(output, options.names)
    for precision, mean in means.items():
        print(f"geometric mean of the ratios, {precision}: {mean:.3f}")
    return 0


def compile_all(output: Path) -> int:
    """Compile every kernel as the runner does, one cubin each, with a thread for each core."""
    import cupy

    from flagstone_cupy.budget import packaged
    from flagstone_cupy.compile import architecture_of, compiled

    runtime = cupy.cuda.runtime
    properties = runtime.getDeviceProperties(runtime.getDevice())
    major, minor = properties["major"], properties["minor"]
    architecture = architecture_of(major, minor)
    kernels = [k for k in packaged() if k.since <= 10 * major + minor]
    started = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda k: compiled(k.source, [k.expression], architecture), kernels))
    seconds = time.perf_counter() - started
    print(f"{len(kernels)} kernels for sm_{architecture} in {seconds:.1f} s")
    rows = [{"kernels": len(kernels), "architecture": architecture, "seconds": seconds}]
    write(output, {**about(), "rows": rows})
    return 0


def sanitizer(output: Path) -> int:
    """Memcheck and racecheck over a few tests."""
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        print("sanitizer: it needs compute-sanitizer, which comes with the CUDA toolkit")
        return NOT_AVAILABLE
    code, rows = 0, []
    for kind in ("memcheck", "racecheck"):
        part = output.with_name(f"sanitizer_{kind}.json")
        command = [tool, "--tool", kind, "--error-exitcode", "9", "--target-processes", "all",
                   sys.executable, "-m", "pytest"]  # fmt: skip
        found = tests(part, command, ["-m", "gpu", "-k", FEW, *SMALL])
        rows.append({"tool": kind, "exit": found, **json.loads(part.read_text())["rows"][0]})
        part.unlink()
        write(output, {**about(), "rows": rows})
        code = code or found
    return code


def tests(output: Path, command: list[str], which: list[str]) -> int:
    """Run tests on the card and count them; the names of those that failed are kept."""
    report = output.with_suffix(".xml")
    report.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [*command, *which, "-q", "-x" if "--tool" in command else "--maxfail=50",
         "-p", "no:cacheprovider", f"--junitxml={report.resolve()}"],
        cwd=ROOT, check=False,
    )  # fmt: skip
    write(output, {**about(), "rows": [{**counted(report), "exit": done.returncode}]})
    report.unlink(missing_ok=True)
    return done.returncode


def counted(report: Path) -> dict[str, Any]:
    """What pytest's report in JUnit's form counts: passed, failed, skipped, and who failed."""
    if not report.exists():
        return {"passed": 0, "failed": [], "skipped": 0}
    cases = list(ET.parse(report).getroot().iter("testcase"))
    bad = [c for c in cases if c.find("failure") is not None or c.find("error") is not None]
    skipped = sum(c.find("skipped") is not None for c in cases)
    return {
        "passed": len(cases) - len(bad) - skipped,
        "failed": [f"{c.get('classname')}::{c.get('name')}" for c in bad],
        "skipped": skipped,
    }


if __name__ == "__main__":
    sys.exit(main())
