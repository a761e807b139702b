"""``flagstone check``: hold what a plugin provides to its contract, point by point."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import click

from flagstone.cli.failures import FAILED
from flagstone.cli.options import device_option, json_option, naming_device
from flagstone.cli.output import emit
from flagstone.errors import ConfigurationError, FlagstoneError, UnavailableError, UnknownNameError
from flagstone.plugins import Spec, registry

if TYPE_CHECKING:
    from flagstone.backend import Backend
    from flagstone.testing import Outcome

KINDS = (
    "model", "layer", "loss", "optimizer", "schedule", "augmentation", "dataset", "backend",
    "kernel", "callback",
)  # fmt: skip
MARKS = {"passed": "pass", "failed": "FAIL", "skipped": "skip", "warned": "warn"}


@click.command()
@click.argument("name", required=False)
@click.option("--all", "everything", is_flag=True, help="Check all that is registered.")
@click.option(
    "--kind", type=click.Choice(KINDS), help="What NAME is, or of what kind to check all."
)
@click.option("--point", "only", multiple=True, metavar="POINT", help="Only this; several times.")
@device_option
@json_option
@click.pass_context
def check(
    ctx: click.Context,
    /,
    name: str | None,
    everything: bool,
    kind: str | None,
    only: tuple[str, ...],
    device: str,
    as_json: bool,
) -> None:
    """Check NAME against the contract of its kind, point by point.

    NAME is what a plugin registered: a model, layer, loss, optimizer, schedule, augmentation,
    dataset, backend, callback, or the op of a kernel. Gradients are compared with central
    differences, the device with NumPy, a saved thing with the loaded one; what cannot be checked
    here is skipped with its reason. Ends with 1 if a point failed. The same checks are in
    flagstone.testing, for pytest.
    """
    if (name is None) == (not everything):
        raise click.UsageError("say a NAME, or --all", ctx)
    with naming_device():
        specs, backend = _chosen(name, kind, device)
    if only and name is None:
        raise click.UsageError("--point is for one NAME", ctx)
    points = tuple(point.replace("-", "_") for point in only)
    reports = [
        _report(spec, backend, device, points, brief=name is None, quiet=as_json) for spec in specs
    ]
    totals = _totals([point for report in reports for point in report["points"]])
    if as_json:
        emit(
            {
                "device": str(backend.device),
                "ok": not totals["failed"],
                **totals,
                "checked": reports,
            }
        )
    else:
        click.echo(f"{sum(totals.values())} points: " + _told(totals))
    if totals["failed"]:
        ctx.exit(FAILED)


def _chosen(name: str | None, kind: str | None, device: str) -> tuple[list[Spec], Backend]:
    """What is to be checked, and the backend whose kernels are meant."""
    from flagstone.backend import open_backend
    from flagstone.testing import checkable

    kinds = KINDS if kind is None else (kind,)
    if name in registry.names("backend") and kind in (None, "backend") and device == "auto":
        backend = open_backend("cpu") if kind is None else _its_own(str(name))
    else:
        backend = open_backend(device)
    tables = {k: checkable(k, backend) for k in kinds}
    if name is None:
        return [spec for table in tables.values() for spec in table.values()], backend
    found = [k for k, table in tables.items() if name in table]
    if not found:
        known = {each for table in tables.values() for each in table}
        near = get_close_matches(name, sorted(known), n=5)
        if kind is None and not near:  # all that is known is too much to read
            raise ConfigurationError(
                f"unknown name {name!r}; flagstone plugins list tells what there is. "
                + registry.hint()
            )
        raise UnknownNameError(kind or "name", name, near or known, registry.hint())
    if len(found) > 1:
        raise ConfigurationError(
            f"{name!r} is a {' and a '.join(found)}; say which: "
            + " or ".join(f"--kind {k}" for k in found)
        )
    return [tables[found[0]][name]], backend


def _its_own(name: str) -> Backend:
    from flagstone.backend import open_backend

    return open_backend(registry.find("backend", name).devices[0])


def _report(
    spec: Spec,
    backend: Backend,
    device: str,
    only: tuple[str, ...],
    *,
    brief: bool,
    quiet: bool,
) -> dict[str, Any]:
    """Check one thing and tell as it goes; the part of the document that is about it."""
    points: list[Outcome] = []
    for outcome in _outcomes(spec, backend, device, only):
        if not (points or quiet or brief):
            click.echo(f"{spec}, on {backend.device}")
        points.append(outcome)
        if not quiet and not (brief and outcome.status in ("passed", "skipped")):
            _tell(outcome, spec, prefix=f"{spec.kind} {spec.name}: " if brief else "  ")
    rows = [asdict(point) for point in points]
    totals = _totals(rows)
    if not quiet and brief:
        click.echo(f"{spec.kind} {spec.name}: {_told(totals)}")
    provider = None if spec.provider is None else asdict(spec.provider)
    return {
        "kind": spec.kind,
        "name": spec.name,
        "target": spec.target,
        "provider": provider,
        "ok": not totals["failed"],
        **totals,
        "points": rows,
    }


def _outcomes(
    spec: Spec, backend: Backend, device: str, only: tuple[str, ...]
) -> Iterator[Outcome]:
    """The points of a thing; just one where it cannot even be loaded."""
    from flagstone.testing import Outcome, run_suite, suite_of

    loads = "Its target can be imported, and so can all that it needs."
    where: dict[str, Any] = {"device": str(backend.device)}
    if spec.kind == "kernel":
        where["backend"] = backend.name
    if spec.kind == "backend" and device == "auto":
        where = {}  # its own first kind of device
    try:
        if spec.kind != "kernel":
            spec.load()
        outcomes = run_suite(suite_of(spec, **where), only)
    except UnknownNameError:  # of a point: a mistake of the user's, not of the plugin
        raise
    except UnavailableError as error:
        yield Outcome("loads", "skipped", str(error), loads, 0.0)
    except FlagstoneError as error:
        yield Outcome("loads", "failed", str(error), loads, 0.0)
    else:
        yield Outcome("loads", "passed", "", loads, 0.0)
        yield from outcomes


def _tell(outcome: Outcome, spec: Spec, prefix: str) -> None:
    point = outcome.point.replace("_", " ")
    reason = outcome.reason.removeprefix(f"{spec.kind} {spec.name!r}, {outcome.point}: ")
    text = reason or outcome.holds.replace("``", "")
    click.echo(f"{prefix}{MARKS[outcome.status]}  {point:20}  {' '.join(text.split())}")


def _totals(points: list[dict[str, Any]]) -> dict[str, int]:
    counted = Counter(point["status"] for point in points)
    return {status: counted[status] for status in MARKS}


def _told(totals: dict[str, int]) -> str:
    return ", ".join(f"{n} {status}" for status, n in totals.items() if n or status == "passed")
