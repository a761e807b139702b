"""TensorBoard's event files, written without TensorBoard.

A file is a row of records: the length (8 bytes), its masked CRC-32C (4), the data, and theirs (4),
little-endian (TensorFlow, ``lib/io/record_writer``). The data of a record are an ``Event`` in
Protocol Buffers' encoding (``event.proto``, ``summary.proto``), of which four fields are needed:

    Event    1: wall_time (double)  2: step (int64)  3: file_version (string)  5: Summary
    Summary  1: Value, repeated
    Value    1: tag (string)        2: simple_value (float)
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

POLYNOMIAL = 0x82F63B78  # Castagnoli's, its bits reversed


def first_event(time: float) -> bytes:
    """What every file begins with."""
    return _double(1, time) + _bytes(3, b"brain.Event:2")


def scalars(time: float, step: int, values: Mapping[str, float]) -> bytes:
    """An event with one number per tag."""
    each = (_bytes(1, tag.encode()) + _float(2, value) for tag, value in values.items())
    summary = b"".join(_bytes(1, value) for value in each)
    return _double(1, time) + _key(2, 0) + _varint(step) + _bytes(5, summary)


def record(data: bytes) -> bytes:
    """``data`` as one record of a file."""
    length = struct.pack("<Q", len(data))
    return length + _masked(length) + data + _masked(data)


def crc32c(data: bytes) -> int:
    """The checksum of RFC 3720, appendix B.4."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _key(field: int, wire_type: int) -> bytes:
    return _varint(field << 3 | wire_type)


def _varint(n: int) -> bytes:
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def _double(field: int, value: float) -> bytes:
    return _key(field, 1) + struct.pack("<d", value)


def _float(field: int, value: float) -> bytes:
    return _key(field, 5) + struct.pack("<f", value)


def _bytes(field: int, value: bytes) -> bytes:
    return _key(field, 2) + _varint(len(value)) + value


def _row(n: int) -> int:
    for _ in range(8):
        n = (n >> 1) ^ (POLYNOMIAL if n & 1 else 0)
    return n


_TABLE = tuple(_row(n) for n in range(256))
