"""``flagstone doctor``: what is here, what works, and what is missing or in the way."""

from __future__ import annotations

import re
from typing import Any

import click
from click.core import ParameterSource

from flagstone.cli.options import device_option, json_option
from flagstone.cli.output import emit, table
from flagstone.errors import FlagstoneError, UnavailableError

BROKEN = {"failed": "failed", "conflict": "has a conflict"}
NOTHING_WORKS = "no backend works here"


@click.command()
@click.option("--ops", "with_ops", is_flag=True, help="Which kernel serves which op on --device.")
@device_option
@json_option
@click.pass_context
def doctor(ctx: click.Context, /, with_ops: bool, device: str, as_json: bool) -> None:
    """Say what is installed, what works, and what is wrong.

    Ends with an error only where --device names a device that cannot be used, or where no backend
    works.
    """
    report = _report()
    unusable = _unusable(device)
    source = ctx.get_parameter_source("device")
    if unusable is not None:
        where = "FLAGSTONE_DEVICE" if source is ParameterSource.ENVIRONMENT else "--device"
        told = str(unusable)
        report["problems"].append(told if where in told else f"{where}: {told}")
    elif with_ops:
        report["ops"] = _ops(device)
    if as_json:
        emit(report)
    else:
        _show(report)
    if unusable is not None and (with_ops or source is ParameterSource.COMMANDLINE):
        raise unusable
    if NOTHING_WORKS in report["problems"]:
        raise UnavailableError(NOTHING_WORKS)


def _unusable(device: str) -> FlagstoneError | None:
    """Why the device cannot be used; None where it can, and for ``auto``: the report says that."""
    from flagstone.backend import open_backend
    from flagstone.devices import AUTO

    if device == AUTO:
        return None
    try:
        open_backend(device)
    except FlagstoneError as error:
        return error
    except Exception as error:  # noqa: BLE001 - a stranger's code; the report goes on
        return UnavailableError(f"device {device!r}: {type(error).__name__}: {error}")
    return None


def _report() -> dict[str, Any]:
    from flagstone.cli.environment import software, variables
    from flagstone.plugins import registry

    problems = []
    try:
        backends = _backends()
    except FlagstoneError as error:  # strict mode: any broken plugin makes every look-up fail
        backends = []
        problems.append(str(error))
    else:
        if not any(backend["works"] for backend in backends):
            problems.append(NOTHING_WORKS)
    problems += [
        f"plugin {row.name} {BROKEN[row.status]}: {row.reason}"
        for row in registry.providers()
        if row.status in BROKEN
    ]
    cupy = _cupy_distributions()
    if len(cupy) > 1:
        problems.append(
            f"{len(cupy)} distributions of CuPy are installed ({', '.join(cupy)}) and overwrite "
            "each other; uninstall all of them, then install one"
        )
    return {
        **software(),
        "backends": backends,
        "extras": _extras(),
        "variables": variables(),
        "problems": problems,
    }


def _backends() -> list[dict[str, Any]]:
    """The rows of ``flagstone backends``, each that works with what it says of itself."""
    from flagstone.backend import open_backend
    from flagstone.cli.listing import backend_rows

    rows = backend_rows()
    for row in rows:
        if row["works"]:
            try:
                backend = open_backend(row["name"])
                row["detail"] = row["detail"] or backend.describe()
                row["precisions"] = list(backend.precisions)
            except Exception as error:  # noqa: BLE001 - a stranger's code; the report goes on
                row["works"], row["reason"] = False, f"{type(error).__name__}: {error}"
    return rows


def _extras() -> dict[str, dict[str, str | None]]:
    """extra -> distribution -> its version, or None where it is not installed."""
    import importlib.metadata

    try:
        requirements = importlib.metadata.requires("flagstone") or []
    except importlib.metadata.PackageNotFoundError:  # importable, but not installed
        return {}
    extras: dict[str, dict[str, str | None]] = {}
    for requirement in requirements:
        name = re.match(r"[\w.-]+", requirement)
        extra = re.search(r"extra\s*==\s*['\"]([\w.-]+)['\"]", requirement)
        if name and extra and name[0] != "flagstone":  # an extra that only gathers others
            extras.setdefault(extra[1], {})[name[0]] = _version(name[0])
    return extras


def _version(distribution: str) -> str | None:
    import importlib.metadata

    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cupy_distributions() -> list[str]:
    import importlib.metadata

    names = (d.metadata["Name"] or "" for d in importlib.metadata.distributions())
    return sorted({name for name in names if re.fullmatch(r"cupy(-cuda\w+|-rocm[\w-]+)?", name)})


def _ops(device: str) -> dict[str, Any]:
    """op -> the function that serves it on ``device``."""
    from flagstone.backend import open_backend
    from flagstone.ops import ALL_OPS

    backend = open_backend(device)
    return {
        "backend": backend.name,
        "device": str(backend.device),
        "served_by": {name: _served_by(backend.kernels.get(name)) for name in sorted(ALL_OPS)},
    }


def _served_by(kernel: Any) -> str:
    from flagstone.backend import traits

    if kernel is None:
        return "generic"
    if parts := traits(kernel).served_by:  # a plugin's, and what it declines goes to
        return ", then ".join(map(_served_by, parts))
    module = getattr(kernel, "__module__", None) or type(kernel).__module__
    name = getattr(kernel, "__qualname__", None) or type(kernel).__qualname__
    return f"{module}:{name}"


def _show(report: dict[str, Any]) -> None:
    for name in ("flagstone", "python", "numpy", "platform", "cpus"):
        click.echo(f"{name:10}{report[name]}")
    _section("backends")
    for row in report["backends"]:
        state = row["detail"] or "works" if row["works"] else f"does not work: {row['reason']}"
        click.echo(f"  {row['name']} ({', '.join(row['devices'])}): {state}")
        if "precisions" in row:
            click.echo(f"    --precision: {', '.join(row['precisions'])}")
    _section("extras")
    for extra, parts in report["extras"].items():
        present = ", ".join(f"{name} {version}" for name, version in parts.items() if version)
        missing = ", ".join(name for name, version in parts.items() if not version)
        if not missing:
            click.echo(f"  {extra}: installed ({present})")
        else:
            there = f"; there: {present}" if present else ""
            click.echo(f"  {extra}: not installed (missing: {missing}{there})")
    if not report["extras"]:
        click.echo("  unknown: flagstone is importable but not installed")
    _section("environment variables")
    for name, value in report["variables"].items():
        click.echo(f"  {name}={value}")
    if not report["variables"]:
        click.echo("  none set")
    if "ops" in report:
        ops = report["ops"]
        _section(f"ops on {ops['device']} ({ops['backend']})")
        table(("op", "served by"), list(ops["served_by"].items()))
    _section("problems")
    for problem in report["problems"] or ["none"]:
        click.echo(f"  {problem}")


def _section(title: str) -> None:
    click.echo(f"\n{title}")
