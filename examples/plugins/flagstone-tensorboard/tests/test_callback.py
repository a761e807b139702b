"""What flagstone asks of a callback, and what TensorBoard's reader finds in the file."""

from __future__ import annotations

import struct
import types
from pathlib import Path

import flagstone as fs
import numpy as np
import pytest
from flagstone import testing

from flagstone_tensorboard.callback import TensorBoard
from flagstone_tensorboard.events import crc32c, first_event, record, scalars


class TestTensorBoard(testing.CallbackSuite):
    name = "tensorboard"


def train(folder: Path) -> list[dict[str, dict[str, float]]]:
    X = np.random.default_rng(0).standard_normal((60, 4))
    model = fs.model("softmax", device="cpu", epochs=3, validation_fraction=0.2)
    model.fit(
        X, (X[:, 0] > 0).astype(int), callbacks=[TensorBoard(types.SimpleNamespace(path=folder))]
    )
    history: list[dict[str, dict[str, float]]] = model.history_
    return history


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (b"123456789", 0xE3069283),  # the check value of every catalogue of CRCs
        (bytes(32), 0x8A9136AA),  # RFC 3720, appendix B.4, and the next two
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
    ],
)
def test_checksums(data: bytes, crc: int) -> None:
    assert crc32c(data) == crc


def test_bytes_worked_out_by_hand() -> None:
    assert first_event(1.0) == b"\x09" + struct.pack("<d", 1.0) + b"\x1a\x0dbrain.Event:2"
    assert scalars(0.5, 300, {"a": 2.0}) == (
        b"\x09" + struct.pack("<d", 0.5) + b"\x10\xac\x02" + b"\x2a\x0a"
        b"\x0a\x08" + b"\x0a\x01a" + b"\x15" + struct.pack("<f", 2.0)
    )
    assert record(b"abc")[:8] == (3).to_bytes(8, "little")
    assert len(record(b"abc")) == 8 + 4 + 3 + 4


def test_a_run_leaves_one_file_with_a_record_per_epoch(tmp_path: Path) -> None:
    history = train(tmp_path)
    (path,) = tmp_path.glob("events.out.tfevents.*")
    data, found = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        found.append(data[12 : 12 + length])
        assert record(found[-1]) == data[: 16 + length]
        data = data[16 + length :]
    assert len(found) == 1 + len(history)
    for event, epoch in zip(found[1:], history, strict=True):
        assert b"loss/validation" in event
        assert struct.pack("<f", epoch["validation"]["loss"]) in event


def test_tensorboard_reads_it(tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    history = train(tmp_path)
    events = reader.EventAccumulator(str(tmp_path))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {
        "lr", "loss/train", "accuracy/train", "loss/validation", "accuracy/validation",
    }  # fmt: skip
    read = [(e.step, e.value) for e in events.Scalars("loss/train")]
    assert read == [(i + 1, np.float32(e["train"]["loss"])) for i, e in enumerate(history)]
