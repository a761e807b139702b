"""The course's ladder runs from end to end, on little data."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "examples" / "course_ladder.py"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--table", "none.json"], "none.json: [Errno 2] No such file or directory"),
        (["--table", "torn.json"], "torn.json: Expecting"),
        (["--json", "quick.json"], "quick.json: full and quick runs do not go into one file"),
        (["--seeds", "0"], "argument --seeds: expected a positive integer; got 0"),
        (["--only", "12"], "--only: unknown rung 12"),
    ],
)
def test_what_it_cannot_do_is_told_in_a_line(options, message, tmp_path):
    (tmp_path / "torn.json").write_text("{")
    (tmp_path / "quick.json").write_text('{"02": {"quick": true}}')
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *options], cwd=tmp_path,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr.splitlines()[-1]


@pytest.mark.data
@pytest.mark.slow
def test_every_rung_runs(shared_data, tmp_path):
    figures = tmp_path / "ladder.json"
    command = [sys.executable, str(SCRIPT), "--quick", "--json", str(figures)]
    done = subprocess.run(
        command, env=os.environ | {"FLAGSTONE_DATA": str(shared_data)}, cwd=tmp_path,
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [line.split("|")[1].strip() for line in done.stdout.splitlines()[2:]]
    assert rows == ["02", "02b", "04", "05", "06", "09", "09b", "10-1", "10-2", "10-3", "10-4",
                    "10-5", "11-1", "11-2", "11-5"]  # fmt: skip
    table = subprocess.run(
        [sys.executable, str(SCRIPT), "--table", str(figures)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert table.returncode == 1  # on so little data the images' rungs are below the course
    assert "| 06 | softmax, zoo | train accuracy | 1.0 | 1.0000 |" in table.stdout
    assert "(below)" in table.stdout
