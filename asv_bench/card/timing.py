"""What the parts share: is there a card, what is it, and times of both sides in turns."""

from __future__ import annotations

import datetime
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
NOT_AVAILABLE = 3  # the exit code for a card that is missing, as flagstone's own
CALLS = 8  # in one graph

Run = Callable[[], float]  # runs once; milliseconds
Pair = tuple[Callable[[int], Any], Callable[[int], Any]]


def missing(torch: bool = True) -> str:
    """What keeps a part from running here; empty if nothing does."""
    from flagstone_cupy.probe import probe

    found = probe()
    if not found.ok:
        return f"it needs an NVIDIA card and CuPy: {found.reason}"
    if not torch:
        return ""
    try:
        import torch as peer
    except ModuleNotFoundError:
        return "it needs PyTorch, which is not installed: pip install torch"
    if not peer.cuda.is_available():
        return f"PyTorch {peer.__version__} does not reach the card; install its CUDA build"
    return ""


def about() -> dict[str, Any]:
    """Date, command, commit, card, driver and versions."""
    import cupy

    from flagstone.backend import open_backend

    facts: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python", *sys.argv]),
        "commit": _first_line("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"),
        "backend": open_backend("cuda").describe(),
        "card": card_name(),
        "driver": _first_line("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "clocks": _first_line(
            "nvidia-smi", "--query-gpu=clocks.sm,clocks.mem,clocks.max.sm", "--format=csv,noheader"
        ),
        "cuda": cupy.cuda.runtime.runtimeGetVersion(),
        "python": sys.version.split()[0],
        "cores": os.cpu_count(),
    }
    if "torch" in sys.modules:
        import torch

        facts |= {"torch": torch.__version__, "cudnn": torch.backends.cudnn.version()}
    return facts


def card_name() -> str:
    """What CUDA calls the current card."""
    import cupy

    runtime = cupy.cuda.runtime
    return str(runtime.getDeviceProperties(runtime.getDevice())["name"].decode())


def _first_line(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return ""
    return (done.stdout.splitlines() or [""])[0].strip()


class Rows:
    """The rows of a table, written to a file after each, so that a run cut short keeps them."""

    def __init__(self, path: Path, device: str = "cuda") -> None:
        self.path, self.rows = path, list[dict[str, Any]]()
        self.about = about() if device == "cuda" else {"card": "none"}

    def add(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        write(self.path, {**self.about, "rows": self.rows})

    def compare(self, name: str, how: tuple[str, str], sides: Pair, work: float, n: int) -> None:
        """Time one pass on both sides ``n`` times, compare what they compute, add and print it.

        Arguments:
            name: of the shape.
            how: precision and pass.
            sides: their call and ours, each of a number that chooses the arrays.
            work: floating-point operations of a call.
        """
        theirs, ours = sides
        far = difference(ours(0), theirs(0))
        mine, other = alternate([graph_of_ours(ours), graph_of_theirs(theirs)], n)
        ratio, speed = mine["median"] / other["median"], work / mine["median"] / 1e9
        self.add({
            "name": name, "precision": how[0], "pass": how[1], "ours_ms": mine, "theirs_ms": other,
            "ratio": ratio, "tflops": speed, "difference": far,
        })  # fmt: skip
        title = f"{name} {how[0]} {how[1]}"
        print(f"{title:42}{text(mine):>22}{text(other):>22}{ratio:8.2f}{speed:9.1f}{far:12.1e}",
              flush=True)  # fmt: skip

    def print_header(self, theirs: str) -> None:
        """The line above what ``compare`` prints."""
        columns = f"{'ours, ms':>22}{theirs + ', ms':>22}{'ratio':>8}{'TFLOP/s':>9}"
        print(f"{'':42}{columns}{'difference':>12}")

    def means(self) -> dict[str, float]:
        """The geometric mean of the ratios of each precision."""
        by: dict[str, list[float]] = {}
        for row in self.rows:
            by.setdefault(row["precision"], []).append(row["ratio"])
        return {precision: geometric_mean(ratios) for precision, ratios in by.items()}


def write(path: Path, content: Any) -> None:
    """JSON to ``path``, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(content, indent=1) + "\n")
    beside.replace(path)


def alternate(runs: Sequence[Run], repeats: int) -> list[dict[str, float]]:
    """Median and quartiles of each; they take turns, so that a change of clocks disturbs all."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(repeats):
        for run, measured in zip(runs, times, strict=True):
            measured.append(run())
    return [spread(t) for t in times]


def spread(times: Sequence[float]) -> dict[str, float]:
    """Median, quartiles and the least."""
    low, median, high = statistics.quantiles(times, n=4, method="inclusive")
    return {"median": median, "low_quartile": low, "high_quartile": high, "least": min(times)}


def text(s: dict[str, float]) -> str:
    """A spread for a person."""
    return f"{s['median']:.3f} ({s['low_quartile']:.3f}-{s['high_quartile']:.3f})"


def geometric_mean(ratios: Sequence[float]) -> float:
    """Of positive numbers."""
    return math.exp(statistics.fmean(map(math.log, ratios)))


def warm_up(seconds: float = 2.0) -> None:
    """Keep the card busy until its clocks are up."""
    import torch

    a = torch.randn(4096, 4096, device="cuda")
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for _ in range(10):
            a @ a
        torch.cuda.synchronize()


def graph_of_ours(call: Callable[[int], Any]) -> Run:
    """A CUDA graph of ``CALLS`` calls through CuPy: milliseconds of a call."""
    import cupy

    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        kept = [call(i) for i in range(CALLS)]  # compiles, and fills the pool of memory
        stream.synchronize()
        del kept
        stream.begin_capture()
        kept = [call(i) for i in range(CALLS)]
        graph = stream.end_capture()

    def run(kept: Any = kept) -> float:
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record(stream)
        graph.launch(stream)
        end.record(stream)
        end.synchronize()
        return float(cupy.cuda.get_elapsed_time(start, end)) / CALLS

    run()
    return run


def graph_of_theirs(call: Callable[[int], Any]) -> Run:
    """The same through PyTorch."""
    import torch

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for i in range(CALLS):  # cudnn.benchmark chooses
            call(i)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = [call(i) for i in range(CALLS)]

    def run(kept: Any = kept) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / CALLS

    run()
    return run


def allow_tf32(allowed: bool) -> None:
    """Let PyTorch's float32 convolutions and products use tf32, or not."""
    import torch

    for module in (torch.backends.cudnn, torch.backends.cuda.matmul):
        part = getattr(module, "conv", module)
        if hasattr(part, "fp32_precision"):
            part.fp32_precision = "tf32" if allowed else "ieee"
        else:
            module.allow_tf32 = allowed


def shared(tensors: Sequence[Any]) -> list[Any]:
    """PyTorch's tensors as CuPy's arrays of the same memory."""
    import cupy
    import torch

    from flagstone_cupy.signature import BFLOAT16

    return [
        cupy.from_dlpack(t.view(torch.int16)).view(BFLOAT16)
        if t.dtype == torch.bfloat16
        else cupy.from_dlpack(t)
        for t in tensors
    ]


def difference(ours: Any, theirs: Any) -> float:
    """The relative difference, in the Euclidean norm, of CuPy's array from PyTorch's tensor."""
    import torch

    expected = theirs.double()
    if theirs.dtype == torch.bfloat16:  # which the interface of arrays has no name for
        given = torch.as_tensor(ours.view("int16"), device="cuda").view(theirs.dtype).double()
    else:
        given = torch.as_tensor(ours, device="cuda").double()
    return float((given.reshape(expected.shape) - expected).norm() / expected.norm())
