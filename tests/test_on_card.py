"""The script for a machine with a card, as far as it goes without one."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "asv_bench"
REPORT = """<testsuites><testsuite>
<testcase classname="a" name="one"/>
<testcase classname="a" name="two"><failure message="no">text</failure></testcase>
<testcase classname="b" name="three"><skipped message="why"/></testcase>
<testcase classname="b" name="four"><error message="setup">text</error></testcase>
</testsuite></testsuites>"""
TIMES = {"median": 2.0, "low_quartile": 1.5, "high_quartile": 2.5, "least": 1.0}


@pytest.fixture
def part(monkeypatch):
    """A module of asv_bench by name, found as a script there finds it."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def test_without_a_card_it_says_what_is_missing():
    probe = importlib.import_module("flagstone_cupy.probe").probe()
    if probe.ok:
        pytest.skip("this machine has a card")
    done = subprocess.run(
        [sys.executable, str(FOLDER / "on_card.py")],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert done.stderr.startswith("on_card: it needs an NVIDIA card")
    assert len(done.stderr.splitlines()) == 1


def test_pytest_s_report_is_counted(part, tmp_path):
    (tmp_path / "report.xml").write_text(REPORT)
    counted = part("on_card").counted
    assert counted(tmp_path / "report.xml") == {
        "passed": 1, "failed": ["a::two", "b::four"], "skipped": 1,
    }  # fmt: skip
    assert counted(tmp_path / "none.xml")["passed"] == 0


def test_the_page_shows_the_parts_that_there_are(part, tmp_path):
    about = {"date": "2026-11-22T10:00:00+00:00", "card": "A card", "commit": "abc", "command": "c"}
    rows = [
        {"name": "cnn.1", "precision": p, "pass": "forward", "ours_ms": TIMES, "theirs_ms": TIMES,
         "ratio": r, "tflops": 3.0, "difference": 1e-7}
        for p, r in (("exact", 0.5), ("exact", 2.0), ("tf32", 3.0))
    ]  # fmt: skip
    (tmp_path / "conv.json").write_text(json.dumps({**about, "rows": rows}))
    counted = [{"tool": "racecheck", "passed": 3, "failed": ["a::b"], "skipped": 0, "exit": 9}]
    (tmp_path / "sanitizer.json").write_text(json.dumps({**about, "rows": counted}))
    text = part("card.page").page(tmp_path)
    assert "Geometric mean of the ratios: exact 1.00, tf32 3.00" in text
    assert "- racecheck: 3 passed, 1 failed, 0 skipped; exit 9\n  - a::b" in text
    assert "2026-11-22, A card, commit abc; `c`" in text
    assert "beside cuBLAS's" not in text


def test_steps_of_the_ladder_are_timed(part, tmp_path, capsys):
    pytest.importorskip("torch", reason="PyTorch is the peer")
    steps = part("card.steps")
    steps.run(tmp_path / "steps.json", ["02", "09"], repeats=2, device="cpu")
    rows = json.loads((tmp_path / "steps.json").read_text())["rows"]
    assert [(row["name"], row["batch"]) for row in rows] == [
        ("02 line", 5), ("09 XOR 2-10-10-10-1", 4)
    ]  # fmt: skip
    for row in rows:
        assert row["captured"]["median"] > 0
        assert row["best"] == "torch_eager"
    assert "torch eager over captured" in capsys.readouterr().out


def test_both_sides_of_a_network_are_the_same_function(part):
    """From the same weights both give the same loss."""
    pytest.importorskip("torch", reason="PyTorch is the peer")
    import flagstone as fs
    from flagstone import losses, nn

    steps = part("card.steps")
    for network in (n for n in steps.NETWORKS if n.target == "classes" and len(n.shape) == 1):
        x, y = steps.data(network, 4)
        theirs, loss, _, tx, ty = steps.torch_parts(network, x, y, "cpu")
        ours = steps.built(nn, network).initialize(0, device="cpu")
        ours.load_state_dict({k: v.detach().numpy() for k, v in theirs.state_dict().items()})
        value = losses.cross_entropy(ours.eval()(fs.tensor(x)), fs.tensor(y)).item()
        assert value == pytest.approx(loss(theirs.eval()(tx), ty).item(), rel=1e-5)
