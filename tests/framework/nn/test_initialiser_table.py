"""The table of initialisers: each draws what PyTorch's of the same name draws."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from flagstone import nn, random
from flagstone.nn import init

torch = pytest.importorskip("torch", reason="PyTorch, the reference, is not installed")

OUT, IN, KERNEL = 48, 40, (5, 4)
SHARES = np.linspace(0.02, 0.98, 49)

# Name -> PyTorch's function, called with our defaults
ROWS: dict[str, Callable[[Any], Any]] = {
    "zeros": torch.nn.init.zeros_,
    "ones": torch.nn.init.ones_,
    "normal": torch.nn.init.normal_,
    "uniform": torch.nn.init.uniform_,
    "xavier_uniform": torch.nn.init.xavier_uniform_,
    "xavier_normal": torch.nn.init.xavier_normal_,
    "kaiming_uniform": torch.nn.init.kaiming_uniform_,
    "kaiming_normal": torch.nn.init.kaiming_normal_,
    "truncated_normal": torch.nn.init.trunc_normal_,
    "orthogonal": torch.nn.init.orthogonal_,
    "dirac": torch.nn.init.dirac_,
}


@pytest.mark.parametrize("name", ROWS)
def test_the_distribution_is_pytorchs(name: str) -> None:
    """The same quantiles, within what so many draws differ by."""
    torch.manual_seed(0)
    ours = nn.Conv2d(IN, OUT, KERNEL, init=name).initialize(3).state_dict()["weight"]
    theirs = ROWS[name](torch.empty(OUT, IN, *KERNEL)).numpy()
    assert ours.shape == theirs.shape
    scale = float(theirs.std())
    if scale == 0:
        np.testing.assert_array_equal(ours, theirs)
        return
    at_ours, at_theirs = np.quantile(ours, SHARES), np.quantile(theirs, SHARES)
    # A quantile's standard error is at most sqrt(p (1 - p) / n) over the density, 4 sigma / sqrt(n)
    # where the normal density is lowest; two draws differ by sqrt(2) of it, and 49 are looked at.
    allowed = 4 * math.sqrt(2) * 4 * scale / math.sqrt(ours.size)
    np.testing.assert_allclose(at_ours, at_theirs, atol=allowed)
    assert ours.std() == pytest.approx(scale, rel=0.02)


# That nothing escapes the table


def missing_rows() -> list[str]:
    return sorted({*init.BY_NAME} - {*ROWS})


def test_every_initialiser_has_a_row() -> None:
    assert missing_rows() == []


def test_an_initialiser_without_a_row_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(init.BY_NAME, "planted", init.normal)
    assert missing_rows() == ["planted"]


def test_every_function_that_makes_an_initialiser_has_a_name() -> None:
    """``constant`` wants a value, and ``fan_in_uniform`` a length, so no name can mean them."""
    made = {
        name for name, f in vars(init).items()
        if callable(f) and getattr(f, "__annotations__", {}).get("return") == "Initializer"
    }  # fmt: skip
    assert made - {"resolve"} == {*init.BY_NAME} - {"zeros", "ones"} | {
        "constant",
        "fan_in_uniform",
    }
    key = random.key(0, "init", "weight")
    for name in ("zeros", "ones"):
        np.testing.assert_array_equal(init.BY_NAME[name]()((2, 3), key), getattr(np, name)((2, 3)))
