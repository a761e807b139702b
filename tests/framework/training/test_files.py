"""Files survive a crash and every flipped bit is noticed."""

from __future__ import annotations

import json
import math
import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from flagstone.errors import (
    ChecksumError,
    ConfigurationError,
    DTypeError,
    FlagstoneError,
    InputError,
    RunError,
)
from flagstone.training import files
from flagstone.training.files import (
    read_arrays,
    require_writable,
    to_json,
    write_arrays,
    write_atomically,
)

ARRAYS = {
    "weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "steps": np.array(7, dtype=np.int64),
    "mask": np.array([True, False]),
    "nothing": np.zeros((0, 4)),
    "bytes": np.arange(5, dtype=np.uint8),
}


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_text_and_bytes_replace_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_atomically(path, b"old")
    write_atomically(path, "größer\n")
    assert path.read_bytes() == "größer\n".encode()
    assert _names(tmp_path) == ["a.txt"]


def test_a_link_is_followed(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to("target")
    write_atomically(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


@pytest.mark.skipif(os.name == "nt", reason="no named pipes in folders")
def test_a_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        require_writable(path, "--output")
        write_atomically(path, b"rows")
        assert os.read(reader, 10) == b"rows"
    finally:
        os.close(reader)
    assert path.is_fifo()
    assert _names(tmp_path) == ["pipe"]


def test_whether_a_place_can_be_written_to_is_known_before(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    require_writable(tmp_path / "file", "--output")
    require_writable(tmp_path / "new", "--output")
    for place in (tmp_path, tmp_path / "file" / "a", tmp_path / "no" / "a"):
        with pytest.raises(ConfigurationError, match=f"^--output {place}: ") as caught:
            require_writable(place, "--output")
        assert caught.value.exit_code == 2
    assert _names(tmp_path) == ["file"]


def test_the_mode_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    write_atomically(path, b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(RunError, match=r"a: cannot be written: No space left on device"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert _names(tmp_path) == ["a"]


def test_a_folder_that_is_missing_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no/a: cannot be written: No such file or directory"):
        write_atomically(tmp_path / "no" / "a", b"")


@pytest.mark.skipif(os.name == "nt", reason="kills itself with a POSIX signal")
def test_killed_between_temporary_file_and_rename_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_arrays(path, ARRAYS, {"epoch": 1})
    code = f"""
        import os, signal
        from flagstone.training import files
        files.os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        files.write_atomically({str(path)!r}, b"new")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], timeout=60, check=False)
    assert done.returncode == -9
    assert read_arrays(path)[1] == {"epoch": 1}
    assert len(_names(tmp_path)) == 2  # the temporary file is all that is left of the attempt


def test_arrays_and_metadata_come_back(tmp_path: Path) -> None:
    metadata = {"b": [1, 2.5, None, True], "a": {"größe": "x", "2": math.inf}, "t": (1, 2)}
    write_arrays(tmp_path / "a", ARRAYS, metadata)
    arrays, found = read_arrays(tmp_path / "a")
    assert found == {**metadata, "t": [1, 2]}
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        assert arrays[name].shape == array.shape
        np.testing.assert_array_equal(arrays[name], array)


@pytest.mark.parametrize(
    "dtype",
    ["bool", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8"],
)
def test_every_dtype_comes_back(tmp_path: Path, dtype: str) -> None:
    array = np.array([[0, 1, 1], [1, 0, 3]]).astype(dtype)
    write_arrays(tmp_path / "a", {"x": array}, {})
    found = read_arrays(tmp_path / "a")[0]["x"]
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4).T,
        np.arange(12.0)[::-2],
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.broadcast_to(np.float32(2), (3, 2)),
        np.arange(5, dtype=">f4"),
    ],
    ids=["transposed", "reversed", "fortran", "broadcast", "big-endian"],
)
def test_any_memory_layout_comes_back(tmp_path: Path, array: np.ndarray) -> None:
    write_arrays(tmp_path / "a", {"x": array}, {})
    np.testing.assert_array_equal(read_arrays(tmp_path / "a")[0]["x"], array)


def test_what_cannot_be_stored_is_refused_before_writing(tmp_path: Path) -> None:
    with pytest.raises(DTypeError, match=r"array 'labels': expected booleans.*got dtype <U1"):
        write_arrays(tmp_path / "a", {"labels": np.array(["x"])}, {})
    with pytest.raises(DTypeError, match="got dtype object"):
        write_arrays(tmp_path / "a", {"x": np.array([None])}, {})
    with pytest.raises(InputError, match="metadata cannot be written as JSON"):
        write_arrays(tmp_path / "a", {}, {"x": object()})
    assert _names(tmp_path) == []


def test_safetensors_itself_reads_the_file(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    write_arrays(tmp_path / "a", ARRAYS, {"epoch": 3})
    np.testing.assert_array_equal(load_file(tmp_path / "a")["weight"], ARRAYS["weight"])


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_arrays(path, {"w": np.arange(3, dtype=np.float32)}, {"epoch": 3, "lr": 0.25})
    written = path.read_bytes()
    expected = read_arrays(path)
    unnoticed = []
    for place in range(len(written)):
        for bit in range(8):
            damaged = bytearray(written)
            damaged[place] ^= 1 << bit
            path.write_bytes(damaged)
            try:
                arrays, metadata = read_arrays(path)
            except FlagstoneError:
                continue
            same = metadata == expected[1] and arrays["w"].tobytes() == expected[0]["w"].tobytes()
            if not (same and list(arrays) == ["w"]):  # such as 1e5 for 1E5: it means the same
                unnoticed.append((place, bit))
    assert unnoticed == []


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 40, -1])
def test_a_torn_file_is_noticed(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a"
    write_arrays(path, ARRAYS, {})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ChecksumError, match=r"a: damaged or no safetensors file"):
        read_arrays(path)


def test_a_damaged_array_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_arrays(path, {"layer.weight": np.zeros(4)}, {})
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ChecksumError, match=r"array 'layer.weight' does not match its checksum"):
        read_arrays(path)


def test_other_files_are_refused_by_what_is_wrong(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    with pytest.raises(RunError, match="none: no such file"):
        read_arrays(tmp_path / "none")
    save_file({"x": np.zeros(2)}, tmp_path / "foreign")
    with pytest.raises(RunError, match="foreign: flagstone did not write this file"):
        read_arrays(tmp_path / "foreign")


def test_a_newer_format_says_upgrade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "FORMAT", 2)
    write_arrays(tmp_path / "a", {}, {})
    monkeypatch.undo()
    with pytest.raises(RunError, match="has format 2, this flagstone reads format 1; upgrade"):
        read_arrays(tmp_path / "a")


def test_json_is_strict() -> None:
    value = {
        "loss": float("nan"),
        "n": np.int64(3),
        "x": np.array([1.5, np.inf]),
        "path": Path("runs"),
        1: (True, None, "ü"),
    }
    text = to_json(value)
    assert json.loads(text) == {
        "loss": None,
        "n": 3,
        "x": [1.5, None],
        "path": "runs",
        "1": [True, None, "ü"],
    }
    assert "\n" not in text
