"""How often the gate catches a slowdown that is planted, and how often it cries wolf.

    python asv_bench/plant.py [--runs 20] [--json plant.json] [--only conv --only unchanged]

It installs the commit HEAD six times, each in an environment of its own: as it is, as it is once
more (unchanged), with the convolution kernel, the update of Adam or the start-up taking 1.5 times
as long, and with a convolution that raises. Then it runs the gate between the first and each of the
others, once where all is skipped, and once on a commit that does not build, and counts the exit
codes. The result is printed as Markdown and kept in the JSON file after every run; started again
with the same file it goes on from there, and with more ``--runs`` it adds the difference.

A kernel that takes longer is busy for half as long again as it has measured itself to be, on every
machine and however busy that is. So is start-up, which measures what the interpreter has spent
until then and knows what share of a whole start that is, from the least of many starts.
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
from flagstone.benchmarking.builds import checked_out, installed  # noqa: E402 - as above

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

    until = time.process_time() * {longer}
    while time.process_time() < until:
        pass


_planted()
"""
# A benchmark of every kind: none of them may be called slower where nothing is.
ALL = (
    "kernel/conv3x3/*", "kernel/matmul/*", "kernel/softmax/large", "optimizer/adam/*",
    "optimizer/sgd/large", "start/import", "step/mlp", "predict/mlp/*",
    "checkpoint/save",
)  # fmt: skip


@dataclass(frozen=True)
class Plant:
    """A change of the source and what the gate has to say of it.

    Attributes:
        file, text: what is appended, and to which file.
        expected: the exit code.
        hit: in the names of the benchmarks that must be called slower, and of no others.
        names: of the benchmarks that are run: those that are hit, and another that is not.
        device: where it is measured.
        commit: whether the gate is given a commit with it, to build, and no environment.
        once: whether there is no chance in it.
    """

    file: str = ""
    text: str = ""
    expected: int = gate.OK
    hit: str = ""
    names: tuple[str, ...] = ("kernel/conv3x3/small", "kernel/softmax/large")
    device: str = "cpu"
    commit: bool = False
    once: bool = False


PLANTS = {
    "unchanged": Plant(names=ALL),
    "conv": Plant(
        TABLE, SLOW_KERNEL.format(op="conv"), gate.REGRESSION, "kernel/conv",
        ("kernel/conv3x3/small", "kernel/conv3x3/large", "kernel/matmul/large"),
    ),
    "optimizer": Plant(
        TABLE, SLOW_KERNEL.format(op="adam_update"), gate.REGRESSION, "optimizer/adam",
        ("optimizer/adam/small", "optimizer/adam/large", "optimizer/sgd/large"),
    ),
    "start": Plant(
        "framework/flagstone/__init__.py", SLOW_START, gate.REGRESSION, "start/",
        ("start/import", "kernel/softmax/large"),
    ),
    "raises": Plant(TABLE, RAISES, gate.CRASHED, once=True),
    "all-skipped": Plant(expected=gate.NOTHING, device="cupy", once=True),
    "does-not-build": Plant(
        "pyproject.toml", "\n[project\n", gate.BROKEN_BUILD, commit=True, once=True
    ),
}  # fmt: skip


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
    done = Counter(run["plant"] for run in document["runs"])
    wanted = {
        name: 1 if PLANTS[name].once else options.runs
        for name in PLANTS
        if not options.only or name in options.only
    }
    missing = [name for name in wanted if done[name] < wanted[name]]
    with tempfile.TemporaryDirectory(prefix="flagstone-plant-") as folder:
        sides = {"base": _side("base", head, Path(folder))}
        longer = _longer_start(sides["base"])
        for name in missing:
            sides[name] = _side(name, head, Path(folder), longer)
        for number in range(options.runs):  # in turns, so that an hour's weather meets all
            for name in missing:
                if not done[name] <= number < wanted[name]:
                    continue
                base = head if PLANTS[name].commit else sides["base"]
                run = _gated(name, base, sides[name], options, Path(folder))
                document["runs"].append(run)
                options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
                print(f"{name} {number + 1}: exit code {run['exit_code']}", file=sys.stderr)
    return _report(document)


def _longer_start(python: str) -> float:
    """By what the seconds that a process has spent once flagstone is imported are to be multiplied
    so that all of it, to its end, takes 1.5 times as long."""
    wholes, spents = [], []
    code = "import flagstone, time; print(time.process_time())"
    for _ in range(200):  # some of which nothing disturbs
        started = time.perf_counter()
        done = subprocess.run([python, "-P", "-c", code], check=True, stdout=subprocess.PIPE)
        wholes.append(time.perf_counter() - started)
        spents.append(float(done.stdout))
    return 1 + 0.5 * min(wholes) / min(spents)


def _side(name: str, revision: str, folder: Path, longer: float = 1.0) -> str:
    """What the gate is to compare: the interpreter of an environment with that plant, or a commit
    that has it, in a clone."""
    plant = PLANTS.get(name, Plant())
    print(f"planting {name}", file=sys.stderr)
    if plant.commit:
        clone = folder / "clone"
        _git("clone", "--quiet", "--shared", "--no-checkout", str(REPOSITORY), str(clone))
        _git("checkout", "--quiet", "--detach", revision, at=clone)
        _append(plant, clone, longer)
        who = ("-c", "user.name=plant", "-c", "user.email=plant@localhost")
        _git(*who, "commit", "--quiet", "--all", "--message", name, at=clone)
        return _git("rev-parse", "HEAD", at=clone)
    with checked_out(REPOSITORY, revision, folder / f"{name}-tree") as tree:
        _append(plant, tree, longer)
        return installed(tree, folder / f"{name}-env")


def _append(plant: Plant, tree: Path, longer: float) -> None:
    if plant.file:
        with (tree / plant.file).open("a", encoding="utf-8") as file:
            file.write(plant.text.replace("{longer}", str(longer)))


def _gated(
    name: str, base: str, head: str, options: argparse.Namespace, folder: Path
) -> dict[str, Any]:
    plant = PLANTS[name]
    started = time.perf_counter()
    document = folder / "gate.json"
    document.unlink(missing_ok=True)
    command = [
        sys.executable, str(HERE / "gate.py"), base, head, *plant.names,
        *(["--repository", str(folder / "clone")] if plant.commit else ["--pythons"]),
        "--factor", str(options.factor), "--rounds", str(options.rounds),
        "--device", plant.device, "--json", str(document),
    ]  # fmt: skip
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    told = json.loads(document.read_text(encoding="utf-8"))
    intervals = {
        r["name"]: [round(r["interval"][key], 3) for key in ("ratio", "low", "high")]
        for r in told["results"]
        if r["interval"] is not None
    }
    return {
        "plant": name,
        "exit_code": done.returncode,
        "message": told["message"],
        "slower": [r["name"] for r in told["results"] if r["outcome"] == "slower"],
        "intervals": intervals,
        "seconds": round(time.perf_counter() - started, 1),
    }


def _report(document: dict[str, Any]) -> int:
    print(f"{document['date']}, {document['machine']}, commit {document['commit'][:10]}, ", end="")
    print(f"factor {document['factor']}, {document['rounds']} rounds\n")
    print(
        "| plant | exit code to be | exit codes | as it has to be | others called slower | said |"
    )
    print("|---|---|---|---|---|---|")
    wrong = 0
    for name, plant in PLANTS.items():
        runs = [run for run in document["runs"] if run["plant"] == name]
        if not runs:
            continue
        codes = Counter(run["exit_code"] for run in runs)
        hits = [[slow for slow in run["slower"] if plant.hit in slow] for run in runs]
        right = sum(
            run["exit_code"] == plant.expected and (not plant.hit or bool(hit))
            for run, hit in zip(runs, hits, strict=True)
        )
        others = Counter(
            slow for run, hit in zip(runs, hits, strict=True) for slow in run["slower"]
            if not (plant.hit and slow in hit)
        )  # fmt: skip
        told = ", ".join(f"{code}: {n}" for code, n in sorted(codes.items()))
        also = ", ".join(f"{slow}: {n}" for slow, n in others.items()) or "none"
        said = "; ".join(sorted({run["message"] for run in runs}))
        counted = f"{right} of {len(runs)}"
        print(f"| {name} | {plant.expected} | {told} | {counted} | {also} | {said} |")
        wrong += len(runs) - right
    return int(wrong > 0)


def _machine() -> dict[str, str]:
    system = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
    system += f"Python {platform.python_version()}, {platform.system()}"
    return {"date": str(datetime.date.today()), "machine": system}


def _git(*arguments: str, at: Path = REPOSITORY) -> str:
    command = ["git", "-C", str(at), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
