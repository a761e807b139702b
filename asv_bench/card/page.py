"""The page of on_card.py: Markdown of whatever parts a folder holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from card.timing import geometric_mean, text

Part = dict[str, Any]


def page(folder: Path) -> str:
    """Markdown: the machine, and a section for each part that was run."""
    parts = {
        name: json.loads((folder / f"{name}.json").read_text())
        for name in SECTIONS
        if (folder / f"{name}.json").exists()
    }
    lines = ["# On a card", ""]
    for name, part in parts.items():
        lines += [f"## {TITLES[name]}", "", _machine(part), "", *SECTIONS[name](part["rows"]), ""]
    return "\n".join(lines)


def _machine(part: Part) -> str:
    versions = [
        f"{name} {part[name]}" for name in ("driver", "cuda", "backend", "torch", "cudnn")
        if part.get(name)
    ]  # fmt: skip
    facts = [part["date"][:10], part["card"], *versions, f"commit {part['commit']}"]
    return f"{', '.join(facts)}; `{part['command']}`"


def _compile(rows: Sequence[Part]) -> list[str]:
    return [
        f"{r['kernels']} kernels for sm_{r['architecture']}, {r['seconds']:.0f} s." for r in rows
    ]


def _tests(rows: Sequence[Part]) -> list[str]:
    lines = []
    for r in rows:
        tool = f"{r['tool']}: " if "tool" in r else ""
        lines.append(
            f"- {tool}{r['passed']} passed, {len(r['failed'])} failed, {r['skipped']} skipped; "
            f"exit {r['exit']}"
        )
        lines += [f"  - {name}" for name in r["failed"]]
    return lines


def _ratios(rows: Sequence[Part]) -> list[str]:
    lines = ["| what | precision | pass | ours, ms | theirs, ms | ratio | TFLOP/s | difference |",
             "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    by: dict[str, list[float]] = {}
    for r in rows:
        by.setdefault(r["precision"], []).append(r["ratio"])
        lines.append(
            f"| {r['name']} | {r['precision']} | {r['pass']} | {text(r['ours_ms'])} | "
            f"{text(r['theirs_ms'])} | {r['ratio']:.2f} | {r['tflops']:.1f} | "
            f"{r['difference']:.0e} |"
        )
    means = ", ".join(f"{name} {geometric_mean(ratios):.2f}" for name, ratios in by.items())
    return [*lines, "", f"Geometric mean of the ratios: {means}; below 1 ours is faster."]


VARIANTS = ("captured", "ours_eager", "torch_eager", "torch_graph", "torch_compiled")


def _steps(rows: Sequence[Part]) -> list[str]:
    heads = ["network", "batch", *(f"{v.replace('_', ' ')}, ms" for v in VARIANTS),
             "torch eager / captured", "best of torch / captured"]  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for r in rows:
        cells = [r["name"], str(r["batch"])]
        cells += [text(r[v]) if v in r else "" for v in VARIANTS]
        cells += [f"{r['eager_over_captured']:.2f}", f"{r['best_over_captured']:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


SECTIONS: dict[str, Callable[[Sequence[Part]], list[str]]] = {
    "compile": _compile, "tests": _tests, "sanitizer": _tests, "conv": _ratios, "gemm": _ratios,
    "steps": _steps,
}  # fmt: skip
TITLES = {
    "compile": "Compiling", "tests": "Tests", "sanitizer": "Sanitizer",
    "conv": "Convolutions beside cuDNN's", "gemm": "Products beside cuBLAS's",
    "steps": "Training steps beside PyTorch's",
}  # fmt: skip
