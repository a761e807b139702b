"""What a training step costs: captured, uncaptured, by hand in NumPy, in PyTorch, and through fit.

    python asv_bench/steps.py [--seconds 2] [--threads 2] [--only linear xor softmax mlp]

Every variant of a network takes turns in one process, so a busy machine disturbs all alike. The
table gives the median time of a step, its ratio to the step by hand (by medians, by shortest times,
and the quartiles of the ratios of neighbouring rounds), and the most memory that NumPy and the
variant's own arrays took during a step beyond parameters, states and data. PyTorch's steps are
eager, its Adam fused. ``fit`` runs epochs of the same steps through a trainer, 200 steps, or 5000
where an epoch is one step, as such networks need; that a new trainer records its step, which takes
some milliseconds, is part of it. Beside it stands a PyTorch loop that keeps what a trainer keeps:
the epoch's loss and measures, read once an epoch.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import gc
import os
import platform
import statistics
import time
import tracemalloc

from step_variants import NETWORKS, Variant

from flagstone.backend import open_backend

TITLES = {
    "linear": "linear regression, 5 points",
    "xor": "XOR, 2-10-1",
    "softmax": "softmax 784-10, batch 100",
    "mlp": "MLP 784-256-256-10, Adam, batch 100",
}
TARGETS = {  # captured / by hand, uncaptured / by hand, PyTorch / captured
    "linear": (1.3, 3.0, 10.0),
    "xor": (1.3, 3.0, 10.0),
    "softmax": (1.1, 3.0, 3.0),
    "mlp": (1.1, 3.0, 1.2),
}


# Measuring


def rounds(variants: list[Variant], seconds: float) -> list[list[float]]:
    """Microseconds of a step, variant by variant in every round."""
    repeats = []
    for v in variants:
        v.run()
        started = time.perf_counter()
        v.run()
        repeats.append(max(1, int(0.02 / max(time.perf_counter() - started, 1e-7))))
        for _ in range(repeats[-1]):
            v.run()
    times = []
    gc.disable()
    end = time.perf_counter() + seconds * len(variants)
    while time.perf_counter() < end or len(times) < 5:
        times.append([_time(v, n) for v, n in zip(variants, repeats, strict=True)])
    gc.enable()
    return times


def _time(v: Variant, repeats: int) -> float:
    started = time.perf_counter()
    for _ in range(repeats):
        v.run()
    return (time.perf_counter() - started) / repeats / v.steps * 1e6


def peak(v: Variant) -> float:
    """Kilobytes that a step takes: what it allocates, at its highest, and what it holds on to."""
    if v.name.startswith("PyTorch"):
        return float("nan")  # its allocator is not Python's
    v.run()
    tracemalloc.start()
    v.run()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    v.run()
    most = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    return (most + v.held) / 1024


def report(name: str, seconds: float) -> None:
    variants = NETWORKS[name]()
    times = rounds(variants, seconds)
    columns = {v.name: [row[i] for row in times] for i, v in enumerate(variants)}
    print(f"\n### {TITLES[name]}\n")
    print("| | median, us | shortest, us | over by hand | by shortest | quartiles | memory, kB |")
    print("|---|---|---|---|---|---|---|")
    hand = columns["by hand"]
    for v in variants:
        own = columns[v.name]
        ratios = sorted(a / b for a, b in zip(own, hand, strict=True))
        low, _, high = statistics.quantiles(ratios, n=4)
        print(
            f"| {v.name} | {statistics.median(own):.1f} | {min(own):.1f} "
            f"| {statistics.median(ratios):.2f} | {min(own) / min(hand):.2f} "
            f"| {low:.2f}-{high:.2f} | {'' if v.steps > 1 else f'{peak(v):.0f}'} |"
        )
    over = statistics.median(a / b for a, b in zip(columns["captured"], hand, strict=True))
    eager = statistics.median(a / b for a, b in zip(columns["uncaptured"], hand, strict=True))
    torch = _ratio(columns, "PyTorch", "captured")
    fit = _ratio(columns, "PyTorch's fit", "fit")
    aims = TARGETS[name]
    print(
        f"\ncaptured / by hand {over:.2f} (aim {aims[0]}), uncaptured / by hand {eager:.2f} (aim "
        f"{aims[1]}), PyTorch / captured {torch:.1f}, PyTorch / fit {fit:.1f} (aim {aims[2]})"
    )


def _ratio(columns: dict[str, list[float]], above: str, below: str) -> float:
    return statistics.median(a / b for a, b in zip(columns[above], columns[below], strict=True))


def _processor() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        for line in file:
            if "model name" in line:
                return line.split(":")[1].strip()
    return platform.processor()


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="for each variant")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of both")
    parser.add_argument("--only", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    options = parser.parse_args()
    os.environ["FLAGSTONE_NUM_THREADS"] = str(options.threads)
    import torch

    torch.set_num_threads(options.threads)
    processor = _processor()
    print(
        f"{datetime.date.today()}, {processor}, {os.cpu_count()} cores, {options.threads} threads, "
        f"Python {platform.python_version()}, {open_backend('cpu').describe()}, "
        f"PyTorch {torch.__version__}"
    )
    for name in options.only:
        report(name, options.seconds)


if __name__ == "__main__":
    main()
