"""How often the gate catches a slowdown that is planted, and how often it cries wolf.

    python asv_bench/plant.py [--runs 20] [--json plant.json] [--only conv --only unchanged]

It installs the commit HEAD six times, each in an environment of its own: as it is, as it is once
more (unchanged), with the convolution kernel, the update of Adam or the start-up taking 1.5 times
as long, and with a convolution that raises. Then it runs the gate between the first and each of the
others, and once where all is skipped, and counts the exit codes. The result is printed as Markdown
and kept in the JSON file after every run; started again with the same file it goes on from there.

What takes longer is busy for half as long again as it has measured itself to be, on every machine.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
sys.path.insert(0, str(REPOSITORY / "framework"))

from flagstone.benchmarking import gate  # noqa: E402 - of this checkout
from flagstone.benchmarking.builds import BuildError, checked_out, installed  # noqa: E402 - as above

TABLE = "backends/flagstone_numpy/table.py"
SLOW_KERNEL = """

def _planted(kernel):
    import functools
    import time

    @functools.wraps(kernel)
    def slower(*arrays, **static):
        started = time.perf_counter()
        result = kernel(*arrays, **static)
        end = time.perf_counter()
        until = end + 0.5 * (end - started)
        while time.perf_counter() < until:
            pass
        return result

    return slower


KERNELS = {{**KERNELS, "{op}": _planted(KERNELS["{op}"])}}
"""
RAISES = """

def _raises(*arrays, **static):
    raise ZeroDivisionError("planted")


KERNELS = {**KERNELS, "conv": _raises}
"""
SLOW_START = """

def _planted():
    import time

    used = time.process_time()
    while time.process_time() < 1.5 * used:
        pass


_planted()
"""
# A benchmark of every kind, so that an alarm about something else is an alarm, too.
NAMES = (
    "kernel/conv3x3/*", "kernel/matmul/*", "kernel/softmax/large", "optimizer/adam/*",
    "optimizer/sgd/large", "start/import", "start/help", "step/mlp", "predict/mlp/*",
    "checkpoint/save",
)  # fmt: skip


@dataclass(frozen=True)
class Plant:
    """A change of the source and what the gate has to say of it.

    Attributes:
        file, text: what is appended, and to which file.
        expected: the exit code.
        hit: in the names of the benchmarks that must be called slower, and of no others.
        device: where it is measured.
    """

    file: str = ""
    text: str = ""
    expected: int = gate.OK
    hit: str = ""
    device: str = "cpu"


PLANTS = {
    "unchanged": Plant(),
    "conv": Plant(TABLE, SLOW_KERNEL.format(op="conv"), gate.REGRESSION, "kernel/conv"),
    "optimizer": Plant(
        TABLE, SLOW_KERNEL.format(op="adam_update"), gate.REGRESSION, "optimizer/adam"
    ),
    "start": Plant("framework/flagstone/__init__.py", SLOW_START, gate.REGRESSION, "start/"),
    "raises": Plant(TABLE, RAISES, gate.CRASHED),
    "all-skipped": Plant(expected=gate.NOTHING, device="cupy"),
    "does-not-build": Plant("pyproject.toml", "\n[project\n", gate.BROKEN_BUILD),
}
ONCE = ("raises", "all-skipped", "does-not-build")  # there is no chance in them


def main() -> int:
    """Plant, count, print; 1 if an exit code is not what it has to be."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--runs", type=int, default=20, help="of each plant (20)")
    parser.add_argument("--rounds", type=int, default=gate.ROUNDS, help="of the gate")
    parser.add_argument("--factor", type=float, default=gate.FACTOR, help="of the gate")
    parser.add_argument("--json", type=Path, default=Path("plant.json"), help="kept after each run")
    parser.add_argument("--only", action="append", choices=list(PLANTS), help="these plants")
    options = parser.parse_args()
    head = _git("rev-parse", "HEAD")
    settings = {"commit": head, "factor": options.factor, "rounds": options.rounds}
    document: dict[str, Any] = {**settings, **_machine(), "runs": []}
    if options.json.exists():
        document = json.loads(options.json.read_text(encoding="utf-8"))
        if any(document.get(key) != value for key, value in settings.items()):
            print(
                f"{options.json} is of another commit, factor or rounds; remove it or name another"
            )
            return 2
    with tempfile.TemporaryDirectory(prefix="flagstone-plant-") as folder:
        plants = [name for name in PLANTS if not options.only or name in options.only]
        pythons = {name: _environment(name, head, Path(folder)) for name in ["base", *plants]}
        for number in range(options.runs):  # in turns, so that an hour's weather meets all
            for name in plants:
                done = sum(run["plant"] == name for run in document["runs"])
                if done > number or (name in ONCE and number):
                    continue
                run = _gated(name, pythons, options, Path(folder))
                document["runs"].append(run)
                options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
                print(f"{name} {number + 1}: exit code {run['exit_code']}", file=sys.stderr)
    return _report(document)


def _environment(name: str, revision: str, folder: Path) -> str:
    """The interpreter of the environment with that plant; empty where it does not build."""
    plant = PLANTS.get(name, Plant())
    with checked_out(REPOSITORY, revision, folder / f"{name}-tree") as tree:
        if plant.file:
            with (tree / plant.file).open("a", encoding="utf-8") as file:
                file.write(plant.text)
        try:
            print(f"installing {name}", file=sys.stderr)
            return installed(tree, folder / f"{name}-env")
        except BuildError:
            return ""


def _gated(
    name: str, pythons: dict[str, str], options: argparse.Namespace, folder: Path
) -> dict[str, Any]:
    plant = PLANTS[name]
    started = time.perf_counter()
    document = folder / "gate.json"
    document.unlink(missing_ok=True)
    head = pythons[name] or str(folder / "none")
    command = [
        sys.executable, str(HERE / "gate.py"), pythons["base"], head,
        *NAMES, "--pythons", "--factor", str(options.factor), "--rounds", str(options.rounds),
        "--device", plant.device, "--json", str(document),
    ]  # fmt: skip
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    results = json.loads(document.read_text(encoding="utf-8"))["results"]
    slower = {
        r["name"]: [r["interval"][key] for key in ("ratio", "low", "high")]
        for r in results
        if r["outcome"] == "slower"
    }
    return {
        "plant": name,
        "exit_code": done.returncode,
        "slower": slower,
        "seconds": round(time.perf_counter() - started, 1),
    }


def _report(document: dict[str, Any]) -> int:
    print(f"{document['date']}, {document['machine']}, commit {document['commit'][:10]}, ", end="")
    print(f"factor {document['factor']}, {document['rounds']} rounds\n")
    print("| plant | runs | expected exit code | exit codes | runs as expected | others alarmed |")
    print("|---|---|---|---|---|---|")
    wrong = 0
    for name, plant in PLANTS.items():
        runs = [run for run in document["runs"] if run["plant"] == name]
        if not runs:
            continue
        codes = Counter(run["exit_code"] for run in runs)
        right = sum(
            run["exit_code"] == plant.expected
            and (not plant.hit or any(plant.hit in slow for slow in run["slower"]))
            for run in runs
        )
        others = Counter(
            slow for run in runs for slow in run["slower"] if not (plant.hit and plant.hit in slow)
        )
        told = ", ".join(f"{code}: {n}" for code, n in sorted(codes.items()))
        also = ", ".join(f"{slow}: {n}" for slow, n in others.items()) or "none"
        counted = f"{right} of {len(runs)}"
        print(f"| {name} | {len(runs)} | {plant.expected} | {told} | {counted} | {also} |")
        wrong += len(runs) - right
    return int(wrong > 0)


def _machine() -> dict[str, str]:
    system = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
    system += f"Python {platform.python_version()}, {platform.system()}"
    return {"date": str(datetime.date.today()), "machine": system}


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(REPOSITORY), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
