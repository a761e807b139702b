"""``flagstone profile``: a table, a document, a trace, and nothing left behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def test_a_model(run: Any, folder: Path) -> None:
    done = run("profile mlp --data iris --set optimizer=adam --steps 3 --json --trace t.json")
    assert done.code == 0
    document = done.json
    assert (document["model"], document["batch"], document["steps"]) == ("mlp", 100, 3)
    assert document["not_captured"] is None
    assert document["seconds"].keys() == {"captured", "uncaptured"}
    assert all(seconds > 0 for seconds in document["seconds"].values())
    ops = {row["name"]: row for row in document["ops"]}
    assert ops["linear"]["calls"] == 1
    assert ops["linear_relu"]["calls"] == 2  # with the activations behind them
    assert ops["adam_update"]["calls"] == 1
    assert document["op_calls"] == sum(row["calls"] for row in document["ops"])
    assert document["op_calls"] == sum(row["calls"] for row in document["layers"])
    assert document["launches"] > 10  # functions that the replay calls
    assert document["precision"] == "exact"
    assert any(row["name"].endswith("Linear") for row in document["layers"])
    assert {row["name"] for row in document["phases"]} == {"forward", "backward", "rest"}
    # Activations of (100, 64) and their gradients are in use at once.
    assert 2 * 100 * 64 * 4 < document["peak_bytes"] < 20 * 100 * 64 * 4
    events = json.loads((folder / "t.json").read_text())["traceEvents"]
    assert sum(event["ph"] == "X" for event in events) == 3 * document["op_calls"]
    assert [path.name for path in folder.iterdir()] == ["t.json"]


def test_a_run(run: Any) -> None:
    assert run("train mlp --data iris --epochs 1 --hidden 8 --optimizer adam").code == 0
    done = run("profile runs/mlp-0001 --steps 2")
    assert done.code == 0
    assert "a step of 100 examples" in done.out
    assert "linear_weight_grad" in done.out
    assert "captured, a step is " in done.out


def test_what_cannot_be_profiled(run: Any) -> None:
    assert "unknown run or model 'mpl'" in run("profile mpl --data iris").error
    assert "needs --data" in run("profile mlp").err
    done = run("profile mlp --data iris --precision tf32")
    assert done.code == 2
    assert done.error.startswith("--precision: expected exact or fast")
    done = run("profile mlp --data iris --trace no/t.json")
    assert done.code == 2
    assert done.error.startswith("--trace no/t.json: cannot be written: ")
    assert "hyper-parameter in --set" in run("profile mlp --data iris --set nothing=1").error
    done = run("profile mlp --data iris --set optimizer=lbfgs --set batch_size=none")
    assert done.code == 2
    assert "LBFGS does not train in steps" in done.err
    for name, data in (("linear", "diabetes"), ("logistic", "breast-cancer")):
        done = run(f"profile {name} --data {data}")
        assert done.code == 2
        assert "does not train in steps" in done.err
        assert done.err.endswith("--set solver=sgd\n")
